"""`make suite`: the same processes as in production on one machine, under supervisor, behind nginx.

`Suite` is also what tests start, on shifted ports and in a folder of their own.
"""

import fcntl
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from gateway.binaries import version_of_nginx
from gateway.certificate import ensure_certificate
from gateway.data_folder import DataFolder
from gateway.launcher import describe_administrator, last_words, port_from_environment, prepare_databases
from gateway.servers import ServerError
from gateway.supervision import Program, Supervisor

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("account", "onboarding", "oidc", "notification")
READY_TIMEOUT_S = 90


@dataclass(frozen=True)
class Ports:
    """Where each process listens; `offset` moves all of them, for a second suite on the machine."""

    offset: int = 0

    @classmethod
    def free(cls) -> "Ports":
        """The first offset at which every port is free; until this process ends no other is given it.

        A suite opens its ports only once its databases are ready: somebody else would find them free meanwhile.
        """
        for offset in range(200, 20000, 60):
            ports = cls(offset)
            if not ports.taken() and _reserve(offset):
                return ports
        raise ServerError("No range of free ports was found.")

    @property
    def http(self) -> int:
        return 8000 + self.offset

    @property
    def https(self) -> int:
        return 8443 + self.offset

    def web(self, service: str) -> int:
        return 8001 + (*SERVICES, "front").index(service) + self.offset

    def worker(self, service: str) -> int:
        """The port for health and metrics of a worker, or of beat."""
        return 9000 + ("beat", *SERVICES).index(service) + self.offset

    def taken(self) -> list[int]:
        """Those on which something listens already."""
        ports = [self.http, self.https, self.worker("beat"), self.web("front")]
        ports += [port for service in SERVICES for port in (self.web(service), self.worker(service))]
        return [port for port in sorted(ports) if not _is_free(port)]


