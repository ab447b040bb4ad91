"""How strong a sign-in an app asks for: wishes are passed on once, demands are met or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc import jwt

from libs.people.sessions import Session
from tests.account.conftest import cookie_of, sign_in
from tests.account.second_factors import full_sign_in, person_with_app
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused, sent_to_sign_in
from tests.oidc.test_sign_in import jwks
from tests.oidc.test_strength import make_person
from tests.pages import Browser

Make = Callable[..., RelyingParty]


def essential(*values: str) -> str:
    return json.dumps({"id_token": {"acr": {"essential": True, "values": list(values)}}})


def acr_of(app: Flask, client: RelyingParty, code: str) -> str:
    id_token = client.redeem(code).json["id_token"]
    return str(jwt.decode(id_token, jwks(app), algorithms=["RS256"]).claims["acr"])


@pytest.mark.parametrize(
    "wish",
    [
        {"acr_values": "2 phr"},
        {"acr_values": "urn:mace:incommon:iap:silver 2"},
        {"claims": json.dumps({"id_token": {"acr": {"values": ["2", "1"]}}})},
        {"acr_values": "1", "claims": json.dumps({"id_token": {"acr": {"value": "2"}}})},
    ],
    ids=str,
)
def test_a_wish_for_more_is_passed_on_once(
    browser: Browser, person: Session, client: RelyingParty, wish: dict[str, str]
) -> None:
    client.ask(browser, **wish)
    wishes = sent_to_sign_in(browser)
    assert wishes["acr"] == "2"
    assert "fresh_after" not in wishes, "account says whether there is anything stronger to show"
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text, "it was a wish"


def test_what_the_client_is_registered_with_is_a_wish_too(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(default_acr_values=["phr"])
    client.ask(browser)
    assert sent_to_sign_in(browser)["acr"] == "phr"
    client.ask(browser, acr_values="1")
    assert 'id="allow"' in browser.text, "the request says more than the registration"
    sign_in_copy(browser, app, acr="phr", amr=["hwk", "user"])
    client.ask(browser)
    assert 'id="allow"' in browser.text


@pytest.mark.parametrize("acr_values", ["1", "0 level3", "1 2"])
def test_who_is_strong_enough_goes_on(
    browser: Browser, person: Session, client: RelyingParty, acr_values: str
) -> None:
    client.ask(browser, acr_values=acr_values)
    assert 'id="allow"' in browser.text


def test_without_asking_a_wish_is_left_and_a_demand_is_login_required(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.code(browser)
    assert "code" in client.answer(browser, prompt="none", acr_values="2")
    client.ask(browser, prompt="none", claims=essential("2"))
    assert refused(browser) == "login_required"


def test_a_demand_that_cannot_be_met_is_refused_after_one_try(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser, claims=essential("2", "phr"))
    wishes = sent_to_sign_in(browser)
    assert wishes["acr"] == "2"
    browser.get(wishes["continue"])
    assert refused(browser) == "unmet_authentication_requirements"


def test_whoever_had_to_sign_in_anyway_may_try_once_more(
    app: Flask, browser: Browser, client: RelyingParty
) -> None:
    client.ask(browser, claims=essential("phr"))
    path = sent_to_sign_in(browser)["continue"]
    sign_in_copy(browser, app)
    browser.get(path)
    assert sent_to_sign_in(browser)["acr"] == "phr"
    browser.get(path)
    assert refused(browser) == "unmet_authentication_requirements"


def test_a_demand_for_something_unknown_is_refused_at_once(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.send(browser, claims=essential("urn:gov:level4"))
    assert refused(browser) == "unmet_authentication_requirements"


@pytest.mark.parametrize(
    ("wanted", "said"), [(["2"], "2"), (["1"], "1"), (["1", "2"], "2"), (["phr", "1"], "1")]
)
def test_the_token_says_one_of_the_words_demanded_and_nothing_untrue(
    app: Flask, browser: Browser, client: RelyingParty, wanted: list[str], said: str
) -> None:
    sign_in_copy(browser, app, acr="2", amr=["pwd", "otp", "mfa"])
    assert acr_of(app, client, client.code(browser, claims=essential(*wanted))) == said


def test_max_age_and_a_wish_do_not_ask_twice_of_who_has_nothing_more(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.ask(browser, acr_values="2", max_age="1000")
    wishes = sent_to_sign_in(browser)
    assert int(wishes["fresh_after"]) < person.auth_time, "account may send the person straight back"
    browser.get(wishes["continue"], follow=True)
    assert 'id="allow"' in browser.text


def test_through_account_a_second_factor_is_asked_of_who_has_one_only(
    app: Flask, account_app: Flask, client: RelyingParty, make_client: Make
) -> None:
    weak = make_person(account_app, "weak@people.test")
    at_account, at_issuer = sign_in(Browser(account_app), weak), Browser(app)
    at_issuer.set_cookie("id_session", cookie_of(at_account))
    client.ask(at_issuer, claims=essential("2"))
    at_account.get(at_issuer.location)
    assert at_account.status == 303, "nothing stronger to show: straight back"
    at_issuer.get(at_account.location)
    assert refused(at_issuer) == "unmet_authentication_requirements"

    strong = make_person(account_app, "stronger@people.test")
    phone = person_with_app(account_app, Browser(account_app), strong)
    at_account = full_sign_in(Browser(account_app), strong, phone)
    at_issuer.set_cookie("id_session", cookie_of(at_account))
    code: Any = make_client().code(at_issuer, claims=essential("2"))
    assert code
