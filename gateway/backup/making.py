"""Making a backup: dumps under a name of their own, a manifest, and the final name only once all of it is whole."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import redis

from gateway.backup.manifest import ORDER, BackupError, Manifest
from gateway.backup.places import Place
from gateway.backup.programs import Programs
from libs.restoring import BACKUP_KEY

PARTIAL = ".partial-"
"""How the name of a backup begins that is not whole yet."""
KEPT = 14
"""How many backups stay unless BACKUPS_KEPT says otherwise."""


def make(place: Place) -> Path:
    """Dump the databases and return the backup's folder. Raises ServerError."""
    with _alone(place.backups), Programs(place.values) as programs:
        partial = begin(place.backups)
        try:
            programs.run("dump.sh", str(partial), *ORDER)
            return seal(partial, place.values)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def begin(backups: Path) -> Path:
    """A new folder for dumps; what earlier tries left behind goes. Raises BackupError.

    Its name is its own: pg_dump of a try that was killed may still write, and finds no folder any more.
    """
    partial = backups / f"{PARTIAL}{secrets.token_hex(4)}"
    try:
        backups.mkdir(parents=True, exist_ok=True)
        for left in backups.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise BackupError(f"{partial} cannot be written: {error.strerror}.") from None
    return partial


def seal(partial: Path, values: Mapping[str, str]) -> Path:
    """Describe the dumps, give them their final name, prune older backups, note the time. Raises BackupError."""
    backups, kept = partial.parent, _kept(values)
    manifest = Manifest.describe(partial, values)
    for file in partial.glob("*.facts"):
        file.unlink()
    manifest.write(partial)
    for path in (*partial.iterdir(), partial):
        _to_disk(path)
    final = backups / _name(backups, datetime.fromisoformat(manifest.made_at))
    partial.rename(final)
    _to_disk(backups)
    note_success(values, datetime.fromisoformat(manifest.finished_at))
    prune(backups, kept)
    return final


def prune(backups: Path, kept: int) -> list[Path]:
    """Delete all but so many of the newest backups. Returns those. What cannot be read is somebody's to look at."""
    found = []
    for file in backups.glob("backup_*/manifest.json"):
        try:
            found.append((Manifest.read(file.parent).made_at, file.parent))
        except BackupError as error:
            print(f"Left as it is: {error}", flush=True)
    old = [folder for _, folder in sorted(found)[:-kept]]
    for folder in old:
        shutil.rmtree(folder)
    return old


def note_success(values: Mapping[str, str], moment: datetime) -> None:
    """For the metric of its age. A backup is good without it, so that a Redis that is away only warns."""
    try:
        with redis.Redis.from_url(
            values.get("REDIS_URL", ""), socket_timeout=2, socket_connect_timeout=2
        ) as client:
            client.set(BACKUP_KEY, int(moment.timestamp()))
    except (redis.RedisError, ValueError) as error:
        print(
            f"The backup is whole, but its time was not noted in Redis ({type(error).__name__}).", flush=True
        )


def _name(backups: Path, moment: datetime) -> str:
    """backup_YYYYMMDD, with the time of day where that day has one already."""
    moment = moment.astimezone(UTC)
    name = f"backup_{moment:%Y%m%d}"
    return f"{name}_{moment:%H%M%S}" if (backups / name).exists() else name


def _kept(values: Mapping[str, str]) -> int:
    text = values.get("BACKUPS_KEPT") or str(KEPT)
    if not text.isdigit() or int(text) < 1:
        raise BackupError(f"BACKUPS_KEPT must be a whole number from 1, not {text!r}.")
    return int(text)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(backups: Path) -> Iterator[None]:
    """One backup at a time in this folder. Raises BackupError."""
    try:
        backups.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(backups, os.O_RDONLY)
    except OSError as error:
        raise BackupError(f"{backups} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(f"Another backup is being made in {backups}.") from None
    finally:
        os.close(descriptor)
