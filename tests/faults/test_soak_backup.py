"""The drill: a busy suite is backed up, lost, and restored elsewhere; and the steps that pods take, one by one."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from gateway.backup import making
from gateway.backup.manifest import ORDER
from gateway.backup.places import reach
from gateway.backup.programs import Programs
from libs.database import utcnow
from tests.conftest import SERVICES
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, House, link_in, wait_for_reviewer, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

PASSWORD = "five green turtles swim at night"
BETWEEN_DUMPS_S = 1.0
JOINERS = 2
KEYS = ("SECRET_KEY", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS")


def settings_of(house: House) -> dict[str, str]:
    lines = (house.folder / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def rows(house: House, service: str, text: str) -> list[Any]:
    url = settings_of(house)[f"{service.upper()}_DATABASE_URL"].replace(
        "postgresql:", "postgresql+psycopg2:", 1
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return list(connection.execute(sa.text(text)))


def count(house: House, service: str, text: str) -> int:
    return int(rows(house, service, text)[0][0])


class Crowd:
    """People who join one after the other, in several threads, until it is enough."""

    def __init__(self, house: House):
        self.house = house
        self.members: list[str] = []
        self.wrong: list[str] = []
        self._numbers = itertools.count()
        self._is_enough = threading.Event()
        self._threads = [threading.Thread(target=self._join) for _ in range(JOINERS)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_enough.set()
        for thread in self._threads:
            thread.join()

    def _join(self) -> None:
        while not self._is_enough.is_set():
            number = next(self._numbers)
            email = f"member-{number}@people.test"
            try:
                browser = self.house.browser()
                browser.http.headers["X-Forwarded-For"] = f"198.{18 + number // 250}.{number % 250}.1"
                browser.fill(
                    "/apply", email=email, name="Ada Lovelace", why="I build things, and like people."
                )
                confirmation = link_in(self.house.wait_for_mail(email)[0]["text"])
                browser.fill(confirmation, button="confirm", follow=True)
                browser.fill(button="activate", follow=True)
                browser.fill(password=PASSWORD, follow=True)
                assert browser.status == 200, browser.text[:500]
                self.members.append(email)
            except Exception as error:
                self.wrong.append(f"{email}: {error!r}")
                return


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    # Each person comes from an address of their own, as behind a proxy.
    house = House(tmp_path_factory.mktemp("first"), TRUSTED_PROXY_HOPS="1").start()
    wait_for_reviewer(house.browser())
    assert house.command("onboarding", "policies", "set", "--mode", "open").returncode == 0
    yield house
    house.stop()


def backup_of_different_moments(house: House, crowd: Crowd) -> str:
    environ = {"DATA_DIR": str(house.folder), "PATH": os.environ["PATH"]}
    with reach(environ, is_exclusive=False) as place, Programs(place.values) as programs:
        partial = making.begin(place.backups)
        for service in ORDER:
            before = len(crowd.members)
            programs.run("dump.sh", str(partial), service)
            time.sleep(BETWEEN_DUMPS_S)
            wait_until(lambda before=before: len(crowd.members) > before or crowd.wrong)  # type: ignore[misc]
            assert not crowd.wrong
        return making.seal(partial, place.values).name


def run(*arguments: str, **environ: str) -> str:
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "gateway.backup", *arguments],
        cwd=ROOT, env=bare | environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_busy_suite_is_restored_elsewhere_and_everything_converges(house: House, tmp_path: Path) -> None:
    with Crowd(house) as crowd:
        wait_until(lambda: len(crowd.members) >= JOINERS or crowd.wrong)
        name = backup_of_different_moments(house, crowd)
        early = crowd.members[0]
    assert not crowd.wrong
    signed_in = house.browser()
    signed_in.fill("/login", email=early, password=PASSWORD)
    keys = {name: settings_of(house)[name] for name in KEYS}
    house.stop()

    second = House(tmp_path / "second", **keys)
    # At the same address: letters that are asked for lead there.
    second.origin, second.environ["PORT"] = house.origin, str(house.port)
    backups = str(house.folder / "backups")
    said = run("restore", name, DATA_DIR=str(second.folder), BACKUP_DIR=backups, ID_ENV="development", **keys)
    assert "is restored" in said
    second.start()
    try:
        wait_until(lambda: is_quiet(second), 300)
        assert_that_all_agree(second)
        browser = second.browser()
        browser.fill("/login", email=early, password=PASSWORD)
        assert browser.get("/account").status_code == 200
        staff = second.browser()
        staff.fill("/login", email=ADMIN_EMAIL, password=ADMIN_PASSWORD)
        assert staff.get("/admin/messages?state=held").status_code == 200
        # Nobody is signed in by what was issued before.
        stale = second.browser()
        stale.set_cookie("id_session", signed_in.cookie("id_session") or "none")
        assert stale.get("/account").status_code != 200
        assert second.command("notification", "messages", "release").returncode == 0
        # Its folder came back by itself once more, from a snapshot of the disk.
        second.stop()
        moment = f"{utcnow() - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"
        said = run(
            "restored", DATA_DIR=str(second.folder), MADE_AT=moment, CONFIRM="1", ID_ENV="development", **keys
        )
        assert "The databases are ready" in said
        second.start()
        wait_until(lambda: is_quiet(second), 300)
        assert_that_all_agree(second)
        assert browser.get("/account").status_code != 200
        browser.fill("/login", email=early, password=PASSWORD)
        assert browser.get("/account").status_code == 200
    finally:
        second.stop()
        house.start()


def is_quiet(house: House) -> bool:
    """Whether every event has arrived."""
    waits = "SELECT count(*) FROM outbox_deliveries WHERE state IN ('pending', 'sent')"
    return all(count(house, service, waits) == 0 for service in SERVICES)


def assert_that_all_agree(house: House) -> None:
    for service in SERVICES:
        assert count(house, service, "SELECT count(*) FROM inbox_events WHERE state <> 'handled'") == 0
    accounts = {
        str(row.application_id): row.sub
        for row in rows(
            house, "account", "SELECT application_id, sub::text FROM users WHERE application_id IS NOT NULL"
        )
    }
    applications = {
        str(row.id): (row.state, row.sub)
        for row in rows(house, "onboarding", "SELECT id, state, sub FROM applications")
    }
    assert len(accounts) >= JOINERS
    for application, sub in accounts.items():
        # One that is younger than onboarding's dump is not known there; its account is what counts.
        assert applications.get(application, ("activated", sub)) == ("activated", sub)
    for application, (state, sub) in applications.items():
        assert state != "activated" or accounts.get(application) == sub
    people = {
        row.sub: (row.version, row.email)
        for row in rows(house, "account", "SELECT sub::text, version, email FROM users")
    }
    subjects = rows(
        house, "oidc", "SELECT sub, version, claims->>'email' AS email FROM subjects WHERE version > 0"
    )
    assert {row.sub: (row.version, row.email) for row in subjects} == people
    copies = rows(house, "onboarding", "SELECT sub, version, email FROM people")
    assert {row.sub: (row.version, row.email) for row in copies} == people
    recipients = rows(house, "notification", "SELECT sub, version, email FROM recipients")
    assert {row.sub: (row.version, row.email) for row in recipients} == people


# -- as pods do it -----------------------------------------------------------------------------------------------


def steps_of(file: str) -> list[dict[str, Any]]:
    documents = [found for found in yaml.safe_load_all((ROOT / "k8s" / file).read_text()) if found]
    job = documents[-1]["spec"]
    pod = job.get("jobTemplate", {"spec": job})["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


def walk(
    file: str, folder: Path, word: str, environ: dict[str, str], *, fails: str = "", **spoilt: str
) -> None:
    """Run the containers of a pod, one after the other, on this machine; one is given what it cannot live with.

    `word` is what sed writes into the file: the name of a backup, or a moment.
    """
    plan = Path(tempfile.mkdtemp(prefix=f"plan-{Path(file).stem}-", dir=folder))

    def here(text: str) -> str:
        text = text.replace("/plan/", f"{plan}/").replace("/backups", str(folder / "backups"))
        text = str(plan) if text == "/plan" else text
        return text.replace("backup_YYYYMMDD", word).replace("MADE_AT", word)

    for step in steps_of(file):
        values = {item["name"]: here(item["value"]) for item in step.get("env", []) if "value" in item}
        if step["name"] == fails:
            values |= spoilt
        command = [here(word) for word in step["command"]]
        if command[0] == "python":
            command[0] = sys.executable
        done = subprocess.run(
            command, cwd=ROOT, env={**environ, **values}, capture_output=True, text=True, timeout=300
        )
        if step["name"] == fails:
            assert done.returncode != 0
            return
        assert done.returncode == 0, f"{step['name']}: {done.stderr}{done.stdout}"


def test_pods_back_up_and_restore_step_by_step(house: House, tmp_path: Path) -> None:
    """On databases of their own, beside those of the suite that runs."""
    with reach({"DATA_DIR": str(house.folder)}, is_exclusive=False) as place:
        with Programs(place.values) as programs:
            path = (
                f"{programs._path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            )
        environ = {**place.values, "PATH": path, "ID_ENV": "development"}
    (tmp_path / "backups").mkdir()
    walk("base/backup/backup.yaml", tmp_path, "", environ)
    [backup] = (tmp_path / "backups").glob("backup_*")
    elsewhere = {
        name: f"{value}_elsewhere" if name.endswith("_DATABASE_URL") else value
        for name, value in environ.items()
    }
    walk("restore.yaml", tmp_path, backup.name, elsewhere)
    members = count(house, "account", "SELECT count(*) FROM users")
    assert ask(elsewhere, "account", "SELECT count(*) FROM users") == members
    assert [restores(elsewhere, service) for service in SERVICES] == [1, 1, 1, 1]

    # Whatever is done from now on is undone by a restore that ends, and by none that fails, even in the last service.
    for service in SERVICES:
        ask(elsewhere, service, "CREATE TABLE since (); SELECT 1")
    walk("restore.yaml", tmp_path, backup.name, elsewhere, fails="account", PUBLIC_URL="nowhere")
    assert [ask(elsewhere, service, "SELECT count(*) FROM since") for service in SERVICES] == [0, 0, 0, 0]
    assert [restores(elsewhere, service) for service in SERVICES] == [1, 1, 1, 1]
    walk("restore.yaml", tmp_path, backup.name, elsewhere)
    for service in SERVICES:
        assert ask(elsewhere, service, "SELECT count(*) FROM pg_tables WHERE tablename = 'since'") == 0
        assert restores(elsewhere, service) == 1

    walk("restored.yaml", tmp_path, "2026-01-16T02:23:00", elsewhere)
    assert [restores(elsewhere, service) for service in SERVICES] == [2, 2, 2, 2]
    shutil.rmtree(tmp_path / "backups")


def ask(environ: dict[str, str], service: str, text: str) -> Any:
    """The first value that a statement returns, in a database that the environment names."""
    url = environ[f"{service.upper()}_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:", 1)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        return connection.execute(sa.text(text)).scalar()


def restores(environ: dict[str, str], service: str) -> int:
    """How often this database was made fit."""
    told = "SELECT count(*) FROM audit_entries WHERE action = 'service.restored'"
    return int(ask(environ, service, told))
