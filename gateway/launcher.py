"""`make run`: imports once, prepares the databases, forks web and worker, and looks after both."""

import contextlib
import gc
import http.client
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.data_folder import DataFolder
from gateway.servers import ServerError, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
WEB_THREADS = 16
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
STEADY_AFTER_S = 10
"""A child that lived this long is restarted at once; one that did not, after a pause."""


class Child:
    """A forked process of ours that is started again when it dies."""

    def __init__(self, name: str, work: Callable[[], None], log: Path) -> None:
        self.name, self.work, self.log = name, work, log
        self.pid = 0
        self.code = 0
        self.started_at = 0.0
        self.pause_s = 0.0

    def start(self) -> None:
        self.started_at = time.monotonic()
        bind_to_parent = die_with_parent(signal.SIGKILL)
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            # A session of its own: Ctrl-C in the terminal is for the launcher, which stops things in order.
            os.setsid()
            bind_to_parent()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            _write_to(self.log)
            self.work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def is_running(self) -> bool:
        if self.pid:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.pid, self.code = 0, os.waitstatus_to_exitcode(status)
        return bool(self.pid)

    def restart_if_dead(self) -> None:
        if self.is_running():
            return
        if not self.pause_s:
            self.pause_s = 0.1 if time.monotonic() - self.started_at > STEADY_AFTER_S else 2.0
            print(
                f"The {self.name} process ended ({self.code}) and is started again; see {self.log}.",
                flush=True,
            )
        if time.monotonic() - self.started_at > self.pause_s:
            self.pause_s = 0.0
            self.start()

    def stop(self, timeout_s: float) -> None:
        """Ask it to finish, and end it by force when that takes longer."""
        if not self.is_running():
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


class Launcher:
    """The whole of `make run`, from taking the port to giving the data folder back."""

    def __init__(self) -> None:
        self.data = DataFolder(Path(os.environ.get("DATA_DIR") or ROOT / ".data"))
        self.port = port_from_environment("PORT", 8000)
        self.metrics_port = port_from_environment("METRICS_PORT", 9000)
        self.sockets: list[socket.socket] = []
        self.children: list[Child] = []
        self.stopping = threading.Event()
        self.apps: dict[str, Any] = {}
        self.front: Callable[..., Any] | None = None

    def run(self) -> int:
        """The exit code: 0 after Ctrl-C or SIGTERM, 2 for a bad setting. Raises ServerError."""
        self.data.claim()
        try:
            self.sockets = _listen(self.port)
            _refuse_taken(self.metrics_port)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._stop)
            self.data.start_servers(os.environ)
            values = self._settle_environment()
            code = self._prepare(values["ADMIN_EMAIL"])
            if code:
                return code
            self._serve()
            return 0
        finally:
            for child in self.children:
                child.stop(STOP_TIMEOUT_S)
            self.data.release()

    def _settle_environment(self) -> dict[str, str]:
        values = self.data.environment(
            os.environ,
            PUBLIC_URL=f"http://localhost:{self.port}",
            TRUSTED_PROXY_HOPS="0",
            METRICS_PORT=str(self.metrics_port),
        )
        for name, value in values.items():
            if not os.environ.get(name):
                os.environ[name] = value
        os.environ.setdefault("OTEL_SERVICE_NAME", "id-all-in-one")
        # Before prometheus_client is imported: it chooses its way of counting then.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.data.empty_folder("metrics"))
        self.data.announce(values)
        return values

    def _prepare(self, admin_email: str) -> int:
        """Import everything; fill the databases in a child, so that no connection is forked later."""
        from gateway import all_in_one
        from libs.settings import SettingsError

        try:
            self.apps = all_in_one.create_apps()
            self.front = all_in_one.create_front(self.apps)
        except SettingsError as error:
            print(error, file=sys.stderr)
            return 2
        gc.collect()
        gc.freeze()  # what is shared with the children stays shared: their collector does not touch it
        given = os.environ.pop("ADMIN_PASSWORD", "")
        password = given or secrets.token_urlsafe(12)
        reader, writer = os.pipe()

        def fill() -> None:
            try:
                created = prepare_databases(self.apps, admin_email=admin_email, admin_password=password)
            except SettingsError as error:
                os.write(writer, str(error).encode())
                raise SystemExit(2) from None
            if created:
                os.write(writer, b"created")

        child = Child("preparing", fill, self.data.log("prepare.jsonl"))
        child.start()
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            said = answer.read().decode()
        while child.is_running():
            time.sleep(0.01)
        if child.code == 2:
            print(said, file=sys.stderr)
            return 2
        if child.code:
            words = last_words(child.log.read_text(errors="replace"))
            raise ServerError(f"The databases could not be prepared: {words} (more in {child.log})")
        is_new = said == "created"
        self.admin = describe_administrator(admin_email, password, is_new=is_new, is_given=bool(given))
        return 0

    def _serve(self) -> None:
        web = Child("web", self._web, self.data.log("web.jsonl"))
        worker = Child("worker", self._worker, self.data.log("worker.jsonl"))
        self.children = [web, worker]  # the order of stopping: no new work first
        for child in self.children:
            child.start()
        if self._wait_until_ready(web):
            self._greet()
        while not self.stopping.wait(0.25):
            for name in self.data.restart_dead_servers():
                print(f"{name} ended by itself and is started again.", flush=True)
            for child in self.children:
                child.restart_if_dead()
        print("Stopping …", flush=True)

    def _wait_until_ready(self, web: Child) -> bool:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline and not self.stopping.is_set():
            if not web.is_running():
                words = last_words(web.log.read_text(errors="replace"))
                raise ServerError(f"The web process ended while starting: {words} (more in {web.log})")
            if _answers_ok(self.port, "/readyz"):
                return True
            time.sleep(0.05)
        if not self.stopping.is_set():
            print(f"Not ready yet: http://localhost:{self.port}/health says why.", flush=True)
        return False

    def _greet(self) -> None:
        url = os.environ["PUBLIC_URL"]
        print(
            f"\nUpdSpace ID runs at {url}   (Ctrl-C stops it)\n"
            f"  sign in    {self.admin}\n"
            f"  mailbox    {url}/dev/mailbox   every mail the suite sends\n"
            f"  demo       {url}/demo   an app to sign in to\n"
            f"  data       {self.data.path}   {self.data.describe_servers()}\n"
            f"  logs       {self.data.path}/log/*.jsonl\n",
            flush=True,
        )

    def _web(self) -> None:
        from gateway.web_server import serve

        assert self.front is not None
        serve(self.front, sockets=self.sockets, threads=WEB_THREADS)

    def _worker(self) -> None:
        from gateway import all_in_one

        for listener in self.sockets:
            listener.close()
        os.environ["WORKER_PORT"] = str(self.metrics_port)
        run_worker(all_in_one.create_worker(self.apps), schedule=self.data.path / "schedule")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping.is_set():
            for child in self.children:
                if child.pid:
                    os.kill(child.pid, signal.SIGKILL)
        self.stopping.set()


