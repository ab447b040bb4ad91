"""Who sends or reads slowly holds a connection of nginx, and nothing of a service; and not for ever."""

import json
import re
import threading
import time

import pytest

from gateway import routes
from tests.gateway.doors import read_all
from tests.gateway.edge import HOST, LARGE, Edge
from tests.running import wait_until

LARGE_PAGE = f"GET /account/large HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
UPLOAD = f"POST /apply HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000\r\n\r\n".encode()


def setting(name: str) -> int:
    """Seconds that nginx waits, as its configuration says."""
    found = re.search(rf"^ *{name} (\d+)s;", routes.TEMPLATE.read_text(), re.M)
    assert found, name
    return int(found[1])


def test_a_large_answer_leaves_its_service_before_anybody_reads_it(edge: Edge) -> None:
    with edge.https.connect() as slow:
        slow.sendall(LARGE_PAGE)
        assert edge.service.is_rid_of_it.wait(20), "nginx keeps what nobody takes yet"
        received = read_all(slow)
    assert len(received.partition(b"\r\n\r\n")[2]) == LARGE


def test_a_body_reaches_its_service_whole_or_not_at_all(edge: Edge) -> None:
    with edge.https.connect() as slow:
        slow.sendall(UPLOAD + b"x" * 999)
        assert edge.https.ask("/login").status == 200
        assert [asked.path for asked in edge.service.asked] == ["/login"]
        slow.sendall(b"x")
        assert slow.recv(12) == b"HTTP/1.1 200"
        assert [len(asked.body) for asked in edge.service.asked] == [0, 1000]
    with edge.https.connect() as gone:
        gone.sendall(UPLOAD + b"x" * 999)
    assert edge.https.ask("/login").status == 200
    assert [asked.method for asked in edge.service.asked] == ["GET", "POST", "GET"], "half a body is nobody's"


def test_what_nginx_cannot_keep_ends_halfway_and_is_recorded_without_its_query(edge: Edge) -> None:
    """As on a full disk: its own words about that would quote the request, with the token of a mailed link."""
    log = edge.https.log
    kept = log.parent / "proxy"
    away = kept.rename(log.parent / "elsewhere")
    try:
        with edge.https.connect() as slow:
            slow.sendall(LARGE_PAGE.replace(b"large", b"large?token=a-secret"))
            wait_until(lambda: edge.service.asked)
            assert len(read_all(slow)) < LARGE
    finally:
        away.rename(kept)
    wait_until(lambda: re.search(r"/account/large.*\"is_complete\":false", log.read_text()))
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    [record] = [line for line in lines if not line["is_complete"] and line["path"] == "/account/large"]
    assert (record["path"], record["status"], record["upstream_status"]) == ("/account/large", 200, "200")
    assert "a-secret" not in log.read_text()


@pytest.mark.soak
def test_who_takes_too_long_is_cut_off(edge: Edge) -> None:
    """Headers have their time as a whole, however steadily they drip; a body may pause so long, and a reader."""
    headers, body, reading = (
        setting(name) for name in ("client_header_timeout", "client_body_timeout", "send_timeout")
    )
    lasted: dict[str, float] = {}
    received: list[int] = []

    def drip(what: str, begun: bytes, drop: bytes) -> None:
        with edge.https.connect() as slow:
            slow.settimeout(1)
            slow.sendall(begun)
            began = time.monotonic()
            while time.monotonic() - began < 10 * headers:
                try:
                    if drop:
                        slow.sendall(drop)
                    if not slow.recv(1):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            lasted[what] = time.monotonic() - began

    def hold() -> None:
        """Asks for much and reads none of it; the end shows in how much there is to read."""
        with edge.https.connect() as slow:
            slow.sendall(LARGE_PAGE)
            time.sleep(reading + 10)
            received.append(len(read_all(slow)))

    begun = f"GET /login HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode()
    threads: list[threading.Thread] = [
        threading.Thread(target=drip, args=("headers", begun, b"x")),
        threading.Thread(target=drip, args=("body", UPLOAD, b"")),
        threading.Thread(target=hold),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert headers - 1 < lasted["headers"] < 3 * headers
    assert body - 1 < lasted["body"] < 3 * body
    assert received[0] < LARGE
