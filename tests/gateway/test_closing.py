"""Connections that close and processes that end: nobody notices where that is safe, and nothing is done twice."""

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.servers import free_port
from tests.gateway.doors import Door, gunicorn, nginx, parse, read_all, running
from tests.gateway.edge import HOST, edge_of
from tests.running import wait_until


class Fickle:
    """A service that answers `answers` requests of each connection, then reads one more and closes without a word.

    Asked to close a connection it says and does so, as gunicorn.
    """

    def __init__(self) -> None:
        self.answers = 1
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.read: list[bytes] = []
        self.listening = threading.Thread(target=self._serve, daemon=True)
        self.listening.start()

    def end(self) -> None:
        """Shut down first: a thread that still waits would take what comes to the next one, which has its number."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listening.join(30)
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            for number in range(self.answers + 1):
                request = connection.recv(65536)
                if not request:
                    break
                self.read.append(request.partition(b" ")[0])
                is_last = b"\r\nConnection: close\r\n" in request
                if number < self.answers:
                    close = b"Connection: close\r\n" if is_last else b""
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + close + b"\r\ndone")
                if is_last:
                    break


@contextmanager
def before_a_fickle_service(
    environment: dict[str, str], *, keeps_by_itself: bool = False
) -> Iterator[tuple[Door, Fickle]]:
    service, port = Fickle(), free_port()
    settings = {
        **environment,
        "PUBLIC_URL": f"http://localhost:{port}",
        "ACCOUNT_UPSTREAM": f"127.0.0.1:{service.port}",
        "HTTP_PORT": str(port),
    }
    try:
        with nginx(settings, keeps_by_itself=keeps_by_itself) as log:
            yield Door("nginx", port, log), service
    finally:
        service.end()


def test_a_get_is_sent_again_over_a_new_connection_and_a_post_never(environment: dict[str, str]) -> None:
    with before_a_fickle_service(environment) as (door, service):
        assert door.ask("/login").status == 200
        assert door.ask("/login").status == 200, "the kept connection closed: nobody notices"
        assert service.read == [b"GET", b"GET", b"GET"]
        answer = door.ask("/login", method="POST", body=b"password=x", headers={"Accept": "text/html"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "short interruption" in answer.text
        assert service.read[3:] == [b"POST"], "it may have been read: whoever sent it decides"


@pytest.mark.parametrize("keeps_by_itself", [False, True])
def test_a_put_or_delete_has_a_connection_of_its_own_and_is_never_sent_again(
    environment: dict[str, str], keeps_by_itself: bool
) -> None:
    """It would do no harm, but the answer of the second time is not that of the first."""
    with before_a_fickle_service(environment, keeps_by_itself=keeps_by_itself) as (door, service):
        assert door.ask("/login").status == 200
        for method in ("PUT", "DELETE", "PATCH"):
            read = len(service.read)
            assert door.ask("/login", method=method).status == 200, "the kept connection is not for them"
            assert service.read[read:] == [method.encode()], "nor that of the one before"
        service.answers = 0
        read = len(service.read)
        for method in ("PUT", "DELETE", "PATCH"):
            assert door.ask("/login", method=method).status == 503
        assert service.read[read:] == [b"PUT", b"DELETE", b"PATCH"]


def test_nginx_that_is_told_to_go_finishes_what_it_holds(environment: dict[str, str], tmp_path: Path) -> None:
    """By QUIT, as supervisor, compose and Kubernetes tell it; who asks meanwhile is not let in any more."""
    with edge_of(environment, tmp_path) as edge, edge.https.connect() as held, edge.https.connect() as idle:
        idle.sendall(f"GET /login HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert idle.recv(65536).endswith(b"done")
        held.sendall(f"GET /account/slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        wait_until(lambda: len(edge.service.asked) == 2)
        os.kill(int((edge.https.log.parent / "nginx.pid").read_text()), signal.SIGQUIT)
        answer = parse(read_all(held))
        assert (answer.status, answer.headers["connection"], answer.text) == (200, "close", "done")
        assert idle.recv(1) == b"", "one that idled is closed"
        with pytest.raises(OSError):
            edge.https.connect()


def test_a_process_that_is_told_to_end_finishes_what_it_holds(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "slow.jsonl"
    answers: list[tuple[int, str | None, bytes]] = []

    def ask_slowly() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asking:
            asking.request("GET", "/slow")
            answer = asking.getresponse()
            answers.append((answer.status, answer.headers["Connection"], answer.read()))

    with (
        running(gunicorn("tests.gateway.echoes:slow()", port), {"WEB_THREADS": "4"}, port, log) as process,
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as kept,
    ):
        kept.request("GET", "/")
        answer = kept.getresponse()
        assert (answer.headers["Connection"], answer.read()) == ("keep-alive", b"done")
        slow = [threading.Thread(target=ask_slowly) for _ in range(3)]
        for thread in slow:
            thread.start()
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        for thread in slow:
            thread.join()
        assert process.wait(20) == 0
        assert kept.sock is not None
        assert kept.sock.recv(1) == b"", "one that idled is closed"
    assert answers == [(200, "close", b"done")] * 3
