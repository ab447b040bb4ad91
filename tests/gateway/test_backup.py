"""A backup: what it consists of, that it is whole or not there, and what keeps one from being restored."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from gateway.backup import making, restoring
from gateway.backup.__main__ import main
from gateway.backup.manifest import BackupError, Manifest, sha256
from gateway.backup.places import Place, backup_named
from gateway.data_folder import DATABASE_VARIABLES
from libs.observe.health import version
from libs.service import parts_of
from tests.conftest import SERVICES
from tests.gateway.backups import Apps, all_apps, databases, let_go, place_in, stopped
from tests.running import ROOT, wait_until


@pytest.fixture(scope="module")
def apps(make_app: Any) -> Apps:
    return all_apps(make_app)


@pytest.fixture(scope="module")
def place(apps: Apps, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place_in(tmp_path_factory.mktemp("backups"))


@pytest.fixture(scope="module")
def backup(place: Place) -> Path:
    return making.make(place)


@pytest.fixture
def copy(backup: Path, tmp_path: Path) -> Path:
    """A backup that a test may spoil."""
    return shutil.copytree(backup, tmp_path / backup.name)


def rewrite(folder: Path, **changes: Any) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_it_is_a_dump_for_each_database_and_a_manifest_that_says_what_they_are(backup: Path) -> None:
    assert re.fullmatch(r"backup_\d{8}", backup.name)
    manifest = json.loads((backup / "manifest.json").read_text())
    assert {file.name for file in backup.iterdir()} == {
        "manifest.json",
        *(f"id_{service}.dump" for service in SERVICES),
    }
    assert manifest["release"] == version()
    assert manifest["made_at"] < manifest["finished_at"]
    for service in SERVICES:
        dump = manifest["databases"][service]
        assert dump["sha256"] == sha256(backup / dump["file"])
        assert dump["bytes"] == (backup / dump["file"]).stat().st_size
        newest = max((ROOT / "services" / service / "migrations" / "versions").glob("0*.py"))
        assert newest.name.startswith(dump["head"])
        assert dump["rows"]["alembic_version"] == 1


def test_whoever_hears_of_things_is_dumped_before_whoever_tells_of_them(backup: Path) -> None:
    dumps = json.loads((backup / "manifest.json").read_text())["databases"]
    in_order = sorted(dumps, key=lambda service: dumps[service]["taken_at"])
    assert (in_order[0], in_order[-1]) == ("notification", "account")


def test_it_holds_no_key_and_is_for_its_owner_alone(backup: Path, environment: dict[str, str]) -> None:
    text = (backup / "manifest.json").read_text()
    for ring in ("DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS"):
        kid, key = environment[ring].split(":")
        assert kid in json.loads(text)["keys"][ring]
        assert key not in text
    assert environment["SECRET_KEY"] not in text
    assert backup.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in backup.glob("*.dump"))


def test_when_it_was_made_is_noted_for_the_metric_of_its_age(backup: Path, apps: Apps) -> None:
    noted = parts_of(apps["account"]).redis.get(making.BACKUP_KEY)
    made = datetime.fromisoformat(json.loads((backup / "manifest.json").read_text())["finished_at"])
    assert float(noted) == pytest.approx(made.timestamp(), abs=1)


def test_old_ones_make_room_and_a_second_one_of_a_day_has_the_time_in_its_name(
    backup: Path, tmp_path: Path
) -> None:
    """The dumps are those of another backup: what becomes of them is what this is about."""
    place = place_in(tmp_path, BACKUPS_KEPT="2")
    names = []
    for second in range(3):
        partial = making.begin(place.backups)
        for service in SERVICES:
            dump = json.loads((backup / "manifest.json").read_text())["databases"][service]
            shutil.copy(backup / dump["file"], partial)
            facts = [
                f"taken_at 2026-01-16T02:30:0{second}.000000+00:00",
                "postgres 18.6",
                f"head {dump['head']}",
            ]
            (partial / f"id_{service}.facts").write_text("\n".join(facts))
        names.append(making.seal(partial, place.values).name)
    assert names == ["backup_20260116", "backup_20260116_023001", "backup_20260116_023002"]
    assert sorted(file.name for file in tmp_path.glob("backup_*")) == names[1:]


def test_a_dump_that_fails_leaves_nothing_behind(tmp_path: Path, environment: dict[str, str]) -> None:
    nowhere = urlsplit(environment["ACCOUNT_DATABASE_URL"])._replace(path="/nowhere").geturl()
    with pytest.raises(BackupError, match='database "nowhere" does not exist'):
        making.make(place_in(tmp_path, ACCOUNT_DATABASE_URL=nowhere))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def held_up(apps: Apps, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A backup that waits in the middle: somebody holds a table of account's."""
    app = apps["account"]
    environ = {**os.environ, "BACKUP_DIR": str(tmp_path)}
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        process = subprocess.Popen([sys.executable, "-m", "gateway.backup", "make"], cwd=ROOT, env=environ)
        wait_until(lambda: list(tmp_path.glob(".partial-*/id_account.dump")) != [])
        yield process
        process.kill()
        process.wait(10)


