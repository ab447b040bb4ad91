"""/account: the person's own overview."""

from collections.abc import Callable

from flask import Flask

from tests.account.conftest import Person, copy_of, sign_in
from tests.pages import Browser, token_of


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


def test_the_overview_leads_to_everything_that_is_the_persons_own(browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    text = browser.get("/account").text
    for path in ("profile", "email", "sessions", "apps", "data", "erase"):
        assert f'href="/account/{path}"' in text
    assert 'id="leaving"' not in text


def test_what_else_the_form_sends_changes_nothing(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.get("/account/profile")
    data = {
        "csrf_token": token_of(browser),
        "locale": "ru",
        "roles": "admin",
        "sub": "x",
        "status": "disabled",
        "email": "x@people.test",
        "email_verified": "true",
        "phone_number_verified": "true",
    }
    assert browser.post("/account/profile", data).status_code == 303
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.sub, shared.roles, shared.status) == (person.sub, [], "active")
    assert (shared.claims["email"], shared.claims["email_verified"]) == (person.email, False)
    assert "phone_number_verified" not in shared.claims