def prepare_databases(apps: dict[str, Any], *, admin_email: str, admin_password: str) -> bool:
    """Migrate the databases; make signing keys, the demo's client and the first administrator.

    Returns whether the administrator is new. Raises SettingsError when nobody can have this address or password.
    """
    from gateway.demo import registration
    from gateway.settings import GatewaySettings
    from libs.database import upgrade
    from libs.settings import SettingsError
    from libs.web.problems import Problem
    from services.account.flows.users import ensure_administrator
    from services.oidc.flows.clients import ensure_client
    from services.oidc.flows.keys import ensure_keys

    for app in apps.values():
        upgrade(app)
    with apps["oidc"].app_context():
        ensure_keys()
        settings = GatewaySettings.load()
        if settings.is_development:
            ensure_client(**registration(settings))
    with apps["account"].app_context():
        try:
            return ensure_administrator(email=admin_email, password=admin_password)
        except Problem as problem:
            wrong = [f"ADMIN_{field.upper()}: {message}" for field, message in problem.errors.items()]
            raise SettingsError(" ".join(wrong) or f"ADMIN_EMAIL and ADMIN_PASSWORD: {problem}") from None


def describe_administrator(email: str, password: str, *, is_new: bool, is_given: bool) -> str:
    """Who may sign in, for the person who started it; an invented password is told only when it is made."""
    if not is_new:
        return f"{email}, with the password of the first start"
    return (
        f"{email}, with the password {'of ADMIN_PASSWORD' if is_given else password + ' (shown this once)'}"
    )


def run_worker(celery: Any, *, schedule: Path) -> None:
    """Run the Celery worker of this process with beat in a thread beside it, until SIGTERM."""
    from celery.beat import EmbeddedService

    # Which scheduler is Celery's to read from the configuration only when its command line starts beat.
    beat = EmbeddedService(
        celery, thread=True, scheduler_cls=celery.conf.beat_scheduler, schedule_filename=str(schedule)
    )
    beat.daemon = True
    beat.start()
    worker = celery.Worker(quiet=True)
    worker.start()
    beat.stop()
    sys.exit(worker.exitcode or 0)


def _write_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def last_words(text: str) -> str:
    """The error at the end of a traceback, or else the last line."""
    errors = re.findall(r"^[A-Za-z_][\w.]*: .+", text, re.MULTILINE)
    lines = text.strip().splitlines()
    return str((errors or lines or ["it left no word"])[-1])[:400]


def port_from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdigit() or not min(default, 1) <= int(text) < 65536:
        print(f"{name} must be a port number, at most 65535, not {text!r}.", file=sys.stderr)
        raise SystemExit(2)
    return int(text)


def _listen(port: int) -> list[socket.socket]:
    """Sockets on 127.0.0.1 and, where the machine has it, ::1. Raises ServerError when the port is taken."""
    sockets = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(256)
        except OSError as error:
            listener.close()
            if family == socket.AF_INET or error.errno == 98:
                raise ServerError(
                    f"Port {port} is taken: stop what listens there, or name another in PORT."
                ) from None
            continue
        sockets.append(listener)
    return sockets


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ServerError(
                f"Port {port} (metrics) is taken: stop what listens there, or name another in METRICS_PORT."
            ) from None


def _answers_ok(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main() -> int:
    try:
        return Launcher().run()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
