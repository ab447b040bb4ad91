"""Where the databases are: those that the environment names, or those of a suite's data folder, running or not."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.backup.manifest import BackupError
from gateway.data_folder import DATABASE_VARIABLES, DataFolder
from libs.settings import SettingsError, with_launcher_environment

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Settings that reach the databases, and where the backups are."""

    values: dict[str, str]
    backups: Path


@contextlib.contextmanager
def reach(environ: Mapping[str, str], *, is_exclusive: bool, may_be_new: bool = False) -> Iterator[Place]:
    """The databases; those of a data folder are started where no suite runs on it.

    With `is_exclusive` a suite that runs is refused; `may_be_new`: an empty folder will do. Raises ServerError.
    """
    data = Path(environ.get("DATA_DIR") or ROOT / ".data")
    given = {name: value for name, value in environ.items() if value}
    backups = Path(given.get("BACKUP_DIR") or data / "backups")
    if all(name in given for name in DATABASE_VARIABLES):
        yield Place(given, backups)
        return
    if is_exclusive and "REDIS_URL" in given:
        raise BackupError(
            "REDIS_URL is set, the four database URLs are not, and a restore empties Redis: unset it, or set all."
        )
    if not is_exclusive and (running := _of_running_suite(environ)):
        yield Place(running, backups)
        return
    if not may_be_new and not (data / "environment").exists():
        raise BackupError(
            f"There is no suite in {data}: name its folder in DATA_DIR, or the four databases by "
            f"{', '.join(DATABASE_VARIABLES)}."
        )
    folder = DataFolder(data)
    folder.claim()
    try:
        folder.start_servers(environ)
        values = folder.environment(environ, PUBLIC_URL="http://localhost:8000", DATA_DIR=str(data))
        yield Place({**values, **given}, backups)
    finally:
        folder.release()


def _of_running_suite(environ: Mapping[str, str]) -> dict[str, str] | None:
    try:
        found = with_launcher_environment({**environ, "ID_ENV": ""})
    except SettingsError:
        return None
    return dict(found) if all(found.get(name) for name in DATABASE_VARIABLES) else None


def backup_named(text: str, place: Place) -> Path:
    """A backup's folder: as it is written, or by its name among the backups. Raises BackupError."""
    for folder in (Path(text), place.backups / text):
        if text and folder.is_dir():
            return folder
    known = ", ".join(sorted(folder.name for folder in place.backups.glob("backup_*"))) or "none"
    raise BackupError(f"There is no backup {text or '(name one)'}; in {place.backups} there are: {known}.")