class Suite:
    """PostgreSQL, Redis, nginx and every process of the suite. Use as a context manager, or start() and stop()."""

    def __init__(
        self, data_dir: Path, ports: Ports | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.data = DataFolder(data_dir)
        self.ports = ports or Ports()
        self.given = dict(os.environ if environ is None else environ)
        self.values: dict[str, str] = {}
        self.run_folder = Path()
        self.admin = ""
        self.supervisor: Supervisor | None = None

    @property
    def url(self) -> str:
        """The front door without TLS."""
        return f"http://localhost:{self.ports.http}"

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self.ports.https}"

    @property
    def certificate(self) -> Path:
        """The self-made certificate that nginx shows; a client that trusts it needs nothing else."""
        return self.data.path / "tls" / "certificate.pem"

    @property
    def _certificate_key(self) -> Path:
        return self.certificate.with_name("key.pem")

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process, and of a command that is to reach this suite."""
        return {**self.given, **{name: self.given.get(name) or value for name, value in self.values.items()}}

    def __enter__(self) -> "Suite":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> "Suite":
        """Start everything and wait until the front door is ready. Raises ServerError."""
        self.data.claim()
        try:
            if taken := self.ports.taken():
                raise ServerError(
                    f"Port {taken[0]} is taken: stop what listens there, or move all ports with SUITE_PORT_OFFSET."
                )
            self.data.start_servers(self.given)
            more = {
                f"{name.upper()}_UPSTREAM": f"127.0.0.1:{self.ports.web(name)}"
                for name in (*SERVICES, "front")
            }
            self.values = self.data.environment(
                self.given, PUBLIC_URL=self.url, TRUSTED_PROXY_HOPS="1", DATA_DIR=str(self.data.path), **more
            )
            self.data.announce(self.values)
            # First of all: OUTBOUND_CA_BUNDLE may name it, and a setting must not name what is not there.
            host = urlsplit(self.environ["PUBLIC_URL"]).hostname or "localhost"
            ensure_certificate(self.certificate, self._certificate_key, host=host)
            self._prepare_databases()
            self.run_folder = Path(tempfile.mkdtemp(prefix="id-suite-"))
            # nginx gives up root for its workers, and they keep their buffers in there.
            self.run_folder.chmod(0o711)
            self._write_nginx()
            self.supervisor = Supervisor(self.run_folder, self.data.log("supervisor.log"))
            self.supervisor.start(self._programs(), self.environ)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything that start() started, the servers last."""
        if self.supervisor:
            self.supervisor.stop()
            self.supervisor = None
        if self.run_folder.name:
            shutil.rmtree(self.run_folder, ignore_errors=True)
        self.data.release()

    # One program: account … notification, account-worker …, front, beat, nginx.

    def start_program(self, program: str) -> None:
        """Start a stopped program and wait until it stays up."""
        self._running.ask_about(program, "startProcess", True)

    def stop_program(self, program: str) -> None:
        """Stop a program for good, as an operator would; it is not started again by itself."""
        self._running.ask_about(program, "stopProcess", True)

    def signal(self, program: str, number: signal.Signals) -> None:
        """Send a signal to a program's first process; one that dies of it is started again."""
        self._running.ask_about(program, "signalProcess", str(int(number)))

    def programs(self) -> dict[str, str]:
        """Every program with its state: RUNNING, STARTING, BACKOFF, STOPPED, EXITED or FATAL."""
        return {row["name"]: row["statename"] for row in self._running.ask("getAllProcessInfo")}

    def pid(self, program: str) -> int:
        return int(self._running.ask_about(program, "getProcessInfo")["pid"])

    def is_alive(self) -> bool:
        return self.supervisor is not None and self.supervisor.is_alive

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> bool:
        """Whether the front door says within this time that it can serve."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if _status_of(self.ports.http, "/readyz") == 200:
                return True
            time.sleep(0.1)
        return False

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self.wait_until_ready(1):
            if not self.is_alive():
                raise ServerError(f"supervisor ended; see {self.data.path}/log/supervisor.log.")
            fatal = [name for name, state in self.programs().items() if state == "FATAL"]
            if fatal:
                raise ServerError(
                    f"{', '.join(fatal)} did not start; see {self.data.path}/log/{fatal[0]}.jsonl."
                )
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The suite was not ready within {READY_TIMEOUT_S} s; see {self.data.path}/log."
                )

    def _prepare_databases(self) -> None:
        email = self.environ["ADMIN_EMAIL"]
        given = self.given.get("ADMIN_PASSWORD", "")
        password = given or secrets.token_urlsafe(12)
        done = subprocess.run(
            [sys.executable, "-c", "from gateway.suite import prepare; prepare()"],
            env=self.environ | {"ADMIN_EMAIL": email, "ADMIN_PASSWORD": password},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.data.log("prepare.jsonl").write_text(done.stdout + done.stderr)
        if done.returncode == 2:
            raise SettingsRefused(done.stderr.strip())
        if done.returncode:
            words = last_words(done.stderr)
            raise ServerError(f"The databases could not be prepared: {words} (more in {self.data.path}/log)")
        self.admin = describe_administrator(
            email, password, is_new=done.stdout.endswith("created\n"), is_given=bool(given)
        )

    def _write_nginx(self) -> None:
        from gateway.routes import render_nginx

        folder = self.run_folder / "nginx"
        folder.mkdir()
        (folder / "nginx.conf").write_text(
            render_nginx(
                self.environ
                | {
                    "HTTP_PORT": str(self.ports.http),
                    "HTTPS_PORT": str(self.ports.https),
                    "TLS_CERTIFICATE": str(self.certificate),
                    "TLS_CERTIFICATE_KEY": str(self._certificate_key),
                    "NGINX_FOLDER": str(folder),
                    "NGINX_VERSION": version_of_nginx(self._nginx),
                }
            )
        )

    def _programs(self) -> list[Program]:
        def program(name: str, command: str, **environment: str) -> Program:
            return Program(name, command, self.data.log(f"{name}.jsonl"), environment)

        programs = []
        scripts = Path(sys.executable).parent
        gunicorn = f"{scripts}/gunicorn --config {ROOT}/gunicorn.conf.py --bind 127.0.0.1"
        for name in (*SERVICES, "front"):
            app = "gateway.front" if name == "front" else f"services.{name}"
            command = f'{gunicorn}:{self.ports.web(name)} "{app}:create_app()"'
            metrics = f"{self.data.path}/metrics/{name}"
            programs.append(program(name, command, PROMETHEUS_MULTIPROC_DIR=metrics))
        for name in SERVICES:
            command = f"{scripts}/celery --app services.{name}.worker worker --hostname {name}@localhost"
            port = str(self.ports.worker(name))
            programs.append(program(f"{name}-worker", command, WORKER_PORT=port))
        command = (
            f"{scripts}/celery --app gateway.schedule beat --pidfile= --schedule {self.data.path}/schedule"
        )
        programs.append(program("beat", command, WORKER_PORT=str(self.ports.worker("beat"))))
        folder = self.run_folder / "nginx"
        command = f"{self._nginx} -p {folder} -e stderr -c {folder}/nginx.conf -g 'daemon off;'"
        return [*programs, Program("nginx", command, self.data.log("nginx.jsonl"), is_door=True)]

    @property
    def _nginx(self) -> str:
        return os.environ.get("NGINX_PROGRAM") or shutil.which("nginx") or "/usr/sbin/nginx"

    @property
    def _running(self) -> Supervisor:
        assert self.supervisor is not None, "the suite is not running"
        return self.supervisor


class SettingsRefused(ServerError):
    """A setting is missing or unusable."""


def prepare() -> None:
    """In a process of its own: migrate the databases that the environment names, and fill them."""
    from gateway.all_in_one import create_apps
    from libs.settings import SettingsError

    password = os.environ.pop("ADMIN_PASSWORD")
    try:
        apps = create_apps()
        created = prepare_databases(apps, admin_email=os.environ["ADMIN_EMAIL"], admin_password=password)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print("created" if created else "known")


def _reserve(offset: int) -> bool:
    """Lock a file of this offset until the process ends."""
    try:
        lock = os.open(
            Path(tempfile.gettempdir()) / f"updspace-id-suite-{offset}.lock", os.O_RDWR | os.O_CREAT, 0o600
        )
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _status_of(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main() -> int:
    ports = Ports(port_from_environment("SUITE_PORT_OFFSET", 0))
    suite = Suite(Path(os.environ.get("DATA_DIR") or ROOT / ".data-suite"), ports)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print("Starting the suite …", flush=True)
    try:
        with suite:
            print(
                f"\nThe suite runs at {suite.url} and {suite.https_url}   (Ctrl-C stops it)\n"
                f"  sign in    {suite.admin}\n"
                f"  mailbox    {suite.url}/dev/mailbox\n"
                f"  data       {suite.data.path}   {suite.data.describe_servers()}\n"
                f"  logs       {suite.data.path}/log/*.jsonl\n",
                flush=True,
            )
            while suite.is_alive():
                time.sleep(0.25)
                for name in suite.data.restart_dead_servers():
                    print(f"{name} ended by itself and is started again.", flush=True)
            raise ServerError(f"supervisor ended by itself; see {suite.data.path}/log/supervisor.log.")
    except KeyboardInterrupt:
        print("Stopped.", flush=True)
        return 0
    except ServerError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, SettingsRefused) else 1


if __name__ == "__main__":
    sys.exit(main())
