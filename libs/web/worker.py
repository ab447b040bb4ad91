"""gunicorn's threaded worker with less work for each request (docs/decisions/0018); gunicorn.conf.py names it."""

import json
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    """Hands connections to its threads through a plain queue, and sends headers together with the first of a body."""

    def init_process(self) -> None:
        # There is no setting for either.
        wsgi.Response, util.write_error = Response, refuse
        Response.is_last = staticmethod(lambda: not self.alive)
        super().init_process()

    def get_thread_pool(self) -> "Threads":
        return Threads(self.cfg.threads)

    def enqueue_req(self, conn: Any) -> None:
        self.tpool.jobs.put(partial(self._serve, conn))

    def _serve(self, conn: Any) -> None:
        self.method_queue.defer(self.finish_request, conn, Outcome(partial(self.handle, conn)))


def refuse(sock: Any, status: int, reason: str, _words: str) -> None:
    """Answer what no app is asked about, as it cannot be parsed; gunicorn's own page would repeat parts of it."""
    body = json.dumps({"type": "about:blank", "title": reason, "status": status})
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    util.write_nonblock(sock, (head + body).encode())


class Threads:
    """So many threads, each of which takes the next job; a job never raises.

    What concurrent.futures does beside that (a future, its condition, a count of idle threads) takes 40 µs a request.
    """

    def __init__(self, count: int):
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # Daemons: a worker that could not load its app ends all the same.
        self._threads = [
            threading.Thread(target=self._work, name=f"request-{n}", daemon=True) for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()

    def shutdown(self, wait: bool = True) -> None:
        """Let each thread end after what it is doing, and after what waits for it."""
        for _ in self._threads:
            self.jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()


class Outcome:
    """What came of a call, in the words of a future that is done."""

    def __init__(self, call: Callable[[], Any]):
        self._error: BaseException | None = None
        try:
            self._result = call()
        except BaseException as error:
            self._error = error

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class Response(wsgi.Response):
    """gunicorn's, which would send the headers by themselves: each send costs the core about 20 µs."""

    sock: Any
    headers_sent: bool
    is_last: Callable[[], bool] = staticmethod(lambda: False)

    def should_close(self) -> bool:
        """Also who was being answered when this process was told to end is told that its connection closes."""
        return self.is_last() or bool(super().should_close())

    def write(self, arg: Any) -> None:
        if self.headers_sent:
            super().write(arg)
            return
        connection, self.sock = self.sock, Collected()
        try:
            super().write(arg)
            together = b"".join(self.sock.parts)
        except BaseException:
            self.headers_sent = False  # nothing has left: gunicorn may still answer 500
            raise
        finally:
            self.sock = connection
        connection.sendall(together)


class Collected:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.parts.append(data)
