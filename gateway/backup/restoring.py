"""Restoring a backup: into fresh databases, made fit there, and put in the place of the present ones at last."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from gateway.backup.manifest import ROOT, BackupError, Manifest
from gateway.backup.places import Place
from gateway.backup.programs import Programs
from gateway.data_folder import DATABASE_VARIABLES
from gateway.launcher import last_words

FRESH, CHECKING = "restoring", "checking"


def verify(place: Place, folder: Path) -> Manifest:
    """Check a backup, and restore it into databases that are dropped again. Raises BackupError."""
    manifest = Manifest.read(folder)
    manifest.check(folder, place.values)
    with Programs(place.values) as programs:
        try:
            programs.run("restore.sh", "fresh", str(folder.resolve()), CHECKING)
            manifest.check_restored(programs.folder)
        finally:
            programs.run("restore.sh", "drop", CHECKING)
    return manifest


def restore(place: Place, folder: Path, *, is_sure: bool) -> str:
    """Put a backup in the place of the databases. Returns the suffix under which those of before stay.

    Whatever fails leaves them as they were. Raises BackupError.
    """
    manifest = Manifest.read(folder)
    manifest.check(folder, place.values)
    with Programs(place.values) as programs:
        programs.run("restore.sh", "quiet")
        if not is_sure and (full := _that_hold_data(programs)):
            raise BackupError(
                f"{', '.join(full)} hold data: say --yes, or CONFIRM=1, to put the backup in their place."
            )
        aside = f"before_{datetime.now(UTC):%Y%m%d_%H%M%S}"
        try:
            programs.run("restore.sh", "fresh", str(folder.resolve()), FRESH)
            manifest.check_restored(programs.folder)
            programs.run("restore.sh", "settled")  # Redis is emptied now: nobody may have begun to use it
            _make_fit(place.values | fresh_addresses(place.values), datetime.fromisoformat(manifest.made_at))
            programs.run("restore.sh", "settled")
            with _undisturbed():
                programs.run("restore.sh", "swap", FRESH, aside)
        except BaseException:
            # Where that fails, too, the next restore drops them; what has failed before is what is to be said.
            with contextlib.suppress(BackupError):
                programs.run("restore.sh", "drop", FRESH)
            raise
    return aside


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C has to wait: halfway the databases would be of two times."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle(place: Place, made_at: datetime, *, is_sure: bool) -> None:
    """Make the present databases fit, which came back by another way than `restore`: they are of that moment.

    What fails is done by doing it again. Raises BackupError.
    """
    with Programs(place.values) as programs:
        programs.run("restore.sh", "quiet")
    if not is_sure:
        raise BackupError(
            "This ends all sessions, grants, links and codes, and holds mail that waits: say --yes, or CONFIRM=1."
        )
    _make_fit(place.values, made_at)


def moment_of(text: str) -> datetime:
    """When databases are of, as people write it: in UTC where it does not say otherwise. Raises BackupError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BackupError(
            f"MADE_AT must say of when the databases are, such as 2026-01-16T02:23:00 (UTC), not {text!r}."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > datetime.now(UTC):
        # What was lost since would not be sent again.
        raise BackupError(f"MADE_AT lies ahead: {moment:%Y-%m-%dT%H:%M:%S%z}. It is in UTC.")
    return moment


def forget(place: Place) -> list[str]:
    """Drop the databases that restores have put aside. Returns their names. Raises BackupError."""
    dropped = []
    with Programs(place.values) as programs:
        for service, database in programs.databases.items():
            for name in sorted(_names(programs, service)):
                if re.fullmatch(rf"{re.escape(database)}_before_\d{{8}}_\d{{6}}", name):
                    programs.ask(service, f'DROP DATABASE "{name}"', database="postgres")
                    dropped.append(name)
    return dropped


def _names(programs: Programs, service: str) -> list[str]:
    """The databases of a service's server."""
    return programs.ask(service, "SELECT datname FROM pg_database", database="postgres").splitlines()


def _that_hold_data(programs: Programs) -> list[str]:
    """Those of the present databases that are there and not empty."""
    tables = "SELECT 1 FROM pg_tables WHERE schemaname = 'public' LIMIT 1"
    return [
        database
        for service, database in programs.databases.items()
        if database in _names(programs, service) and programs.ask(service, tables)
    ]


def _make_fit(values: Mapping[str, str], made_at: datetime) -> None:
    """Migrate the databases that these settings name, and end in them what must not live again: nobody is there yet."""
    program = "import sys; from gateway.backup.aftermath import make_fit; make_fit(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, made_at.isoformat()],
        env={**os.environ, **values},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = last_words(done.stderr if done.stderr.strip() else done.stdout)
        raise BackupError(f"The restored databases could not be made fit: {said}")


def fresh_addresses(values: Mapping[str, str]) -> dict[str, str]:
    """Where the databases are that a backup is restored into, as services are told."""
    return {name: _with_suffix(values.get(name, "")) for name in DATABASE_VARIABLES}


def _with_suffix(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path}_{FRESH}").geturl()
