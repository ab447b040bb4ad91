"""DATA_DIR: who holds it, its embedded servers, and the file from which commands learn how to reach them."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from gateway.servers import DATABASES, Postgres, Redis, ServerError
from libs.guard.secrets import fresh

DATABASE_VARIABLES = {name.removeprefix("id_").upper() + "_DATABASE_URL": name for name in DATABASES}
CLAIM_TIMEOUT_S = 5
LARGEST_LOG_BYTES = 20_000_000


class DataFolder:
    """One folder of state, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self._lock: int | None = None

    def claim(self) -> None:
        """Take the folder until release(). Raises ServerError when another process holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ServerError(f"The data folder {self.path} cannot be used: {error.strerror}.") from None
        # Children of a killed launcher hold the lock for the moment that the kernel needs to end them.
        deadline = time.monotonic() + CLAIM_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self._read().get("LAUNCHER_PID", "")
                if time.monotonic() > deadline or (holder and Path(f"/proc/{holder}").exists()):
                    os.close(self._lock)
                    self._lock = None
                    raise ServerError(
                        f"The data folder {self.path} is in use by a suite that runs: stop it, "
                        "or name another folder in DATA_DIR."
                    ) from None
                time.sleep(0.1)

    def start_servers(self, environ: Mapping[str, str]) -> None:
        """Start the embedded servers, but none that the settings name already. Raises ServerError."""
        if not environ.get("REDIS_URL"):
            self.redis = Redis(self.path / "redis", log=self.log("redis.log"))
            self.redis.start()
        missing = [name for variable, name in DATABASE_VARIABLES.items() if not environ.get(variable)]
        if missing:
            self.postgres = Postgres(self.path / "postgres", log=self.log("postgres.log"))
            self.postgres.start()
            self.postgres.create_databases(tuple(missing))

    def restart_dead_servers(self) -> list[str]:
        """Start again what has ended by itself; what that was."""
        dead = [server for server in (self.postgres, self.redis) if server and not server.is_running]
        for server in dead:
            server.start()
        return [str(server.binaries) for server in dead]

    def describe_servers(self) -> str:
        """Which servers hold the data, for people."""
        embedded = [str(server.binaries) for server in (self.postgres, self.redis) if server]
        return ", ".join(embedded) or "on the servers that the settings name"

    def environment(self, environ: Mapping[str, str], **more: str) -> dict[str, str]:
        """What processes and commands need to know; addresses in the given environment win, one by one."""
        kept = self._read()
        values = {
            "ID_ENV": "development",
            "SECRET_KEY": kept.get("SECRET_KEY") or fresh.shared_secret(),
            "DATA_ENCRYPTION_KEYS": kept.get("DATA_ENCRYPTION_KEYS") or fresh.encryption_key(),
            "EVENT_ENCRYPTION_KEYS": kept.get("EVENT_ENCRYPTION_KEYS") or fresh.encryption_key(),
            "ADMIN_EMAIL": kept.get("ADMIN_EMAIL") or "admin@updspace.test",
        }
        secret_names = {name for name in values if name.endswith(("KEY", "KEYS"))}
        if self.redis:
            values["REDIS_URL"] = self.redis.url()
        if self.postgres:
            values |= {variable: self.postgres.url(name) for variable, name in DATABASE_VARIABLES.items()}
        values |= more
        # A secret given for one run stays out of the file: it must not replace what the data is sealed with.
        for name in [*values, "REDIS_URL", *DATABASE_VARIABLES]:
            if environ.get(name) and name not in secret_names:
                values[name] = environ[name]
        return values

    def announce(self, values: Mapping[str, str]) -> None:
        """Let commands of this checkout find the suite while this process lives."""
        self._write({**values, "LAUNCHER_PID": str(os.getpid())})

    def release(self) -> None:
        """Stop the embedded servers and give the folder back; its secrets stay for the next start."""
        for server in (self.redis, self.postgres):
            if server:
                server.stop()
        if self._lock is not None:
            values = self._read()
            if values.pop("LAUNCHER_PID", ""):
                self._write(values)
            os.close(self._lock)
            self._lock = None

    def log(self, name: str) -> Path:
        """The log file of this name; one that has grown large moves aside, over the one before it."""
        file = self.path / "log" / name
        file.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_size > LARGEST_LOG_BYTES:
                file.rename(f"{file}.1")
        return file

    def empty_folder(self, name: str) -> Path:
        """A folder without what an earlier run left in it."""
        folder = self.path / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    @property
    def _file(self) -> Path:
        return self.path / "environment"

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            return dict(line.split("=", 1) for line in self._file.read_text().splitlines() if "=" in line)
        return {}

    def _write(self, values: Mapping[str, str]) -> None:
        """Replace the file in one step: a kill at any moment leaves the old one or the new, never half."""
        new = self._file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._file)
