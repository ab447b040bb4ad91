"""Consent: asked once per app and scope, in words, and never given for somebody else."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]


def test_the_page_says_who_asks_for_what(browser: Browser, person: Session, make_client: Make) -> None:
    client = make_client(name="<b>Evil & Co</b> {{7*7}}")
    page = client.ask(browser, scope="openid email")
    assert page.status_code == 200
    assert "&lt;b&gt;Evil &amp; Co&lt;/b&gt; {{7*7}}" in page.text
    assert "An app that calls itself" in page.text
    assert "see your e-mail address" in page.text
    assert "see your name" not in page.text
    assert person.claims["email"] in page.text
    assert "Afterwards you go back to rp.test." in page.text
    assert 'id="allow"' in page.text
    assert 'id="deny"' in page.text
    assert "form-action" not in page.headers["Content-Security-Policy"], (
        "the form's redirect ends at the client"
    )
    assert page.headers["Cache-Control"] == "no-store"


def test_saying_no_tells_the_app_and_remembers_nothing(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser)
    browser.fill(button="deny")
    assert browser.query()["error"] == "access_denied"
    assert browser.query()["iss"] == ORIGIN
    assert 'id="allow"' in client.ask(browser).text


def test_consent_is_remembered_per_app_and_scope(
    browser: Browser, person: Session, client: RelyingParty, make_client: Make
) -> None:
    client.code(browser, scope="openid email")
    assert client.ask(browser, scope="openid").status_code == 303
    assert 'id="allow"' in client.ask(browser, scope="openid profile").text, "more than before"
    browser.fill(button="allow")
    assert client.ask(browser, scope="openid profile email").status_code == 303
    assert 'id="allow"' in make_client().ask(browser, scope="openid").text, "another app"


def test_what_is_new_is_told_apart_from_what_was_allowed_before(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.code(browser, scope="openid email")
    text = client.ask(browser, scope="openid email phone offline_access").text
    new, before = text.split('id="allowed-before"')
    assert "see your phone number" in new
    assert "see your e-mail address" not in new
    assert "see your e-mail address" in before
    assert 'id="keeps-access"' in text, "a line of its own"
    browser.fill(button="allow")
    text = client.ask(browser, scope="openid email", prompt="consent").text
    assert 'id="wishes"' not in text
    assert "asks again" in text
    assert 'id="keeps-access"' not in text


def test_where_the_app_says_who_runs_it_is_its_own_claim(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(
        client_uri="https://rp.test/?a=1&b='2",
        policy_uri="https://rp.test/privacy",
        tos_uri="https://rp.test/terms",
        logo_uri="https://rp.test/logo.svg",
    )
    for text in (client.ask(browser).text, _apps_page(browser)):
        assert "The app says of itself:" in text
        for address in (
            "https://rp.test/?a=1&amp;b=&#39;2",
            "https://rp.test/privacy",
            "https://rp.test/terms",
        ):
            assert f'<a href="{address}" rel="noopener noreferrer nofollow">' in text
        assert "logo.svg" not in text, "the browser never asks the app's server"
        assert f'src="/oauth2/consent/logo/{client.client_id}"' in text


def _apps_page(browser: Browser) -> str:
    browser.fill(button="allow")
    return str(browser.get("/account/apps").text)


def test_prompt_consent_asks_again(browser: Browser, person: Session, client: RelyingParty) -> None:
    client.code(browser)
    assert 'id="allow"' in client.ask(browser, prompt="consent").text
    browser.fill(button="allow")
    assert "code" in browser.query()


def test_our_own_apps_do_not_ask(browser: Browser, person: Session, make_client: Make) -> None:
    assert make_client(is_first_party=True).ask(browser).status_code == 303
    assert "code" in browser.query()


def test_an_app_that_could_be_impersonated_on_the_device_asks_each_time(
    browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(
        application_type="native", auth_method="none", redirect_uris=["http://127.0.0.1:5000/cb"]
    )
    client.code(browser)
    assert 'id="allow"' in client.ask(browser).text


def test_an_answer_counts_only_for_the_person_who_was_asked(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser)
    sign_in_copy(browser, app)
    browser.fill(button="allow")
    assert browser.location.startswith("/oauth2/authorize/")


def test_without_its_token_the_form_is_shown_again(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser)
    page = browser.post(browser.url, {"answer": "allow", "sub": person.sub}, headers={"Origin": ORIGIN})
    assert page.status_code == 400
    page = browser.post(browser.url, {"answer": "allow"}, headers={"Origin": "https://evil.test"})
    assert page.status_code == 403


def test_a_session_that_ended_meanwhile_goes_back_a_step(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser)
    for key in parts_of(app).redis.scan_iter(match="sess:*"):
        parts_of(app).redis.delete(key)
    browser.fill(button="allow")
    assert browser.location.startswith("/oauth2/authorize/")
    browser.get(browser.location)
    assert browser.location.startswith("/login/resume?")


def test_the_sign_in_form_may_end_at_the_app_too(account_app: Flask) -> None:
    """Where consent is remembered the form's redirect goes straight on to another site."""
    browser = Browser(account_app)
    for path, is_open in (("/oauth2/authorize/x.y", True), ("/account", False)):
        policy = browser.get("/login", query_string={"continue": path}).headers["Content-Security-Policy"]
        assert ("form-action" not in policy) is is_open


def test_allowing_twice_gives_one_code(browser: Browser, person: Session, client: RelyingParty) -> None:
    client.ask(browser)
    page, url = browser.page, browser.url
    browser.fill(button="allow")
    assert "code" in browser.query()
    browser.page, browser.url = page, url
    browser.fill(button="allow")
    assert browser.status == 410


def test_consent_is_audited(app: Flask, browser: Browser, person: Session, client: RelyingParty) -> None:
    client.code(browser)
    with app.app_context():
        entries: list[Any] = parts_of(app).audit.entries(target=f"client:{client.client_id}")
    given = next(entry for entry in entries if entry.action == "consent.given")
    assert given.actor == f"user:{person.sub}"
    assert given.after == {"sub": person.sub, "scopes": ["email", "openid", "profile"]}
