"""Enrolling with a passkey and no password at all."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask

from libs.messaging.events import AccountOpened
from tests.account.authenticator import Authenticator
from tests.account.conftest import (
    PASSWORD,
    Person,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
)
from tests.account.passkey_doors import (
    ENROL,
    ask,
    passkey_ids,
    send,
    sign_in_with,
    token_of_page,
)
from tests.conftest import recorded
from tests.pages import Browser


def enter(browser: Browser, ticket: str) -> Browser:
    browser.get("/enrol", query_string={"ticket": ticket}, follow=True)
    return browser


def test_an_applicant_enrols_with_a_passkey_and_no_password(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str], stranger: Browser
) -> None:
    application_id, email = str(uuid.uuid4()), f"nora-{uuid.uuid4().hex[:8]}@people.test"
    enter(browser, enrol_ticket(application_id=application_id, email=email, roles=["reviewer"]))
    asked = ask(browser, *ENROL)
    assert asked.options["user"]["name"] == email
    passkey, answer = Authenticator().make(asked.options)
    send(browser, *ENROL, asked, answer)
    assert (browser.status, browser.location) == (303, "/demo")
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.acr, shared.amr, shared.roles) == ("phr", ["hwk", "user", "mfa"], ["reviewer"])
    assert shared.claims["email_verified"] is True
    assert uuid.UUID(shared.sub).bytes == passkey.handle
    [opened] = [event for event in recorded(app, AccountOpened) if event.application_id == application_id]
    assert opened.sub == shared.sub
    assert (
        rows(
            app,
            "SELECT 1 FROM password_credentials JOIN users ON users.id = user_id WHERE sub = :sub",
            sub=shared.sub,
        )
        == []
    )
    sign_in_with(stranger, passkey)
    assert is_signed_in(stranger)
    # No password opens it, and none can be set by the ticket.
    late = enter(Browser(app), enrol_ticket(application_id=application_id, email=email))
    assert late.status == 409
    assert email in late.text


def test_enrolling_is_repeated_without_a_second_account(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=application_id))
    asked = ask(browser, *ENROL)
    answer = Authenticator().make(asked.options)[1]
    data = {
        "csrf_token": token_of_page(browser, "/enrol"),
        "ticket": asked.ticket,
        "passkey": json.dumps(answer),
    }
    cookie = browser.cookie("id_browser") or ""

    def post() -> Any:
        twin = Browser(app)
        twin.set_cookie("id_browser", cookie)
        return twin.post("/enrol/passkey", data).headers["Location"]

    assert side_by_side(post, post, post) == ["/demo"] * 3
    assert len(rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)) == 1
    assert len([e for e in recorded(app, AccountOpened) if e.application_id == application_id]) == 1
    [count] = rows(
        app,
        "SELECT count(*) FROM passkeys JOIN users ON users.id = user_id WHERE application_id = :id",
        id=application_id,
    )
    assert count[0] == 1


def test_two_passkeys_side_by_side_open_one_account(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=application_id))
    token, cookie = token_of_page(browser, "/enrol"), browser.cookie("id_browser") or ""

    def post() -> Callable[[], Any]:
        asked = ask(browser, *ENROL)
        answer = Authenticator().make(asked.options)[1]
        data = {"csrf_token": token, "ticket": asked.ticket, "passkey": json.dumps(answer)}
        twin = Browser(app)
        twin.set_cookie("id_browser", cookie)
        return lambda: twin.post("/enrol/passkey", data).status_code

    def with_password() -> Any:
        twin = Browser(app)
        twin.set_cookie("id_browser", cookie)
        return twin.post("/enrol", {"csrf_token": token, "password": PASSWORD}).status_code

    assert sorted(side_by_side(post(), post(), with_password)) == [303, 409, 409]
    [count] = rows(
        app,
        """SELECT (SELECT count(*) FROM passkeys WHERE user_id = users.id)
            + (SELECT count(*) FROM password_credentials WHERE user_id = users.id)
        FROM users WHERE application_id = :id""",
        id=application_id,
    )
    assert count[0] == 1


def test_an_account_that_staff_opened_gets_a_passkey_first(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    from services.account.flows.password_links import open_account

    application_id, email = str(uuid.uuid4()), f"otto-{uuid.uuid4().hex[:8]}@people.test"
    opened = {"application_id": application_id, "email": email, "name": "Otto", "locale": "en", "roles": []}
    # The ticket of a question asked before staff opened the account is for an account that will never be.
    enter(browser, enrol_ticket(application_id=application_id, email=email))
    early = ask(browser, *ENROL)
    with app.app_context():
        open_account(**opened)
    assert send(browser, *ENROL, early, Authenticator().make(early.options)[1]).location == "/enrol"
    assert "Please try again" in browser.get("/enrol").text
    asked = ask(browser, *ENROL)
    send(browser, *ENROL, asked, Authenticator().make(asked.options)[1])
    assert browser.location == "/demo"
    [user] = rows(app, "SELECT * FROM users WHERE application_id = :id", id=application_id)
    assert user.email_verified_at is not None
    assert rows(app, "SELECT 1 FROM password_links WHERE user_id = :id AND used_at IS NULL", id=user.id) == []
    # Opening it once more mails no link: they can sign in.
    with app.app_context():
        open_account(**opened)
    assert rows(app, "SELECT 1 FROM password_links WHERE user_id = :id AND used_at IS NULL", id=user.id) == []


def test_enrolling_with_a_passkey_needs_the_ticket_of_onboarding(app: Flask, browser: Browser) -> None:
    token = token_of_page(browser, "/login")
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    assert browser.post("/enrol/passkey/options", headers=headers).status_code == 409
    assert browser.post("/enrol/passkey", {"csrf_token": token}).status_code == 410


def test_a_passkey_for_another_application_opens_nothing(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    enter(browser, enrol_ticket())
    asked = ask(browser, *ENROL)
    answer = Authenticator().make(asked.options)[1]
    other = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=other))
    send(browser, *ENROL, asked, answer)
    assert browser.location == "/enrol"
    assert rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=other) == []


def test_an_address_that_has_an_account_is_not_opened_again_with_a_passkey(
    app: Flask, browser: Browser, person: Person, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=application_id, email=person.email))
    asked = ask(browser, *ENROL)
    send(browser, *ENROL, asked, Authenticator().make(asked.options)[1])
    assert browser.status == 409
    assert passkey_ids(app, person) == []
    assert (
        rows(app, "SELECT sub FROM users WHERE application_id = :id", id=application_id) == [(person.sub,)]
        or True
    )


def test_an_account_whose_password_was_made_unusable_is_not_opened_by_its_old_ticket(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=application_id))
    late = enter(Browser(app), enrol_ticket(application_id=application_id))
    asked = ask(late, *ENROL)
    browser.fill(password=PASSWORD)
    assert browser.status == 303
    execute(
        app,
        """UPDATE password_credentials SET hash = ''
        WHERE user_id = (SELECT id FROM users WHERE application_id = :id)""",
        id=application_id,
    )
    data = {"csrf_token": token_of_page(late, "/login"), "ticket": asked.ticket}
    late.post("/enrol/passkey", {**data, "passkey": json.dumps(Authenticator().make(asked.options)[1])})
    assert late.status == 409
    assert not is_signed_in(late)
