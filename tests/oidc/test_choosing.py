"""`prompt=select_account`: the person says as whom they go on, and the issuer knows that they did."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask import Flask

from libs.people.handover import seal_ticket
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused, sent_to_sign_in
from tests.pages import Browser


@pytest.fixture
def ann(app: Flask, browser: Browser) -> Session:
    """Signed in on `browser` a while ago."""
    return sign_in_copy(browser, app, auth_time=int(time.time()) - 60)


def sent_to_choose(browser: Browser) -> str:
    """Where the page of accounts leads back to."""
    assert browser.status == 303
    target = urlsplit(browser.location)
    assert target.path == "/login/choose", browser.location
    path = dict(parse_qsl(target.query))["continue"]
    assert path.startswith("/oauth2/authorize/")
    return path


def chosen(app: Flask, way: str, session: Session, **changes: Any) -> str:
    """The way back from account's page with its ticket."""
    values = {
        "purpose": "account_chosen",
        "audience": "oidc",
        "path": urlsplit(way).path,
        "sid": session.sid,
    }
    values |= changes
    ticket = seal_ticket(
        parts_of(app).settings,
        purpose=values["purpose"],
        audience=values["audience"],
        content={"path": values["path"], "sid": values["sid"]},
    )
    return f"{way}{'&' if '?' in way else '?'}{urlencode({'ticket': ticket})}"


def test_whoever_is_signed_in_chooses_first(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account", ui_locales="ru")
    path = sent_to_choose(browser)
    assert sent_to_choose_again(browser, path), "without a choice nothing goes on"
    browser.get(chosen(app, path, ann))
    assert "ticket" not in browser.location, "it does not stay in the address"
    browser.get(browser.location, follow=True)
    assert 'id="allow"' in browser.text
    assert 'lang="ru"' in browser.text
    browser.fill(button="allow")
    assert "code=" in browser.location


def sent_to_choose_again(browser: Browser, path: str) -> bool:
    browser.get(path)
    return sent_to_choose(browser) == path


def test_consent_given_before_does_not_skip_the_choice(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.code(browser)
    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    browser.get(path.replace("/authorize/", "/consent/"))
    assert browser.location.startswith("/oauth2/authorize/"), "nor does opening the next page"
    browser.get(chosen(app, path, ann), follow=False)
    browser.get(browser.location)
    assert "code=" in browser.location


def test_another_account_than_before_may_be_chosen(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    bob = sign_in_copy(browser, app, auth_time=int(time.time()) - 30)
    browser.get(chosen(app, path, bob), follow=True)
    browser.fill(button="allow")
    code = dict(parse_qsl(urlsplit(browser.location).query))["code"]
    access_token = client.redeem(code).json["access_token"]
    assert client.userinfo(access_token).json["sub"] == bob.sub


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "logout"},
        {"audience": "account"},
        {"path": "/oauth2/authorize/another"},
        {"sid": "another"},
    ],
    ids=str,
)
def test_a_ticket_for_something_else_is_no_choice(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty, changes: dict[str, str]
) -> None:
    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    browser.get(chosen(app, path, ann, **changes))
    assert sent_to_choose_again(browser, browser.location)
    browser.get(f"{path}?ticket=nonsense")
    assert sent_to_choose_again(browser, browser.location)


def test_an_expired_ticket_is_no_choice(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from libs.people import handover

    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    monkeypatch.setattr(handover, "TICKET_LIFETIME", timedelta(seconds=-1))
    browser.get(chosen(app, path, ann))
    assert sent_to_choose_again(browser, browser.location)


def test_a_choice_holds_for_the_account_that_was_chosen_only(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    browser.get(chosen(app, path, ann))
    sign_in_copy(browser, app, auth_time=int(time.time()) - 30)
    assert sent_to_choose_again(browser, path)


def test_with_nobody_signed_in_signing_in_is_the_choice(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account")
    wishes = sent_to_sign_in(browser)
    sign_in_copy(browser, app)
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


def test_signing_in_to_another_account_is_a_choice(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account")
    path = sent_to_choose(browser)
    sign_in_copy(browser, app, auth_time=int(time.time()) + 1)
    browser.get(path, follow=True)
    assert 'id="allow"' in browser.text


def test_the_chosen_one_signs_in_again_where_that_is_wanted_too(
    app: Flask, browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="select_account login")
    path = sent_to_choose(browser)
    browser.get(chosen(app, path, ann))
    browser.get(browser.location)
    wishes = sent_to_sign_in(browser)
    assert wishes["login_hint"] == ann.claims["email"]
    assert int(wishes["fresh_after"]) > ann.auth_time
    sign_in_copy(browser, app, sub=ann.sub, sid=ann.sid, auth_time=int(wishes["fresh_after"]))
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


def test_none_and_select_account_exclude_each_other(
    browser: Browser, ann: Session, client: RelyingParty
) -> None:
    client.ask(browser, prompt="none select_account")
    assert refused(browser) == "invalid_request"


def test_the_metadata_says_so(browser: Browser, make_client: Callable[..., Any]) -> None:
    values = browser.get("/.well-known/openid-configuration").json["prompt_values_supported"]
    assert "select_account" in values