def test_one_under_way_shows_no_password_lets_no_other_begin_and_killed_is_no_backup(
    held_up: "subprocess.Popen[bytes]", environment: dict[str, str], tmp_path: Path
) -> None:
    password = urlsplit(environment["ACCOUNT_DATABASE_URL"]).password
    lists = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "service=account" in lists
    assert password
    assert password not in lists
    with pytest.raises(BackupError, match="Another backup is being made"):
        making.make(place_in(tmp_path))
    held_up.send_signal(signal.SIGKILL)
    held_up.wait(10)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".partial-")


def test_verifying_restores_it_and_leaves_nothing_behind(apps: Apps, place: Place, backup: Path) -> None:
    before = databases(apps)
    manifest = restoring.verify(place, backup)
    assert manifest.databases["onboarding"].rows["policies"] == 1
    assert databases(apps) == before


def spoil(folder: Path) -> None:
    with (folder / "id_oidc.dump").open("ab") as file:
        file.write(b"x")


def lose(folder: Path) -> None:
    (folder / "id_notification.dump").unlink()


def come_from_tomorrow(folder: Path) -> None:
    rewrite(folder, release="99.0.0+0123456789ab")


def know_more(folder: Path) -> None:
    dumps = json.loads((folder / "manifest.json").read_text())["databases"]
    rewrite(folder, databases=dumps | {"account": dumps["account"] | {"head": "9999"}})


def need_another_key(folder: Path) -> None:
    keys = json.loads((folder / "manifest.json").read_text())["keys"]
    rewrite(folder, keys=keys | {"DATA_ENCRYPTION_KEYS": {"data0": "0123456789ab"}})


