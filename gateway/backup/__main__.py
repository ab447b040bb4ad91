"""`make backup | verify-backup | restore | restored`, and the steps of the same in pods.

Those are k8s/base/backup/backup.yaml, k8s/restore.yaml and k8s/restored.yaml.
"""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path

from gateway.backup import making, programs, restoring
from gateway.backup.manifest import Manifest
from gateway.backup.places import Place, backup_named, reach
from gateway.servers import ServerError
from libs.settings import SettingsError


def make() -> None:
    """Back the four databases up."""
    with reach(os.environ, is_exclusive=False) as place:
        folder = making.make(place)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder} is whole: {size / 1e6:.1f} MB. Its keys are not in it: keep those elsewhere.")


def verify(name: str) -> None:
    """Check a backup, and restore it into databases that are dropped again."""
    with reach(os.environ, is_exclusive=False) as place:
        folder = backup_named(name, place)
        manifest = restoring.verify(place, folder)
    rows = sum(sum(dump.rows.values()) for dump in manifest.databases.values())
    print(f"{folder} can be restored: {rows} rows of release {manifest.release}, made at {manifest.made_at}.")


def restore(name: str, *, is_sure: bool) -> None:
    """Put a backup in the place of the databases."""
    with reach(os.environ, is_exclusive=True, may_be_new=True) as place:
        folder = backup_named(name, place)
        aside = restoring.restore(place, folder, is_sure=is_sure)
    print(
        f"{folder} is restored. Everybody signs in again, and mail that waited is held: start the suite, then see "
        f"`messages list --state held`.\nWhat was there before stays as databases with the suffix _{aside}, "
        "until `restore --forget`."
    )


def restored(made_at: str, *, is_sure: bool) -> None:
    """Make databases fit that came back by another way than `restore`, and are of that moment."""
    moment = restoring.moment_of(made_at)
    with reach(os.environ, is_exclusive=True) as place:
        restoring.settle(place, moment, is_sure=is_sure)
    print(
        "The databases are ready. Everybody signs in again, and mail that waited is held: start the suite, then see "
        "`messages list --state held`."
    )


def forget() -> None:
    """Drop what earlier restores have put aside."""
    with reach(os.environ, is_exclusive=False) as place:
        dropped = restoring.forget(place)
    print(f"Dropped: {', '.join(dropped) or 'nothing'}.")


def plan(folder: Path) -> None:
    """First step of a backup in a pod: what the scripts need, and a place for the dumps."""
    programs.plan(folder, os.environ)
    (folder / "target").write_text(str(making.begin(Path(os.environ["BACKUP_DIR"]))))


def plan_restore(folder: Path, backup: str) -> None:
    """First step of a restore in a pod: whether the backup is good here, and what scripts and services need."""
    source = backup_named(backup, Place({}, Path(os.environ["BACKUP_DIR"])))
    manifest = Manifest.read(source)
    manifest.check(source, os.environ)
    programs.plan(folder, os.environ)
    programs.hand_out(folder, restoring.fresh_addresses(os.environ), datetime.fromisoformat(manifest.made_at))
    print(
        f"{source.name} can be restored here: it is of release {manifest.release}, made at {manifest.made_at}."
    )


def plan_restored(folder: Path, made_at: str) -> None:
    """First step in a pod after databases came back by another way: what the services need to make them fit."""
    moment = restoring.moment_of(made_at)
    programs.plan(folder, os.environ)
    programs.hand_out(folder, os.environ, moment)


def compare(folder: Path, backup: str) -> None:
    """Middle step of a restore in a pod: whether the fresh databases have every row."""
    Manifest.read(Path(os.environ["BACKUP_DIR"]) / backup).check_restored(folder)


def seal(folder: Path) -> None:
    """Last step in a pod: manifest, final name, prune, note the time."""
    print(f"{making.seal(Path((folder / 'target').read_text()), os.environ)} is whole.")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.backup", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("make", help=make.__doc__)
    named = steps.add_parser("verify", help=verify.__doc__)
    named.add_argument("backup", nargs="?", default=os.environ.get("BACKUP", ""))
    named = steps.add_parser("restore", help=restore.__doc__)
    named.add_argument("backup", nargs="?", default=os.environ.get("BACKUP", ""))
    named.add_argument("--yes", action="store_true", default=os.environ.get("CONFIRM") == "1")
    named.add_argument("--check", action="store_true", help="Only verify it.")
    named.add_argument("--forget", action="store_true", help=forget.__doc__)
    named = steps.add_parser("restored", help=restored.__doc__)
    named.add_argument("--made-at", default=os.environ.get("MADE_AT", ""))
    named.add_argument("--yes", action="store_true", default=os.environ.get("CONFIRM") == "1")
    step = steps.add_parser("plan", help=plan.__doc__)
    step.add_argument("folder", type=Path)
    step = steps.add_parser("plan-restore", help=plan_restore.__doc__)
    step.add_argument("folder", type=Path)
    step.add_argument("backup")
    step = steps.add_parser("plan-restored", help=plan_restored.__doc__)
    step.add_argument("folder", type=Path)
    step.add_argument("made_at")
    step = steps.add_parser("compare", help=compare.__doc__)
    step.add_argument("folder", type=Path)
    step.add_argument("backup")
    step = steps.add_parser("seal", help=seal.__doc__)
    step.add_argument("folder", type=Path)
    wanted = parser.parse_args(arguments)
    try:
        if wanted.step == "make":
            make()
        elif wanted.step == "plan":
            plan(wanted.folder)
        elif wanted.step == "plan-restore":
            plan_restore(wanted.folder, wanted.backup)
        elif wanted.step == "plan-restored":
            plan_restored(wanted.folder, wanted.made_at)
        elif wanted.step == "restored":
            restored(wanted.made_at, is_sure=wanted.yes)
        elif wanted.step == "compare":
            compare(wanted.folder, wanted.backup)
        elif wanted.step == "seal":
            seal(wanted.folder)
        elif wanted.step == "restore" and wanted.forget:
            forget()
        elif wanted.step == "verify" or wanted.check:
            verify(wanted.backup)
        else:
            restore(wanted.backup, is_sure=wanted.yes)
    except (ServerError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
