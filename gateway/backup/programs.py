"""psql, pg_dump and pg_restore for the four databases, without a password on any command line."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.backup.manifest import ORDER, BackupError
from gateway.binaries import find_postgres
from gateway.servers import ServerError

SCRIPTS = ("dump.sh", "dump.sql", "facts.sql", "restore.sh")
HERE = Path(__file__).resolve().parent
SERVICE_FILE, LIST = "pg_service.conf", "databases"
TIMEOUT_S = 6 * 3600
MOST_BYTES = 40
"""Of a database's name: PostgreSQL silently cuts names after 63, and `_before_YYYYMMDD_HHMMSS` is 23."""


def plan(folder: Path, values: Mapping[str, str]) -> None:
    """Write what the scripts need into a folder: themselves, how to reach each database, and what each is called."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in SCRIPTS:
        shutil.copyfile(HERE / script, folder / script)
    sections, names = [], []
    for service in ORDER:
        connection = _connection(service, values.get(f"{service.upper()}_DATABASE_URL", ""))
        lines = [f"{name}={value}" for name, value in connection.items()]
        sections.append("\n".join([f"[{service}]", *lines]))
        names.append(f"{service} {connection['dbname']}")
    _write_secretly(folder / SERVICE_FILE, "\n\n".join(sections) + "\n")
    (folder / LIST).write_text("\n".join(names) + "\n")


def hand_out(folder: Path, addresses: Mapping[str, str], made_at: datetime) -> None:
    """Write, a file each, what a service has to know that makes its database fit: where that is, and of when."""
    for service in ORDER:
        _write_secretly(folder / f"{service}_url", addresses[f"{service.upper()}_DATABASE_URL"])
    (folder / "made_at").write_text(made_at.astimezone(UTC).isoformat(timespec="microseconds"))


def _connection(service: str, url: str) -> dict[str, str]:
    """A database URL as libpq's parameters. Raises BackupError."""
    parts = urlsplit(url)
    database = unquote(parts.path.lstrip("/"))
    if not parts.scheme.startswith("postgres") or not re.fullmatch(r"[\w.-]+", database):
        raise BackupError(f"{service.upper()}_DATABASE_URL must name a database: postgresql://…/NAME.")
    if (size := len(database.encode())) > MOST_BYTES:
        # So that whoever makes a backup learns it, and not whoever needs one.
        raise BackupError(
            f"The database {database} has a name of {size} bytes. {MOST_BYTES} is the most that has room for what a "
            "restore adds to it: rename it."
        )
    values = {
        "host": unquote(parts.hostname or ""),
        "port": str(parts.port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        **dict(parse_qsl(parts.query)),
        "dbname": database,
        "application_name": "id-backup",
    }
    if any("\n" in value for value in values.values()):
        raise BackupError(f"{service.upper()}_DATABASE_URL holds a line break.")
    return {name: value for name, value in values.items() if value}


def _write_secretly(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
        new.write(text)


class Programs:
    """The scripts of a plan and PostgreSQL's programs, of the server's own release or the next that there is."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="id-backup-")
        self.folder = Path(self._folder.name)
        self._path = ""
        try:
            plan(self.folder, values)
            self._path = _fitting(_installed(), self._server_major())
        except BaseException:
            self._folder.cleanup()  # there are passwords in it
            raise

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def databases(self) -> dict[str, str]:
        """What each service's database is called."""
        return dict(line.split(" ", 1) for line in (self.folder / LIST).read_text().splitlines())

    def run(self, script: str, *arguments: str) -> None:
        """Run a script. Raises BackupError with the last that it said."""
        self._run(["sh", str(self.folder / script), *arguments])

    def ask(self, service: str, statement: str, *, database: str | None = None) -> str:
        """What psql prints. Raises BackupError."""
        where = f"service={service}" + (f" dbname={database}" if database else "")
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        return self._run(["psql", *options, f"--dbname={where}", f"--command={statement}"]).strip()

    def _run(self, command: list[str]) -> str:
        path = self._path or str(_newest(_installed()))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
            "PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}",
            "PGSERVICEFILE": str(self.folder / SERVICE_FILE),
            "PGCONNECT_TIMEOUT": "10",
            "DATABASES": str(self.folder / LIST),
            "FACTS": str(self.folder),
        }
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise BackupError(" ".join(said[-3:]) or f"{command[0]} failed with code {done.returncode}.")
        return done.stdout

    def _server_major(self) -> int:
        """Of the newest server among them: one set of programs serves all."""
        asked = (self.ask(service, "SHOW server_version_num", database="postgres") for service in ORDER)
        return max(int(number) // 10000 for number in asked)


def _installed() -> dict[int, Path]:
    """The folders with PostgreSQL's programs, by their major release."""
    found: dict[int, Path] = {}
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin")]
    for is_embedded in (True, False):
        try:
            candidates.append(find_postgres(embedded=is_embedded).program.parent)
        except ServerError:
            continue
    on_path = shutil.which("pg_dump")
    candidates += [Path(on_path).parent] if on_path else []
    for folder in candidates:
        if all((folder / name).exists() for name in ("psql", "pg_dump", "pg_restore")):
            said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True).stdout
            if match := re.search(r"\(PostgreSQL\) (\d+)", said):
                found.setdefault(int(match[1]), folder)
    if not found:
        raise BackupError("psql, pg_dump and pg_restore were not found: install postgresql-client.")
    return found


def _newest(found: Mapping[int, Path]) -> Path:
    return found[max(found)]


def _fitting(found: Mapping[int, Path], major: int) -> str:
    """Those of the server's release, else the next newer: older ones refuse, much newer ones write what it lacks."""
    fitting = [candidate for candidate in found if candidate >= major]
    if not fitting:
        raise BackupError(f"The server is PostgreSQL {major}: pg_dump {max(found)} is too old for it.")
    return str(found[min(fitting)])
