"""Who must sign in, and when: prompt, max_age, hints, a session whose copy is missing."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask

from libs.people.sessions import Session, cookie_name, make_secret
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import Browser


def sent_to_sign_in(browser: Browser) -> dict[str, str]:
    assert browser.status == 303
    target = urlsplit(browser.location)
    assert target.path == "/login", browser.location
    wishes = dict(parse_qsl(target.query))
    assert wishes["continue"].startswith("/oauth2/authorize/")
    return wishes


def refused(browser: Browser) -> str:
    assert browser.location.startswith(REDIRECT_URI), browser.location
    return dict(parse_qsl(urlsplit(browser.location).query))["error"]


def test_whoever_is_not_signed_in_goes_to_sign_in_and_comes_back(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, login_hint="ann@people.test", ui_locales="ru")
    wishes = sent_to_sign_in(browser)
    assert wishes["login_hint"] == "ann@people.test"
    assert wishes["ui_locales"] == "ru"
    assert "fresh_after" not in wishes
    sign_in_copy(browser, app)
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text
    assert 'lang="ru"' in browser.text


def test_prompt_login_asks_again_and_accepts_only_a_new_sign_in(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="login")
    wishes = sent_to_sign_in(browser)
    assert int(wishes["fresh_after"]) > person.auth_time, "account must not accept the session that is there"
    browser.get(wishes["continue"])
    sent_to_sign_in(browser)
    sign_in_copy(browser, app, sub=person.sub, auth_time=int(wishes["fresh_after"]))
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


def test_prompt_login_with_nobody_signed_in_asks_once(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, prompt="login")
    wishes = sent_to_sign_in(browser)
    assert int(wishes["fresh_after"]) <= int(time.time())
    sign_in_copy(browser, app)
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


@pytest.mark.parametrize(("age", "is_asked"), [(50, False), (200, True)])
def test_max_age_is_held_and_auth_time_says_when(
    app: Flask, browser: Browser, client: RelyingParty, age: int, is_asked: bool
) -> None:
    sign_in_copy(browser, app, auth_time=int(time.time()) - age)
    client.ask(browser, max_age="100")
    if not is_asked:
        assert 'id="allow"' in browser.text
        return
    wishes = sent_to_sign_in(browser)
    sign_in_copy(browser, app, auth_time=int(time.time()))
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


def test_max_age_zero_is_a_new_sign_in(browser: Browser, person: Session, client: RelyingParty) -> None:
    client.ask(browser, max_age="0")
    assert int(sent_to_sign_in(browser)["fresh_after"]) > person.auth_time


def test_prompt_none_without_a_session_is_login_required(browser: Browser, client: RelyingParty) -> None:
    client.ask(browser, prompt="none")
    assert refused(browser) == "login_required"


def test_prompt_none_with_too_old_a_session_is_login_required(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    sign_in_copy(browser, app, auth_time=int(time.time()) - 200)
    client.ask(browser, prompt="none", max_age="100")
    assert refused(browser) == "login_required"


def test_prompt_none_without_consent_is_consent_required_and_with_it_a_code(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="none")
    assert refused(browser) == "consent_required"
    client.code(browser)
    client.ask(browser, prompt="none")
    assert "code=" in browser.location


def test_a_cookie_without_copy_is_resumed_by_account_even_for_prompt_none(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    browser.set_cookie(cookie_name(parts_of(app).settings), make_secret())
    client.ask(browser, prompt="none")
    assert browser.location.startswith("/login/resume?continue=%2Foauth2%2Fauthorize%2F")


def test_an_id_token_of_the_person_is_a_hint_that_they_are_there(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    client.ask(browser, prompt="none", id_token_hint=id_token)
    assert "code=" in browser.location
    other = Browser(app)
    sign_in_copy(other, app)
    client.ask(other, prompt="none", id_token_hint=id_token)
    assert refused(other) == "login_required"


def test_another_person_than_hinted_signs_in_again_and_then_is_refused(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    other = Browser(app)
    session = sign_in_copy(other, app)
    client.ask(other, id_token_hint=id_token)
    wishes = sent_to_sign_in(other)
    sign_in_copy(other, app, sub=session.sub, auth_time=int(wishes["fresh_after"]))
    other.get(wishes["continue"])
    assert refused(other) == "login_required"


def test_a_hint_of_another_client_or_kind_is_refused(
    browser: Browser, person: Session, client: RelyingParty, make_client: Callable[..., Any]
) -> None:
    tokens = client.tokens(browser)
    client.ask(browser, id_token_hint=tokens["access_token"])
    assert refused(browser) == "invalid_request"
    make_client().ask(browser, id_token_hint=tokens["id_token"])
    assert refused(browser) == "invalid_request"


def test_an_interaction_ends_at_its_first_response(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.code(browser)
    client.send(browser)
    path = browser.location
    assert browser.get(path).status_code == 303
    assert "code=" in browser.location
    assert browser.get(path).status_code == 410
    assert "https://rp.test/" in browser.text, "the page leads back to the app"


def test_an_expired_interaction_leads_back_to_the_app(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.send(browser)
    path = browser.location
    for key in parts_of(app).redis.scan_iter(match="interaction:*"):
        parts_of(app).redis.delete(key)
    for address in (path, path.replace("/authorize/", "/consent/")):
        page = browser.get(address)
        assert page.status_code == 410
        assert 'id="back"' in page.text
        assert "https://rp.test/" in page.text


def test_an_invented_interaction_is_a_page_too(browser: Browser) -> None:
    assert browser.get("/oauth2/authorize/what-is-this").status_code == 410
    assert browser.get("/oauth2/consent/a.b%00c").status_code == 410
