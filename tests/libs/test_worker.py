"""The worker of every web process: what leaves in one send, and its threads."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from libs.web.worker import Outcome, Response, Threads


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets over which each send arrives by itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def answer(sock: socket.socket, *, length: int | None, version: tuple[int, int] = (1, 1)) -> Response:
    request = SimpleNamespace(method="GET", version=version, should_close=lambda: False)
    response = Response(request, sock, SimpleNamespace(sendfile=False, is_ssl=False, protocol="http"))
    headers = [("Content-Type", "text/plain")]
    if length is not None:
        headers.append(("Content-Length", str(length)))
    response.start_response("200 OK", headers)
    return response


def test_headers_leave_with_the_first_of_the_body(ends: tuple[socket.socket, socket.socket]) -> None:
    response = answer(ends[0], length=8)
    response.write(b"some")
    response.write(b"more")
    response.close()
    head, _, body = ends[1].recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"some"
    assert ends[1].recv(65536) == b"more"


def test_so_they_do_in_chunks(ends: tuple[socket.socket, socket.socket]) -> None:
    response = answer(ends[0], length=None)
    response.write(b"some")
    response.close()
    assert ends[1].recv(65536).endswith(b"\r\n\r\n4\r\nsome\r\n")
    assert ends[1].recv(65536) == b"0\r\n\r\n"


def test_an_answer_without_a_body_is_its_headers(ends: tuple[socket.socket, socket.socket]) -> None:
    answer(ends[0], length=0).close()
    assert ends[1].recv(65536).endswith(b"Content-Length: 0\r\n\r\n")


def test_a_body_that_is_no_body_has_sent_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    response = answer(ends[0], length=None)
    text: Any = "text"
    with pytest.raises(TypeError):
        response.write(text)
    assert not response.headers_sent  # by which gunicorn knows that it may still answer 500
    assert response.sock is ends[0]
    ends[0].close()
    assert ends[1].recv(65536) == b""


def test_threads_finish_what_waits_and_end() -> None:
    threads, done = Threads(2), []
    for number in range(100):
        threads.jobs.put(lambda number=number: done.append(number))  # type: ignore[misc]
    threads.shutdown()
    assert sorted(done) == list(range(100))
    assert not any(thread.is_alive() for thread in threads._threads)


def test_an_outcome_tells_what_a_call_returned_or_raised() -> None:
    assert Outcome(lambda: 7).result() == 7
    with pytest.raises(SystemExit):
        Outcome(lambda: (_ for _ in ()).throw(SystemExit(1))).result()
