"""Requests that no browser sends: refused in our own words, by one meaning, and without a word about what runs here."""

import json
import re
import socket

import pytest

from tests.gateway.doors import Answer, Door, parse, read_all
from tests.running import wait_until

NGINX_ALONE = pytest.mark.parametrize("door", ["nginx"], indirect=True)
"""The all-in-one is gunicorn alone, on loopback: it refuses the same, but has no words in two languages for it."""
REQUEST_ID = re.compile(r"[0-9a-f]{32}\Z")

GET = "GET /login HTTP/1.1\r\nHOST"
POST = "POST /apply HTTP/1.1\r\nHOST"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n"
# Each could make the door and a service disagree on where a request ends. HOST stands for a line with our name.
AMBIGUOUS = {
    "length and chunks": POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": CHUNKED + "Content-Length: 6\r\n\r\n0\r\n\r\nG",
    "two lengths": POST + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "lengths in a list": POST + "Content-Length: 4, 4\r\n\r\nabcd",
    "a length with a sign": POST + "Content-Length: +4\r\n\r\nabcd",
    "a length below nothing": POST + "Content-Length: -1\r\n\r\n",
    "a length of sixteen": POST + "Content-Length: 0x4\r\n\r\nabcd",
    "chunks of another kind": POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks in two lines": CHUNKED + "Transfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "chunks after a tab": POST + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": "POST /apply HTTP/1.0\r\nHOSTTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + "\r\nzz\r\nab\r\n0\r\n\r\n",
    "a chunk below nothing": CHUNKED + "\r\n-1\r\n\r\n",
    "two hosts": GET + "Host: evil.test\r\n\r\n",
    "the same host twice": GET + "HOST\r\n",
    "a zero in a value": GET + "X-One: a\x00b\r\n\r\n",
    "a bare return": GET + "X-One: a\rX-Two: b\r\n\r\n",
}
# nginx leaves a line out that is no header; gunicorn refuses the whole.
LEFT_OUT = {
    "a length before a space": "POST /login HTTP/1.1\r\nHOSTContent-Length : 4\r\n\r\nabcd",
    "a folded line": "GET /login HTTP/1.1\r\nHOSTX-One: a\r\n X-Forged: yes\r\n\r\n",
    "a line without a colon": "GET /login HTTP/1.1\r\nHOSTX-Forged yes\r\n\r\n",
}
ODD = {
    "no host": "GET /login HTTP/1.1\r\nConnection: close\r\n\r\n",
    "no words of HTTP": "hello\r\n\r\n",
    "a version to come": "GET /login HTTP/3.0\r\nHOST\r\n",
    "a version of letters": "GET /login HTTP/x.y\r\nHOST\r\n",
    "HTTP/2 in clear": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": "get /login HTTP/1.1\r\nHOST\r\n",
    "a method with a brace": "G{T /login HTTP/1.1\r\nHOST\r\n",
    "a target of one star": "OPTIONS * HTTP/1.1\r\nHOST\r\n",
    "a target without a slash": "GET login HTTP/1.1\r\nHOST\r\n",
    "no target": "GET  HTTP/1.1\r\nHOST\r\n",
    "another scheme": "GET file:///etc/passwd HTTP/1.1\r\nHOST\r\n",
    "another origin": "GET http://evil.test/login HTTP/1.1\r\nHOST\r\n",
    "our own origin": "GET http://localhost/login HTTP/1.1\r\nHOST\r\n",
    "a space in the target": "GET /log in HTTP/1.1\r\nHOST\r\n",
    "a zero in the target": "GET /login\x00 HTTP/1.1\r\nHOST\r\n",
    "beginning with a proxy's words": "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /login HTTP/1.1\r\nHOST\r\n",
}


def written(text: str, door: Door, *, is_last: bool = True) -> bytes:
    host = f"Host: localhost:{door.port}\r\n" + ("Connection: close\r\n" if is_last else "")
    return text.replace("HOST", host).encode("latin-1")


