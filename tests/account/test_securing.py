"""`users secure`: an account in danger is closed to everybody but its owner; and links that staff mail."""

import json
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked, UserChanged
from tests.account.conftest import (
    Person,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    sign_in,
)
from tests.account.password_tools import (
    NEW_PASSWORD,
    add_passkey,
    add_totp,
    ask,
    counted,
    link_provider,
    password_hash,
    things_of,
)
from tests.conftest import recorded, run_command
from tests.pages import Browser


def secure(app: Flask, person: Person, *options: str) -> dict[str, object]:
    done = run_command(app, "users", "secure", person.email, "--json", *options)
    assert done.exit_code == 0, done.output
    said: dict[str, object] = json.loads(done.output)
    return said


@pytest.fixture(autouse=True)
def _nobody_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.account.cli.grants.GRANTS_WAIT_S", 0.05)


def test_securing_ends_sessions_and_grants_makes_the_password_unusable_and_mails_a_way_back(
    app: Flask, member: Person
) -> None:
    browser = sign_in(Browser(app), member)
    for add in (add_totp, add_passkey, link_provider):
        add(app, member)
    said = secure(app, member, "--reason", "stolen laptop")
    assert said == {"sub": member.sub, "sessions_ended": 1, "grants_ended": False, "link_mailed": True}
    assert not is_signed_in(browser)
    [event] = [e for e in recorded(app, AccessRevoked) if e.sub == member.sub]
    assert event.sids is None
    browser.fill("/login", email=member.email, password=member.password)
    assert browser.status == 422
    assert "is not right" in browser.text
    assert things_of(app, member) == 3  # second factors are kept
    [entry] = rows(
        app,
        "SELECT reason, actor FROM audit_entries WHERE action = 'user.secured' AND target = :target",
        target=f"user:{member.sub}",
    )
    assert entry.reason == "stolen laptop"
    assert entry.actor.startswith("command:")
    [mail] = mails_to(app, member.email)
    assert mail.template == "account_secured"
    browser.fill(link_in(mail), password=NEW_PASSWORD)
    assert browser.location.startswith("/login/second-factor")


def test_a_secured_account_knows_no_device_any_more(app: Flask, browser: Browser, member: Person) -> None:
    sign_in(browser, member)
    secure(app, member)
    shown = json.loads(run_command(app, "users", "show", member.email, "--json").output)
    assert shown["known_devices"] == 0
    [row] = rows(app, "SELECT version FROM users WHERE sub = :sub", sub=member.sub)
    told = [event.version for event in recorded(app, UserChanged) if event.sub == member.sub]
    assert told[-1] == row.version, "the issuer hears of every version"


def test_the_sentence_of_the_command_says_what_happened(app: Flask, member: Person) -> None:
    done = run_command(app, "users", "secure", member.email)
    assert done.exit_code == 0
    assert f"{member.email} is secured: ended 0 session(s)" in done.output
    assert "on its way" in done.output
    again = run_command(app, "users", "secure", member.email)
    assert again.exit_code == 0
    assert run_command(app, "users", "secure", "nobody@people.test").exit_code != 0
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=member.sub)
    assert "No link was mailed" in run_command(app, "users", "secure", member.email).output
    assert len(mails_to(app, member.email)) == 2


@pytest.mark.parametrize("password", ["", "x", "unusable", "a wrong password, wholly"])
def test_an_unusable_password_is_nobodys_and_costs_the_same(
    app: Flask, member: Person, password: str
) -> None:
    work = []
    for number in range(2):
        browser = Browser(app)
        browser.get("/login")
        with counted(app) as one:
            browser.fill(email=member.email, password=password)
        assert browser.status == 422
        work.append((len(one.statements), one.hashes))
        if number == 0:
            secure(app, member)
    assert work[0] == work[1]
    assert work[0][1] == 1


def test_a_secured_account_is_not_entered_by_enrolling_again_or_by_a_first_link(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    from tests.account.test_enrolment import enter

    application_id, email = str(uuid.uuid4()), f"nora-{uuid.uuid4().hex[:8]}@people.test"
    ticket = enrol_ticket(application_id=application_id, email=email)
    browser = Browser(app)
    enter(browser, ticket)
    open_step = Browser(app)
    enter(open_step, ticket)
    browser.fill(password="a lantern in the apple orchard")
    assert browser.status == 303
    sub = rows(app, "SELECT sub::text FROM users WHERE email = :email", email=email)[0].sub
    secure(app, Person(sub=sub, email=email))
    open_step.fill(password=NEW_PASSWORD)
    assert open_step.status == 409
    assert password_hash(app, Person(sub=sub, email=email)) == ""
    link = mailed_or_last(app, email)
    assert link.startswith("/password/reset?")


def mailed_or_last(app: Flask, email: str) -> str:
    ask(app, email)  # the link that was mailed when it was secured is young: no second mail
    [mail] = [mail for mail in mails_to(app, email) if "link" in mail.context]
    return link_in(mail)


def test_staff_mail_a_link_that_suits_the_account_and_nobody_sees_a_password(
    app: Flask, member: Person
) -> None:
    from services.account.flows.password_links import NoLinkForDisabled, send_password_link

    with app.app_context():
        assert send_password_link(sub=member.sub, reason="asked by phone") == "reset"
    [mail] = mails_to(app, member.email)
    assert mail.template == "reset_password"
    sign_in(Browser(app), member)  # the old one is good until the link is used
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=member.sub)
    with app.app_context(), pytest.raises(NoLinkForDisabled):
        send_password_link(sub=member.sub)
