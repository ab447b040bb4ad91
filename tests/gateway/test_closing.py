"""Connections that close and processes that end: nobody notices where that is safe, and nothing is done twice."""

import http.client
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.servers import free_port
from tests.gateway.doors import Door, gunicorn, nginx, running


class Fickle:
    """A service that answers once on each connection, then reads one more request and closes without a word."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.read: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                for number in range(2):
                    request = connection.recv(65536)
                    if not request:
                        break
                    self.read.append(request.partition(b" ")[0])
                    if number == 0:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@contextmanager
def before_a_fickle_service(environment: dict[str, str]) -> Iterator[tuple[Door, Fickle]]:
    service, port = Fickle(), free_port()
    settings = {
        **environment,
        "PUBLIC_URL": f"http://localhost:{port}",
        "ACCOUNT_UPSTREAM": f"127.0.0.1:{service.port}",
        "HTTP_PORT": str(port),
    }
    try:
        with nginx(settings) as log:
            yield Door("nginx", port, log), service
    finally:
        service.listener.close()


def test_a_get_is_sent_again_over_a_new_connection_and_a_post_never(environment: dict[str, str]) -> None:
    with before_a_fickle_service(environment) as (door, service):
        assert door.ask("/login").status == 200
        assert door.ask("/login").status == 200, "the kept connection closed: nobody notices"
        assert service.read == [b"GET", b"GET", b"GET"]
        answer = door.ask("/login", method="POST", body=b"password=x", headers={"Accept": "text/html"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "short interruption" in answer.text
        assert service.read[3:] == [b"POST"], "it may have been read: whoever sent it decides"


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
