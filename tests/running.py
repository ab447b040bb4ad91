"""`make run` as a person starts it: a launcher process on ports and a data folder of its own."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from gateway.servers import free_port
from tests.pages import HTTPBrowser

ROOT = Path(__file__).resolve().parent.parent
ADMIN_EMAIL = "admin@people.test"
ADMIN_PASSWORD = "a long password for the first administrator"
READY_TIMEOUT_S = 90

OURS = (
    "ID_ENV",
    "PUBLIC_URL",
    "SECRET_KEY",
    "DATA_ENCRYPTION_KEYS",
    "EVENT_ENCRYPTION_KEYS",
    "REDIS_URL",
    "SMTP_URL",
    "ARGON2_MEMORY_KIB",
    "ARGON2_TIME_COST",
)


def bare_environ() -> dict[str, str]:
    """The environment of this process without what belongs to its own tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in OURS
        and not name.endswith("_DATABASE_URL")
        and not name.startswith(("COV_", "PYTEST_"))
    }


class House:
    """One running `make run`; start() and stop() may be called again on the same folder."""

    def __init__(self, folder: Path, **environ: str):
        self.folder = folder
        self.port, self.metrics_port = free_port(), free_port()
        self.origin = f"http://localhost:{self.port}"
        self.environ = bare_environ() | {
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
            "ADMIN_EMAIL": ADMIN_EMAIL,
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PYTHONUNBUFFERED": "1",
            **environ,
        }
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []

    def start(self) -> "House":
        """Start it and wait for the lines that say where to go."""
        self.output = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.launcher"],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready: queue.Queue[bool] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        try:
            is_ready = ready.get(timeout=READY_TIMEOUT_S)
        except queue.Empty:
            is_ready = False
        assert is_ready, f"make run did not become ready:\n{''.join(self.output)}\n{self.logs()[-3000:]}"
        return self

    def _read(self, process: "subprocess.Popen[str]", ready: "queue.Queue[bool]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.output.append(line)
                if "logs" in line and "jsonl" in line:
                    ready.put(True)
        ready.put(False)

    def stop(self) -> int:
        """Ctrl-C, and wait. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def processes(self) -> list[int]:
        """The launcher and everything below it."""
        assert self.process is not None
        return [self.process.pid, *descendants(self.process.pid)]

    def kill_everything(self) -> None:
        """kill -9 of the launcher, web, worker, PostgreSQL and Valkey, all at once."""
        pids = self.processes()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert self.process is not None
        self.process.wait(30)
        wait_until(lambda: not any(is_alive(pid) for pid in pids))

    def browser(self) -> HTTPBrowser:
        return HTTPBrowser(self.origin)

    def mail(self, to: str, *, subject: str = "") -> list[dict[str, Any]]:
        """What the mailbox holds for somebody, newest first."""
        answer = requests.get(
            f"{self.origin}/dev/mailbox", headers={"Accept": "application/json"}, timeout=30
        )
        return [mail for mail in answer.json() if to in mail["to"] and subject in mail["subject"]]

    def wait_for_mail(self, to: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until somebody has this many mails."""
        wait_until(lambda: len(self.mail(to)) >= count)
        return self.mail(to)

    def mail_of(self, to: str, word: str) -> dict[str, Any]:
        """Wait until somebody has a mail whose link holds this word in its path, and return the newest."""

        def found() -> list[dict[str, Any]]:
            return [mail for mail in self.mail(to) if f"/{word}?" in mail["text"]]

        wait_until(lambda: found() != [])
        return found()[0]

    def command(
        self, service: str, *arguments: str, input: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command of a service, from the checkout, as an operator types it."""
        environ = {name: value for name, value in self.environ.items() if not name.startswith("ADMIN_")}
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", f"services.{service}", *arguments],
            cwd=ROOT,
            env=environ,
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def logs(self) -> str:
        return "".join(
            file.read_text(errors="replace") for file in sorted((self.folder / "log").glob("*.jsonl"))
        )


def link_in(text: str) -> str:
    """The first address in a mail's text."""
    return next(word for word in text.split() if word.startswith(("http://", "https://")))


def wait_for_link(mails: Callable[[], list[dict[str, Any]]], path: str) -> str:
    """Wait for a mail that leads to this path; returns the address in the newest one."""

    def found() -> list[str]:
        words = (word for mail in mails() for word in mail["text"].split())
        return [word for word in words if word.startswith("http") and urlsplit(word).path == path]

    wait_until(found)
    return found()[0]


def wait_for_reviewer(browser: HTTPBrowser) -> None:
    """Wait until onboarding has heard of the first administrator: before that it takes no application."""
    wait_until(lambda: 'id="apply"' in browser.get("/apply").text)


def wait_until(condition: Any, seconds: float = 60) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):  # it may end while it is looked at
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
