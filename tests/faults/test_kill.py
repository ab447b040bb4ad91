"""kill -9 of everything `make run` started: what was acknowledged is there afterwards, and happens once."""

import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.pages import HTTPBrowser
from tests.running import ADMIN_EMAIL, ADMIN_PASSWORD, House, is_alive, link_in, wait_for_reviewer, wait_until
from tests.sink import Sink

PASSWORD = "five green turtles swim at night"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def apply(house: House, email: str) -> None:
    browser = house.browser()
    wait_for_reviewer(browser)
    browser.fill("/apply", email=email, name="Ada Lovelace", why="To meet people who build things.")
    assert browser.status == 303


def confirm(house: House, email: str, link: str) -> None:
    browser = house.browser()
    browser.fill(link, button="confirm")
    assert browser.status == 303


def enrol(house: House, link: str) -> HTTPBrowser:
    browser = house.browser()
    browser.fill(link, button="activate", follow=True)
    browser.fill(password=PASSWORD, follow=True)
    assert browser.status == 200
    return browser


@pytest.mark.soak
def test_the_mail_of_an_approval_arrives_once_after_everything_was_killed(folder: Path) -> None:
    """Killed between "approved" and "mail sent": SMTP refuses until the restart, so the mail cannot have left."""
    email = f"ada-{uuid.uuid4().hex[:8]}@people.test"
    with Sink() as sink:
        house = House(folder, SMTP_URL=sink.url, MAIL_FROM="UpdSpace ID <id@updspace.test>").start()
        try:
            apply(house, email)
            wait_until(lambda: len(sink.to(email)) == 1)
            confirm(house, email, link_in(sink.to(email)[0].text))
            wait_until(lambda: len(sink.to(email)) == 2)
            sink.tell(refuse=True)
            assert house.command("onboarding", "applications", "approve", email).returncode == 0
            house.kill_everything()
            sink.tell()
            time.sleep(0.5)
            assert len(sink.to(email)) == 2
            house.start()
            wait_until(lambda: len(sink.to(email)) == 3, 120)
            browser = enrol(house, link_in(sink.to(email)[2].text))
            assert email in browser.get("/account", follow=True).text
            time.sleep(3)
            assert len(sink.to(email)) == 3, "once"
        finally:
            house.stop()


@pytest.mark.soak
def test_sign_in_sessions_and_keys_survive_a_kill(folder: Path) -> None:
    house = House(folder).start()
    try:
        browser = house.browser()
        browser.fill("/login", email=ADMIN_EMAIL, password=ADMIN_PASSWORD, follow=True)
        assert browser.get("/account").status_code == 200
        keys = browser.get("/.well-known/jwks.json").json()
        house.kill_everything()
        house.start()
        assert browser.get("/admin/applications", follow=True).status_code == 200, "still signed in"
        assert browser.get("/.well-known/jwks.json").json() == keys
        assert ADMIN_PASSWORD not in "".join(house.output)
    finally:
        house.stop()


@pytest.mark.soak
def test_ctrl_c_stops_everything_it_started_and_a_second_run_says_what_is_taken(folder: Path) -> None:
    house = House(folder).start()
    pids = house.processes()
    assert len(pids) >= 5, "launcher, web, worker, PostgreSQL and Valkey"
    second = House(folder)
    try:
        import subprocess
        import sys

        from tests.running import ROOT

        run = subprocess.run(
            [sys.executable, "-m", "gateway.launcher"],
            cwd=ROOT,
            env=second.environ,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1
        assert str(folder) in run.stderr
        assert len(run.stderr.strip().splitlines()) == 1
        other = House(folder.parent / "other")
        run = subprocess.run(
            [sys.executable, "-m", "gateway.launcher"],
            cwd=ROOT,
            env={**other.environ, "PORT": str(house.port)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1
        assert str(house.port) in run.stderr
    finally:
        assert house.stop() == 0
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.soak
def test_nothing_acknowledged_is_lost_however_often_everything_is_killed(folder: Path) -> None:
    """Applications go in while everything is killed five times; each that was answered 303 gets its mail once."""
    with Sink() as sink:
        house = House(folder, SMTP_URL=sink.url, MAIL_FROM="UpdSpace ID <id@updspace.test>").start()
        acknowledged: list[str] = []
        ended = threading.Event()

        def keep_applying() -> None:
            while not ended.is_set():
                email = f"p-{uuid.uuid4().hex[:10]}@people.test"
                try:
                    apply(house, email)
                    acknowledged.append(email)
                except Exception:
                    time.sleep(0.2)

        thread = threading.Thread(target=keep_applying)
        thread.start()
        try:
            for _ in range(5):
                time.sleep(4)
                house.kill_everything()
                house.start()
            ended.set()
            thread.join()
            assert len(acknowledged) > 10
            wait_until(lambda: all(sink.to(email) for email in acknowledged), 180)
            for email in acknowledged:
                ids = {mail.message_id for mail in sink.to(email)}
                assert len(ids) == 1, f"{email}: a second mail may only be the same one again"
        finally:
            ended.set()
            house.stop()
