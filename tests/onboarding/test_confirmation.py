"""Proving the address, and a fresh mail for whoever lost one."""

import threading

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from libs.database import utcnow
from libs.service import parts_of
from services.onboarding.flows import apply as flow
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import Browser


def test_looking_at_the_link_confirms_nothing(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    path = steps.link(onboarding_app, email, "confirm_address")
    for _ in range(3):
        page = Browser(onboarding_app).get(path)
        assert page.status_code == 200
        assert 'id="confirm"' in page.text
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
    assert steps.facts(onboarding_app, email)["address_confirmed_at"] is None


def test_the_button_confirms_and_shows_where_the_application_stands(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = steps.confirm(onboarding_app, email)
    assert browser.status == 200
    assert "with our reviewers" in browser.text
    assert steps.facts(onboarding_app, email)["state"] == "confirmed"
    assert "with our reviewers" in Browser(onboarding_app).get(browser.url).text, "the used link says so"


def test_pressing_twice_shows_the_same_page(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    first, second = Browser(onboarding_app), Browser(onboarding_app)
    path = steps.link(onboarding_app, email, "confirm_address")
    first.get(path)
    second.get(path)
    for browser in (first, second):
        browser.fill(button="confirm", follow=True)
        assert browser.status == 200
        assert "with our reviewers" in browser.text


def test_many_buttons_at_once_confirm_once(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email)
    path = steps.link(onboarding_app, email, "confirm_address")
    browsers = [Browser(onboarding_app) for _ in range(6)]
    for browser in browsers:
        browser.get(path)
    threads = [threading.Thread(target=browser.fill, kwargs={"button": "confirm"}) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [browser.status for browser in browsers] == [303] * 6
    assert len(steps.mails(onboarding_app, email, "activation_link")) == 1
    audit = run_command(
        onboarding_app, "audit", "list", "--target", f"application:{steps.facts(onboarding_app, email)['id']}"
    )
    assert audit.output.count("application.address_confirmed") == 1


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "../../etc", "a\0b", "%F0%9F%9A%80", "a" * 3000])
def test_a_mangled_link_offers_a_fresh_mail(onboarding_app: Flask, token: str) -> None:
    email = steps.apply(onboarding_app)
    for path in ("/apply/confirm", "/activate"):
        browser = Browser(onboarding_app)
        browser.get(f"{path}?token={token}".replace("\0", "%00"))
        assert browser.status == 410
        assert "do not know this link" in browser.text
        with time_machine.travel(utcnow().timestamp() + 90, tick=True):
            before = len(steps.mails(onboarding_app, email))
            browser.fill(button="send-again", email=email)
            assert browser.location == "/apply/again/sent"
            assert len(steps.mails(onboarding_app, email)) >= before


def test_an_expired_link_offers_a_fresh_mail_in_one_click(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    old = steps.link(onboarding_app, email, "confirm_address")
    with time_machine.travel(utcnow().timestamp() + 4 * 86400, tick=True):
        browser = Browser(onboarding_app)
        assert browser.get(old).status_code == 410
        assert email not in browser.text
        browser.fill(button="send-again", follow=True)
        assert "Check your mail" in browser.text
        assert len(steps.mails(onboarding_app, email)) == 2
        assert "Its time is over" not in Browser(onboarding_app).get(old).text, "a newer one took its place"
        steps.confirm(onboarding_app, email)
    assert steps.facts(onboarding_app, email)["state"] == "confirmed"


def test_an_expired_link_confirms_nothing(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    browser = Browser(onboarding_app)
    browser.get(steps.link(onboarding_app, email, "confirm_address"))
    with time_machine.travel(utcnow().timestamp() + 4 * 86400, tick=True):
        browser.fill(button="confirm")
        assert browser.status == 410
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_a_link_of_one_kind_is_nothing_at_the_others_door(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    token = steps.link(onboarding_app, email, "confirm_address").partition("?")[2]
    assert Browser(onboarding_app).get(f"/activate?{token}").status_code == 410
    steps.confirm(onboarding_app, email)
    steps.approve(onboarding_app, email)
    token = steps.link(onboarding_app, email, "activation_link").partition("?")[2]
    assert Browser(onboarding_app).get(f"/apply/confirm?{token}").status_code == 410


def test_fresh_mails_leave_at_most_once_a_minute(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    for _ in range(3):
        Browser(onboarding_app).fill("/apply/again", email=email)
    assert len(steps.mails(onboarding_app, email)) == 1
    with time_machine.travel(utcnow().timestamp() + 61, tick=True):
        for _ in range(3):
            Browser(onboarding_app).fill("/apply/again", email=email)
    assert len(steps.mails(onboarding_app, email)) == 2


def test_a_fresh_mail_needs_a_usable_address(onboarding_app: Flask) -> None:
    browser = Browser(onboarding_app)
    browser.fill("/apply/again", email="ada@people.test\r\nBcc: eve@evil.test")
    assert browser.status == 422
    assert 'id="email-error"' in browser.text


def test_a_fresh_mail_for_nobody_leaves_nothing_behind(onboarding_app: Flask) -> None:
    with onboarding_app.app_context():
        db = parts_of(onboarding_app).db
        tables = db.metadata.tables.values()

        def sizes() -> list[int]:
            counts = [
                db.session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in tables
            ]
            db.session.rollback()
            return counts

        before = sizes()
        flow.send_again(email=steps.new_email())
        assert sizes() == before
