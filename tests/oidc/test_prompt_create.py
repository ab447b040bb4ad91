"""`prompt=create` (Initiating User Registration via OpenID Connect 1.0): first the form for newcomers, then on."""

import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused, sent_to_sign_in
from tests.onboarding import steps
from tests.pages import Browser


def sent_to_apply(browser: Browser) -> str:
    """Where the form for newcomers leads back to."""
    assert browser.status == 303
    target = urlsplit(browser.location)
    assert target.path == "/apply", browser.location
    path = dict(parse_qsl(target.query))["continue"]
    assert path.startswith("/oauth2/authorize/")
    assert path.isascii()
    assert len(path) <= 500
    return path


def test_a_newcomer_applies_enrols_and_goes_on_to_the_app(
    app: Flask, onboarding_app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, prompt="create", ui_locales="en " + "x-" * 40 + "y")
    page, path = browser.location, sent_to_apply(browser)
    email = steps.new_email()
    steps.apply(onboarding_app, email, page=page)
    steps.confirm(onboarding_app, email)
    steps.approve(onboarding_app, email)
    activation = steps.link(onboarding_app, email, "activation_link")
    at_onboarding = Browser(onboarding_app)
    at_onboarding.fill(activation)
    from libs.people.handover import open_ticket

    ticket = dict(parse_qsl(urlsplit(at_onboarding.location).query))["ticket"]
    settings = parts_of(onboarding_app).settings
    assert open_ticket(settings, ticket, purpose="enrol", audience="account")["continue"] == path
    sign_in_copy(browser, app, auth_time=int(time.time()) + 1)
    browser.get(path, follow=True)
    assert 'id="allow"' in browser.text
    browser.fill(button="allow")
    assert "code" in browser.query()


def test_the_enrolment_page_lets_its_form_end_at_the_app(account_app: Flask) -> None:
    """Of our own apps nobody is asked for consent: the form's redirects go straight on to another site."""
    import uuid
    from urllib.parse import urlencode

    from libs.people.handover import seal_ticket

    for way_on, is_open in (("/oauth2/authorize/x.y", True), ("/account", False)):
        content = {
            "application_id": str(uuid.uuid4()),
            "email": steps.new_email(),
            "email_verified": True,
            "name": "Ada",
            "locale": "en",
            "roles": [],
            "continue": way_on,
        }
        ticket = seal_ticket(
            parts_of(account_app).settings, purpose="enrol", audience="account", content=content
        )
        browser = Browser(account_app)
        page = browser.get("/enrol?" + urlencode({"ticket": ticket}), follow=True)
        assert page.status_code == 200
        assert ("form-action" not in page.headers["Content-Security-Policy"]) is is_open


def test_whoever_is_signed_in_is_shown_the_form_too_and_may_go_on_as_they_are(
    app: Flask, onboarding_app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.code(browser)
    client.ask(browser, prompt="create")
    path = sent_to_apply(browser)
    at_onboarding = Browser(onboarding_app)
    sign_in_copy(at_onboarding, onboarding_app, sub=person.sub)
    at_onboarding.get(browser.location)
    assert f'id="go-on" href="{path}"' in at_onboarding.text
    browser.get(path)
    assert "code" in browser.query()


def test_whoever_has_an_account_after_all_signs_in_instead(
    app: Flask, onboarding_app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, prompt="create", ui_locales="ru")
    path = sent_to_apply(browser)
    at_onboarding = Browser(onboarding_app)
    at_onboarding.get(browser.location)
    assert 'id="sign-in-instead" href="/login?continue=' in at_onboarding.text
    assert 'lang="ru"' in at_onboarding.text
    assert 'id="sign-in-instead"' not in Browser(onboarding_app).get("/apply").text
    browser.get(path)
    assert sent_to_sign_in(browser)["continue"] == path, "the form comes once"
    sign_in_copy(browser, app)
    browser.get(path, follow=True)
    assert 'id="allow"' in browser.text


def test_other_prompts_hold_afterwards(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="create login")
    path = sent_to_apply(browser)
    browser.get(path)
    wishes = sent_to_sign_in(browser)
    sign_in_copy(browser, app, auth_time=int(wishes["fresh_after"]))
    browser.get(path, follow=True)
    assert 'id="allow"' in browser.text


def test_an_application_that_took_too_long_leads_back_to_the_app(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, prompt="create")
    path = sent_to_apply(browser)
    for key in parts_of(app).redis.scan_iter(match="interaction:*"):
        parts_of(app).redis.delete(key)
    sign_in_copy(browser, app)
    assert browser.get(path).status_code == 410
    assert 'id="back"' in browser.text


@pytest.mark.parametrize("prompt", ["none create", "create none"])
def test_none_and_create_exclude_each_other(browser: Browser, client: RelyingParty, prompt: str) -> None:
    client.ask(browser, prompt=prompt)
    assert refused(browser) == "invalid_request"
