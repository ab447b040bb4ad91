"""/account: the person's own overview."""

from collections.abc import Callable

from flask import Flask

from libs.messaging.events import UserChanged
from tests.account.conftest import Person, copy_of, sign_in
from tests.account.test_sessions import token_of
from tests.conftest import recorded
from tests.pages import Browser


def test_the_overview_shows_what_we_know_and_says_it_as_text(
    browser: Browser, make_person: Callable[..., Person]
) -> None:
    person = make_person(name="<i>Ann</i> {{7*7}}", roles=["support"], is_email_verified=True)
    sign_in(browser, person)
    text = browser.get("/account").text
    assert "&lt;i&gt;Ann&lt;/i&gt; {{7*7}}" in text
    assert person.email in text
    assert "support" in text
    assert "not confirmed" not in text
    assert browser.page.headers["Cache-Control"] == "no-store"


def test_a_chosen_language_holds_on_every_page_at_once(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.fill("/account", button="save-language", locale="ru", follow=True)
    assert "Ваш аккаунт" in browser.text
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.claims["locale"] == "ru"
    changes = [event for event in recorded(app, UserChanged) if event.sub == person.sub]
    assert [(event.version, event.locale) for event in changes] == [(1, "en"), (2, "ru")]
    browser.post("/account", {"csrf_token": token_of(browser), "locale": "tlh"})
    assert browser.status == 422


def test_what_else_the_form_sends_changes_nothing(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.get("/account")
    data = {
        "csrf_token": token_of(browser),
        "locale": "ru",
        "roles": "admin",
        "sub": "x",
        "status": "disabled",
    }
    assert browser.post("/account", data).status_code == 303
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.sub, shared.roles, shared.status) == (person.sub, [], "active")
