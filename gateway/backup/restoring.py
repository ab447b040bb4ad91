"""Restoring a backup: into fresh databases, made fit there, and put in the place of the present ones at last."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from gateway.backup.manifest import ROOT, BackupError, Manifest
from gateway.backup.places import Place
from gateway.backup.programs import Programs
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
            _make_fit(place.values, manifest)
            programs.run("restore.sh", "swap", FRESH, aside)
        finally:
            programs.run("restore.sh", "drop", FRESH)
    return aside


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


def _make_fit(values: Mapping[str, str], manifest: Manifest) -> None:
    """Migrate the fresh databases and end in them what must not live again, before anybody can reach them."""
    fresh = {name: _with_suffix(url) for name, url in values.items() if name.endswith("_DATABASE_URL")}
    program = "import sys; from gateway.backup.aftermath import make_fit; make_fit(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, manifest.made_at],
        env={**os.environ, **values, **fresh},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = last_words(done.stderr if done.stderr.strip() else done.stdout)
        raise BackupError(f"The restored databases could not be made fit: {said}")


def _with_suffix(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path}_{FRESH}").geturl()