def need_a_key_of_that_name(folder: Path) -> None:
    keys = json.loads((folder / "manifest.json").read_text())["keys"]
    rewrite(folder, keys=keys | {"EVENT_ENCRYPTION_KEYS": {"event1": "0123456789ab"}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil, "id_oidc.dump is not what was written"),
        (lose, "id_notification.dump is missing"),
        (come_from_tomorrow, "made by release 99.0.0"),
        (know_more, "does not know the migration 9999 of account"),
        (need_another_key, r"DATA_ENCRYPTION_KEYS lacks the key\(s\) data0"),
        (need_a_key_of_that_name, r"EVENT_ENCRYPTION_KEYS lacks the key\(s\) event1"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_is_touched(
    apps: Apps, place: Place, copy: Path, change: Any, words: str
) -> None:
    change(copy)
    before = databases(apps)
    with pytest.raises(BackupError, match=words):
        restoring.restore(place, copy, is_sure=True)
    assert databases(apps) == before


def test_nothing_is_restored_while_services_run(apps: Apps, place: Place, backup: Path) -> None:
    let_go(apps)
    before = databases(apps)  # leaves a connection in the pool
    with pytest.raises(BackupError, match=r"1 connection\(s\) to \S+_account: stop the services first"):
        restoring.restore(place, backup, is_sure=True)
    assert databases(apps) == before


@pytest.mark.soak  # a whole restore, but for its end
def test_whoever_has_connected_meanwhile_stops_a_restore_before_redis_is_emptied(
    apps: Apps, place: Place, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = Manifest.check_restored
    with apps["account"].app_context():
        somebody = sa.create_engine(parts_of(apps["account"]).db.engine.url, poolclass=sa.NullPool)

    def compare_and_connect(manifest: Manifest, folder: Path) -> None:
        compare(manifest, folder)
        connections.enter_context(somebody.connect())

    before = databases(apps)
    cache = parts_of(apps["account"]).redis
    cache.set("kept", "yes")
    monkeypatch.setattr(Manifest, "check_restored", compare_and_connect)
    said = r"1 connection\(s\) to \S+_account: stop the services first"
    with ExitStack() as connections, stopped(apps), pytest.raises(BackupError, match=said):
        restoring.restore(place, backup, is_sure=True)
    assert cache.get("kept") == "yes"
    assert databases(apps) == before


def test_data_is_not_replaced_unless_that_is_said(apps: Apps, place: Place, backup: Path) -> None:
    with stopped(apps), pytest.raises(BackupError, match="hold data: say --yes, or CONFIRM=1"):
        restoring.restore(place, backup, is_sure=False)


def test_a_backup_is_found_by_its_name(place: Place, backup: Path) -> None:
    assert backup_named(backup.name, place) == backup_named(str(backup), place) == backup
    with pytest.raises(BackupError, match=f"there are: .*{backup.name}"):
        backup_named("backup_19990101", place)


def test_without_a_suite_there_is_nothing_to_back_up_or_to_make_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("REDIS_URL", *DATABASE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ID_ENV", "")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "none"))
    for step in (["make"], ["restored", "--made-at", "2026-01-16", "--yes"]):
        assert main(step) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("There is no suite in")
    assert not (tmp_path / "none").exists()


def test_in_a_pod_each_service_is_told_where_its_own_fresh_database_is(
    place: Place,
    backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(place.backups))
    assert main(["plan-restore", str(tmp_path), backup.name]) == 0
    for service in SERVICES:
        file = tmp_path / f"{service}_url"
        assert file.read_text() == f"{os.environ[f'{service.upper()}_DATABASE_URL']}_restoring"
        assert file.stat().st_mode & 0o077 == 0
    made_at = json.loads((backup / "manifest.json").read_text())["made_at"]
    assert (tmp_path / "made_at").read_text() == made_at
    said = capsys.readouterr().out
    assert f"{backup.name} can be restored here" in said
    assert made_at in said


def test_in_a_pod_a_backup_that_there_is_not_is_answered_with_those_that_there_are(
    place: Place,
    backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(place.backups))
    for name in ("", "backup_YYYYMMDD"):
        assert main(["plan-restore", str(tmp_path / "plan"), name]) == 1
        assert f"there are: {backup.name}" in capsys.readouterr().err
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must say of when the databases are, such as 2026-01-16T02:23:00"),
        ("MADE_AT", "not 'MADE_AT'"),
        ("backup_20260116", "not 'backup_20260116'"),
        ("2999-01-16T02:23:00", r"lies ahead: 2999-01-16T02:23:00\+0000\. It is in UTC"),
    ],
)
def test_of_when_databases_are_has_to_be_said_so_that_it_can_be(text: str, words: str) -> None:
    with pytest.raises(BackupError, match=words):
        restoring.moment_of(text)


def test_what_says_no_place_in_time_is_in_utc() -> None:
    assert restoring.moment_of("2026-01-16T02:23:00") == restoring.moment_of("2026-01-16T05:23:00+03:00")
