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
    browser.post("/oauth2/authorize", client.parameters())
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


def test_the_way_back_is_where_the_app_begins_a_sign_in_if_it_says_where(
    browser: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(initiate_login_uri="https://rp.test/login?from=id")
    browser.get(f"/oauth2/authorize/gone.{client.client_id}")
    assert "https://rp.test/login?from=id&amp;iss=http%3A%2F%2Flocalhost%3A8000" in browser.text
    client = make_client(client_uri="https://rp.test/home")
    browser.get(f"/oauth2/authorize/gone.{client.client_id}")
    assert 'href="https://rp.test/home"' in browser.text


def test_default_max_age_is_held_where_the_request_says_nothing(
    app: Flask, browser: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(default_max_age=100)
    sign_in_copy(browser, app, auth_time=int(time.time()) - 200)
    client.ask(browser, max_age="1000")
    assert 'id="allow"' in browser.text
    client.ask(browser)
    sent_to_sign_in(browser)


def test_a_hint_names_a_person_by_the_number_that_the_app_knows(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(subject_type="pairwise")
    id_token = client.tokens(browser)["id_token"]
    assert "code" in client.answer(browser, prompt="none", id_token_hint=id_token)
    other = Browser(app)
    sign_in_copy(other, app)
    client.ask(other, prompt="none", id_token_hint=id_token)
    assert refused(other) == "login_required"


@pytest.mark.parametrize("display", ["page", "popup", "touch", "wap"])
def test_every_display_is_the_one_page(
    browser: Browser, person: Session, client: RelyingParty, display: str
) -> None:
    client.ask(browser, display=display, claims_locales="ru fr-CA not!a!tag")
    assert 'id="allow"' in browser.text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("ru en-GB", "ru en-GB"), ("<b> ru", "ru"), ("a" * 9, None), ("x&continue=/ //evil.test", None)],
)
def test_languages_that_are_none_are_left_out(
    browser: Browser, client: RelyingParty, sent: str, kept: str | None
) -> None:
    client.ask(browser, ui_locales=sent)
    assert sent_to_sign_in(browser).get("ui_locales") == kept


def test_an_invented_interaction_is_a_page_too(browser: Browser) -> None:
    assert browser.get("/oauth2/authorize/what-is-this").status_code == 410
    assert browser.get("/oauth2/consent/a.b%00c").status_code == 410
