"""Asking to join once more: no answer says whose address is known, and what is sent twice counts once."""

import threading
from collections.abc import Callable, Iterator

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event

from libs.database import utcnow
from libs.service import parts_of
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import Browser


def rows(app: Flask, email: str) -> int:
    count: int = steps.facts(app, email)["applications_of_this_address"]
    return count


# -- known and unknown addresses ----------------------------------------------------------------------------


@pytest.fixture
def statements(onboarding_app: Flask) -> Iterator[list[str]]:
    """The verbs of the SQL that requests send; the relay's thread is not counted."""
    sent: list[str] = []
    here = threading.get_ident()

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if threading.get_ident() == here:
            sent.append(statement.split()[0])

    with onboarding_app.app_context():
        engine = parts_of(onboarding_app).db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_every_address_gets_the_same_answer(onboarding_app: Flask) -> None:
    unknown = steps.new_email()
    waiting = steps.apply(onboarding_app)
    confirmed = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, confirmed)
    activated = steps.approved(onboarding_app)
    steps.open_account(onboarding_app, activated)
    for path, fields in (("/apply", {"name": "Ada Lovelace", "why": steps.WHY}), ("/apply/again", {})):
        answers = set()
        for email in (unknown, waiting, confirmed, activated):
            browser = Browser(onboarding_app)
            browser.get(path)
            cookie = browser.cookie("id_browser")
            browser.fill(email=email, **fields)
            assert browser.page is not None
            headers = {name: value for name, value in browser.page.headers if name != "X-Request-ID"}
            answers.add((browser.status, browser.text, str(headers), browser.cookie("id_browser") == cookie))
        assert len(answers) == 1, answers


def test_asking_for_a_fresh_mail_is_the_same_work_for_every_address(
    onboarding_app: Flask, statements: list[str]
) -> None:
    known = steps.apply(onboarding_app)
    just_now = steps.apply(onboarding_app)
    confirmed = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, confirmed)
    work = {}
    with time_machine.travel(utcnow().timestamp() + 120, tick=True):
        Browser(onboarding_app).fill("/apply/again", email=just_now)
        for email in (steps.new_email(), known, just_now, confirmed):
            browser = Browser(onboarding_app)
            browser.get("/apply/again")
            statements.clear()
            browser.fill(email=email)
            work[email] = [verb for verb in statements if verb in ("INSERT", "UPDATE", "SELECT")]
    inserts = {email: verbs.count("INSERT") for email, verbs in work.items()}
    assert max(inserts.values()) - min(inserts.values()) <= 1, work
    assert max(map(len, work.values())) - min(map(len, work.values())) <= 1, work


def test_applying_is_the_same_work_for_every_address(
    onboarding_app: Flask, statements: list[str], policy: Callable[..., None]
) -> None:
    policy(most_per_address=1)
    waiting, confirmed, capped = (steps.apply(onboarding_app) for _ in range(3))
    steps.confirm(onboarding_app, confirmed)
    run_command(onboarding_app, "applications", "reject", capped)
    work = {}
    with time_machine.travel(utcnow().timestamp() + 120, tick=True):
        for kind, email in {
            "unknown": steps.new_email(),
            "waiting": waiting,
            "confirmed": confirmed,
            "capped": capped,
        }.items():
            browser = Browser(onboarding_app)
            browser.get("/apply")
            statements.clear()
            browser.fill(email=email, name="Ada Lovelace", why=steps.WHY)
            assert browser.status == 303
            work[kind] = [verb for verb in statements if verb in ("INSERT", "UPDATE", "SELECT")]
    lengths = {kind: len(verbs) for kind, verbs in work.items()}
    assert max(lengths.values()) - min(lengths.values()) <= 2, work


# -- sent twice ---------------------------------------------------------------------------------------------


def test_a_repeated_application_is_one_row_and_one_mail(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.apply(onboarding_app, email)
    steps.apply(onboarding_app, email.upper().replace("PEOPLE.TEST", "people.test"))
    assert rows(onboarding_app, email) == 1
    assert len(steps.mails(onboarding_app, email)) == 1


def test_the_same_form_from_many_sides_at_once_is_one_row_and_one_mail(onboarding_app: Flask) -> None:
    email = steps.new_email()
    browsers = [Browser(onboarding_app) for _ in range(8)]
    for browser in browsers:
        browser.get("/apply")
    threads = [
        threading.Thread(target=browser.fill, kwargs={"email": email, "name": "Ada", "why": "x"})
        for browser in browsers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [browser.status for browser in browsers] == [303] * 8
    assert rows(onboarding_app, email) == 1
    assert len(steps.mails(onboarding_app, email)) == 1


def test_until_the_address_is_confirmed_the_newest_answers_count(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app, name="Eve in Ada's name", why="spam")
    old = steps.link(onboarding_app, email, "confirm_address")
    steps.apply(onboarding_app, email)
    assert rows(onboarding_app, email) == 1
    assert steps.facts(onboarding_app, email)["name"] == "Ada Lovelace"
    browser = Browser(onboarding_app)
    assert browser.get(old).status_code == 410, "nobody confirms what they were not shown"
    browser.get(steps.link(onboarding_app, email, "confirm_address"))
    assert "Ada Lovelace" in browser.text
    assert steps.WHY in browser.text


def test_a_confirmed_application_is_not_changed_from_outside(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.confirm(onboarding_app, email)
    steps.apply(onboarding_app, email, name="Eve", why="spam")
    assert steps.facts(onboarding_app, email)["name"] == "Ada Lovelace"
    assert [mail.template for mail in steps.mails(onboarding_app, email)] == [
        "confirm_address",
        "address_confirmed",
    ]


def test_an_approved_application_is_not_changed_from_outside(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.approve(onboarding_app, email)
    steps.apply(onboarding_app, email, name="Eve", why="spam")
    values = steps.facts(onboarding_app, email)
    assert (values["name"], values["state"]) == ("Ada Lovelace", "approved")


def test_whoever_was_rejected_may_apply_again(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    steps.reviewer(onboarding_app).fill(steps.page_of(onboarding_app, email), button="reject", reason="")
    steps.apply(onboarding_app, email)
    assert rows(onboarding_app, email) == 2
    assert steps.facts(onboarding_app, email)["state"] == "submitted"


def test_closing_an_application_while_it_is_sent_again_ends_in_one_open_row(onboarding_app: Flask) -> None:
    email = steps.apply(onboarding_app)
    staff = steps.reviewer(onboarding_app)
    staff.get(steps.page_of(onboarding_app, email))
    applicant = Browser(onboarding_app)
    applicant.get("/apply")
    threads = [
        threading.Thread(target=staff.fill, kwargs={"button": "reject", "reason": ""}),
        threading.Thread(target=applicant.fill, kwargs={"email": email, "name": "Ada", "why": "x"}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (staff.status, applicant.status) == (303, 303)
    assert rows(onboarding_app, email) in (1, 2)
