"""gunicorn in the web process of `make run`, on sockets that the launcher holds."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import Application

from gateway.servers import die_with_parent

CONFIGURATION = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"


class WebServer(Application):
    """One worker process; everything but the app, its sockets and threads is from gunicorn.conf.py."""

    def __init__(self, front: Callable[..., Any], sockets: list[socket.socket], threads: int) -> None:
        self.front, self.sockets, self.threads = front, sockets, threads
        super().__init__()

    def load_config(self) -> None:
        self.load_config_from_file(str(CONFIGURATION))
        self.cfg.set("bind", [f"fd://{listener.fileno()}" for listener in self.sockets])
        self.cfg.set("workers", 1)
        self.cfg.set("threads", self.threads)
        # The launcher has checked the settings, and its metrics folder is the worker process's too.
        self.cfg.set("on_starting", lambda _server: None)
        self.cfg.set("on_exit", lambda _server: None)
        self.cfg.set("post_fork", lambda _server, _worker: self.bind_to_master())

    def load(self) -> Callable[..., Any]:
        return self.front

    def run(self) -> None:
        self.cfg.set(
            "pre_fork",
            lambda _server, _worker: setattr(self, "bind_to_master", die_with_parent(signal.SIGKILL)),
        )
        super().run()


def serve(front: Callable[..., Any], *, sockets: list[socket.socket], threads: int) -> None:
    """Serve until SIGTERM; then finish the requests in flight."""
    WebServer(front, sockets, threads).run()