def explained(answer: Answer) -> None:
    """Whatever it was: a problem with its number, and no name of what said so."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert REQUEST_ID.match(answer.headers["x-request-id"])
    assert answer.seen["correlation_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_a_request_whose_end_is_a_matter_of_opinion_is_refused(door: Door, what: str) -> None:
    text = AMBIGUOUS[what] + "GET /admin HTTP/1.1\r\nHOST\r\n"
    received = door.send(written(text, door, is_last=False))
    assert received.status in (400, 413, 421, 501)
    assert "owner" not in received.text, "no service saw it"
    assert b"HTTP/1.1 2" not in received.body, "nor what came after it"


@pytest.mark.parametrize("what", LEFT_OUT)
def test_a_line_that_is_no_header_means_nothing_behind_the_door(door: Door, what: str) -> None:
    answer = door.send(written(LEFT_OUT[what], door))
    if answer.status != 400:
        assert answer.seen["body_bytes"] == 0
        assert "forged" not in str(answer.seen["headers"]).lower()


@pytest.mark.parametrize("what", ODD)
def test_what_is_hardly_http_is_refused(door: Door, what: str) -> None:
    answer = door.send(written(ODD[what], door))
    assert 400 <= answer.status < 500
    assert "owner" not in answer.text


@NGINX_ALONE
@pytest.mark.parametrize("what", [*AMBIGUOUS, *ODD])
def test_every_refusal_is_in_our_words(door: Door, what: str) -> None:
    answer = door.send(written((AMBIGUOUS | ODD)[what], door))
    assert "<center>" not in answer.text
    assert "gunicorn" not in answer.text
    assert REQUEST_ID.match(answer.headers["x-request-id"])
    assert answer.headers["x-request-id"] in answer.text


@NGINX_ALONE
def test_an_unknown_host_has_no_way_to_our_words_by_their_address(door: Door) -> None:
    """Inside, nginx finds them there; for who asks from outside they are no different from anything else."""
    for target in ("/;400/json", "/%3b400/json", "/;421/en", "/;0", "//"):
        for request in (f"GET {target} HTTP/1.0\r\n", f"GET {target} HTTP/1.1\r\nHost: evil.test\r\n"):
            answer = door.send(f"{request}Accept: application/json\r\nConnection: close\r\n\r\n".encode())
            assert answer.status in (400, 421), request
            explained(answer)


@NGINX_ALONE
def test_methods_that_only_proxies_answer_are_refused(door: Door) -> None:
    for method in ("TRACE", "CONNECT"):
        headers = {"Cookie": "id_session=a-secret", "Accept": "application/json"}
        answer = door.ask("/login", method=method, headers=headers)
        if method == "CONNECT" and answer.status == 400:
            # A later nginx reads no further where the target of CONNECT is not the name of a machine.
            assert answer.headers["x-request-id"] in answer.text
        else:
            assert answer.status == 405
            explained(answer)
        assert "a-secret" not in answer.text
    assert door.ask("evil.test:443", method="CONNECT").status in (400, 405)


def test_a_method_that_nobody_knows_arrives_as_it_was_sent(door: Door) -> None:
    """Services refuse it; no header of ours makes another method of it."""
    seen = door.ask("/login", method="BREW", headers={"X-HTTP-Method-Override": "GET"}).seen
    assert (seen["method"], seen["owner"]) == ("BREW", "account")


def test_nobody_is_upgraded(door: Door) -> None:
    for words in ("websocket", "h2c", "TLS/1.0"):
        headers = {
            "Upgrade": words,
            "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
            "Sec-WebSocket-Key": "x" * 24,
        }
        answer = door.ask("/login", headers=headers)
        assert answer.status == 200, words
        if door.name == "nginx":
            assert "upgrade" not in answer.seen["headers"]


def test_who_asks_whether_to_go_on_is_told_so(door: Door) -> None:
    head = f"POST /apply HTTP/1.1\r\nHost: localhost:{door.port}\r\nConnection: close\r\n"
    with door.connect() as connection:
        connection.sendall(f"{head}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a=b")
        answer = parse(read_all(connection))
    assert (answer.status, answer.seen["body_bytes"]) == (200, 3)


def test_requests_in_one_go_are_answered_one_after_the_other(door: Door) -> None:
    host = f"Host: localhost:{door.port}\r\n"
    first = f"POST /apply HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\na=b"
    second = f"GET /login HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
    with door.connect() as connection:
        connection.sendall((first + second).encode())
        received = read_all(connection)
    texts = re.findall(rb"\{.*?\}\}", received)
    seen = [json.loads(text) for text in texts]
    assert [(one["owner"], one["body_bytes"]) for one in seen] == [("onboarding", 3), ("account", 0)]
    ids = {one["headers"]["x-request-id"] for one in seen}
    assert len(ids) == 2, "each has its own number"


@NGINX_ALONE
def test_what_is_too_long_is_explained_to_people_and_programs(door: Door) -> None:
    cookies = {"Cookie": "a=" + "x" * 9000}
    page = door.ask("/login", headers={"Accept": "text/html", **cookies})
    assert (page.status, "Delete the cookies" in page.text) == (431, True)
    page = door.ask("/login", headers={"Accept": "text/html", "Accept-Language": "ru", **cookies})
    assert "Удалите cookie" in page.text
    problem = door.ask("/api/v1/me", headers=cookies)
    assert problem.status == 431
    explained(problem)
    many = [(f"X-Filler-{number}", "x" * 1000) for number in range(60)]
    assert door.ask("/api/v1/me", headers=many).status == 431
    page = door.ask("/login?a=" + "x" * 9000)
    assert (page.status, "address is too long" in page.text) == (414, True)
    problem = door.ask("/api/v1/me?a=" + "x" * 9000)
    assert problem.status == 414
    explained(problem)


def test_what_is_just_short_enough_arrives(door: Door) -> None:
    """What nginx lets through gunicorn takes, too: a request line or header of 8190 bytes, cookies joined by HTTP/2."""
    target = "/oauth2/authorize?request=" + "x" * (8190 - len("GET /oauth2/authorize?request= HTTP/1.1"))
    assert len(door.ask(target).seen["query"]) == len(target) - len("/oauth2/authorize?")
    cookie = "x" * (8190 - len("Cookie: "))
    assert door.ask("/login", headers={"Cookie": cookie}).seen["headers"]["cookie"] == cookie
    if door.name == "nginx":
        forged = "203.0.113.9, " * 600
        assert door.ask("/login", headers={"X-Forwarded-For": forged}).status == 200
    else:
        assert door.ask("/login", headers={"Cookie": "x" * 30_000}).status == 200


def test_what_gunicorn_refuses_by_itself_names_nobody(door: Door) -> None:
    many = [(f"X-Filler-{number}", "x") for number in range(150)]
    answers = {431: door.ask("/login", headers=many)}
    answers[400] = door.ask("/login", headers={"X-One": "a\x01b"})
    for status, answer in answers.items():
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.seen) == {"type", "title", "status"}


@NGINX_ALONE
def test_a_body_in_chunks_may_not_be_longer_than_any_other(door: Door) -> None:
    head = f"POST /api/v1/me HTTP/1.1\r\nHost: localhost:{door.port}\r\nTransfer-Encoding: chunked\r\n"
    megabyte = b"%x\r\n%b\r\n" % (1024 * 1024, b"x" * (1024 * 1024))
    whole = door.send(f"{head}Connection: close\r\n\r\n".encode() + megabyte + b"0\r\n\r\n")
    assert (whole.status, whole.seen["body_bytes"]) == (200, 1024 * 1024)
    assert "transfer-encoding" not in whole.seen["headers"], "a service is told the length"
    refused = door.send(f"{head}\r\n".encode() + megabyte + b"1\r\nx\r\n0\r\n\r\n")
    assert refused.status == 413
    explained(refused)
    for size in (b"7fffffffffffffff", b"f" * 18):
        assert door.send(f"{head}\r\n".encode() + size + b"\r\nx").status in (400, 413)
    lengths = {"Content-Length": "9" * 20}
    assert door.ask("/apply", method="POST", headers=lengths).status == 400


@NGINX_ALONE
def test_the_record_of_a_refusal_has_the_method_that_was_sent_and_is_utf_8(door: Door) -> None:
    answer = door.ask("/login\xff\xfe?token=a-secret", method="POST", body=b"a=b")
    number = answer.headers["x-request-id"]
    wait_until(lambda: number in door.log.read_text(encoding="utf-8", errors="strict"))
    record = json.loads(next(line for line in door.log.read_text().splitlines() if number in line))
    assert (record["method"], record["path"], record["status"]) == ("POST", "/login", 400)


def test_a_connection_that_says_nothing_costs_nothing(door: Door) -> None:
    with door.connect() as silent:
        silent.shutdown(socket.SHUT_WR)
        assert read_all(silent) == b""
    assert door.ask("/login").status == 200
