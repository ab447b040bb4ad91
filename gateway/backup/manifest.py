"""manifest.json: what a backup consists of and what it needs, and whether it can be restored here."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from gateway.servers import ServerError
from libs.guard.secrets.fingerprints import of_ring
from libs.observe.health import version

ROOT = Path(__file__).resolve().parents[2]
FORMAT = 1
NAME = "manifest.json"
ORDER = ("notification", "onboarding", "oidc", "account")
"""In which databases are dumped: whoever hears of people before whoever tells of them. See docs/decisions/0031."""
RINGS = ("DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS")


class BackupError(ServerError):
    """A backup that is not whole, or does not fit; the message is a sentence for whoever typed the command."""


@dataclass(frozen=True, kw_only=True)
class Dump:
    """The dump of one database."""

    file: str
    bytes: int
    sha256: str
    taken_at: str
    head: str
    """The newest migration."""
    postgres: str
    rows: dict[str, int]
    """How many each table had."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole backup. It holds no secret: of keys their names, and a fingerprint that cannot be turned back."""

    format: int
    release: str
    made_at: str
    """When the first dump was begun (ISO 8601, UTC)."""
    finished_at: str
    keys: dict[str, dict[str, str]]
    databases: dict[str, Dump]

    @classmethod
    def describe(cls, folder: Path, values: Mapping[str, str]) -> Self:
        """What the dumps in this folder, and the settings, say. Raises BackupError."""
        databases = {service: _describe(folder, service) for service in ORDER}
        return cls(
            format=FORMAT,
            release=version(),
            made_at=min(dump.taken_at for dump in databases.values()),
            finished_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            keys={ring: of_ring(values.get(ring, ""), setting=ring) for ring in RINGS},
            databases=databases,
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a backup. Raises BackupError."""
        try:
            found = json.loads((folder / NAME).read_text())
            if found.get("format") != FORMAT:
                raise BackupError(f"{folder} is of a format that this release does not know.")
            databases = {service: Dump(**found["databases"][service]) for service in ORDER}
            return cls(**{**found, "databases": databases})
        except FileNotFoundError:
            raise BackupError(f"{folder} is no backup: it has no {NAME}.") from None
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            raise BackupError(f"{folder / NAME} cannot be read.") from None

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(json.dumps(asdict(self), indent=2) + "\n")

    def check(self, folder: Path, values: Mapping[str, str]) -> None:
        """Whether its files are whole, and this release with these settings can live with it. Raises BackupError."""
        wrong = [*self._wrong_files(folder), *self._wrong_release(), *self._wrong_keys(values)]
        if wrong:
            raise BackupError(" ".join(wrong))

    def _wrong_files(self, folder: Path) -> list[str]:
        wrong = []
        for dump in self.databases.values():
            file = folder / dump.file
            if Path(dump.file).name != dump.file or not file.is_file():
                wrong.append(f"{dump.file} is missing.")
            elif sha256(file) != dump.sha256:
                wrong.append(f"{dump.file} is not what was written: its checksum differs.")
        return wrong

    def _wrong_release(self) -> list[str]:
        wrong = []
        if _release(self.release) > _release(version()):
            wrong.append(f"It was made by release {self.release}, and this is {version()}.")
        for service, dump in self.databases.items():
            versions = ROOT / "services" / service / "migrations" / "versions"
            # The gateway's image has no service in it: there the release alone tells.
            if versions.is_dir() and not list(versions.glob(f"{dump.head}_*.py")):
                wrong.append(f"This release does not know the migration {dump.head} of {service}.")
        return wrong

    def _wrong_keys(self, values: Mapping[str, str]) -> list[str]:
        wrong = []
        for ring, needed in self.keys.items():
            present = of_ring(values.get(ring, ""), setting=ring)
            missing = [kid for kid, mark in needed.items() if present.get(kid) != mark]
            if missing:
                wrong.append(f"{ring} lacks the key(s) {', '.join(missing)} by which it was sealed.")
        return wrong

    def check_restored(self, facts_folder: Path) -> None:
        """Whether restored databases have every row. Raises BackupError."""
        for service, dump in self.databases.items():
            rows = read_facts(facts_folder / f"id_{service}.facts")[1]
            if rows != dump.rows:
                tables = sorted(name for name in rows | dump.rows if rows.get(name) != dump.rows.get(name))
                raise BackupError(f"{dump.file} came back with other numbers of rows in {', '.join(tables)}.")


def _describe(folder: Path, service: str) -> Dump:
    file = folder / f"id_{service}.dump"
    facts, rows = read_facts(folder / f"id_{service}.facts")
    if not file.is_file() or not {"taken_at", "head", "postgres"} <= set(facts):
        raise BackupError(f"The dump of {service} is not whole.")
    if facts.pop("head_afterwards", facts["head"]) != facts["head"]:
        raise BackupError(f"A migration of {service} ran meanwhile: make the backup again.")
    return Dump(file=file.name, bytes=file.stat().st_size, sha256=sha256(file), rows=rows, **facts)


def read_facts(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What facts.sql wrote: values by their names, and rows by table. Raises BackupError."""
    facts: dict[str, Any] = {}
    rows: dict[str, int] = {}
    try:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "rows":
                table, _, count = value.rpartition(" ")
                rows[table] = int(count)
            elif name:
                facts[name] = value
    except (OSError, ValueError):
        raise BackupError(f"{file} cannot be read.") from None
    return facts, rows


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _release(text: str) -> tuple[int, ...]:
    """1.2.3+commit as numbers that compare."""
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0]))
