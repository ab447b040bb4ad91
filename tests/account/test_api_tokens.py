"""From the consent page to account's API: real tokens of the code flow, and what ends them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask
from joserfc.jws import extract_compact

from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from services.account.flows.revoking import revoke_access
from tests.account.conftest import Person, cookie_of, copy_of, execute, sign_in
from tests.account.programs import Program
from tests.conftest import run_command
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.pages import ORIGIN, Browser

EVERYTHING = "openid me users:read users:write offline_access"


@pytest.fixture
def client(oidc_app: Flask, program_of: Callable[..., Program]) -> RelyingParty:
    """An app that an operator registered by command for our own APIs; account knows the issuer's keys."""
    made = run_command(
        oidc_app, "clients", "create", "--name", "Tool", "--redirect-uri", REDIRECT_URI, "--scope", EVERYTHING, "--json"
    )  # fmt: skip
    values = json.loads(made.output)
    return RelyingParty(app=oidc_app, client_id=values["client_id"], secret=values["client_secret"])


@pytest.fixture
def signed_in(app: Flask, oidc_app: Flask) -> Callable[[Person], Browser]:
    """Signs a person in at account; the browser then stands at the issuer, with the same cookie."""

    def go(person: Person) -> Browser:
        browser = Browser(oidc_app)
        browser.set_cookie("id_session", cookie_of(sign_in(Browser(app), person)))
        return browser

    return go


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(extract_compact(token.encode()).payload)
    return found


def test_one_token_serves_the_api_and_userinfo(
    app: Flask, person: Person, client: RelyingParty, signed_in: Callable[[Person], Browser]
) -> None:
    tokens = client.tokens(signed_in(person), scope="openid me")
    claims = claims_of(tokens["access_token"])
    assert claims["aud"] == [ORIGIN, f"{ORIGIN}/api"]
    assert claims["roles"] == []
    assert Program(app, tokens["access_token"]).get("/me").json["sub"] == person.sub
    assert client.userinfo(tokens["access_token"]).json["sub"] == person.sub
    told = client.introspect(tokens["access_token"])
    assert (told["active"], told["aud"]) == (True, claims["aud"])
    for other in (tokens["id_token"], tokens["refresh_token"]):
        assert Program(app, other).get("/me").status_code == 401, "a token of one kind never works as another"


def test_a_token_is_addressed_to_what_was_asked_for_alone(
    app: Flask, person: Person, client: RelyingParty, signed_in: Callable[[Person], Browser]
) -> None:
    browser = signed_in(person)
    plain = client.tokens(browser, scope="openid")["access_token"]
    assert (claims_of(plain)["aud"], "roles" in claims_of(plain)) == (ORIGIN, False)
    assert Program(app, plain).get("/me").status_code == 401
    api = client.tokens(browser, scope="me", nonce=None)["access_token"]
    assert claims_of(api)["aud"] == f"{ORIGIN}/api"
    assert client.userinfo(api).status_code == 401
    assert client.introspect(api)["active"] is True
    assert Program(app, api).get("/me").status_code == 200
    assert client.post("/oauth2/revoke", {"token": api}).status_code == 200
    assert client.introspect(api) == {"active": False}


def test_the_consent_page_says_what_an_app_could_do_with_an_account(
    person: Person, client: RelyingParty, signed_in: Callable[[Person], Browser]
) -> None:
    browser = signed_in(person)
    client.ask(browser, scope="openid me users:read")
    assert "see and change your account here" in browser.text
    assert "accounts, as far as your role" not in browser.text, (
        "nobody is asked for what is not theirs to give"
    )
    client.ask(browser, scope="openid me", ui_locales="ru")
    assert "видеть и менять ваш аккаунт" in browser.text


def test_what_only_staff_may_do_is_theirs_alone_to_give(
    app: Flask,
    person: Person,
    make_person: Callable[..., Person],
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
) -> None:
    browser = signed_in(person)
    tokens = client.tokens(browser, scope="openid me users:read users:write")
    assert tokens["scope"] == "openid me"
    assert claims_of(tokens["access_token"])["scope"] == "openid me"
    answer = client.answer(browser, scope="users:read", nonce=None)
    assert answer["error"] == "access_denied"
    staff = client.tokens(signed_in(make_person(roles=["support"])), scope="openid users:read users:write")
    assert staff["scope"] == "openid users:read users:write"
    assert claims_of(staff["access_token"])["roles"] == ["support"]
    program = Program(app, staff["access_token"])
    assert program.get("/users").status_code == 200
    assert program("POST", f"/users/{person.sub}/disable").status_code == 403, "that needs an administrator"


def test_a_refreshed_token_carries_the_roles_that_the_person_has_now(
    app: Flask,
    oidc_app: Flask,
    make_person: Callable[..., Person],
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
    program_of: Callable[..., Program],
) -> None:
    from services.oidc.flows.subjects import remember_subject

    helper = make_person(roles=["reviewer", "support"])
    tokens = client.tokens(signed_in(helper), scope="openid me users:read")

    def roles_become(version: int, roles: list[str]) -> None:
        with oidc_app.app_context():
            remember_subject(sub=helper.sub, version=version, status="active", roles=roles, claims={})

    roles_become(2, ["admin", "support"])
    refreshed = client.refresh(tokens["refresh_token"]).json
    assert claims_of(refreshed["access_token"])["roles"] == ["support"], "only what the sign-in carried too"
    roles_become(3, [])
    refreshed = client.refresh(refreshed["refresh_token"]).json
    assert (refreshed["scope"], claims_of(refreshed["access_token"])["roles"]) == ("openid me", [])


def test_a_sign_in_that_carries_no_role_gives_none_away(
    app: Flask,
    make_person: Callable[..., Person],
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
) -> None:
    helper = make_person(roles=["admin"])
    execute(app, "UPDATE users SET needs_second_factor = true WHERE sub = :sub", sub=helper.sub)
    tokens = client.tokens(signed_in(helper), scope="openid me users:read")
    assert tokens["scope"] == "openid me"
    assert claims_of(tokens["access_token"])["roles"] == []


def test_the_end_of_a_session_ends_its_tokens_but_not_those_of_offline_access(
    app: Flask,
    person: Person,
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
) -> None:
    browser = signed_in(person)
    bound = Program(app, client.tokens(browser, scope="openid me")["access_token"])
    offline = Program(app, client.tokens(browser, scope="openid me offline_access")["access_token"])
    sid = bound.get("/me/sessions").json["items"][0]["sid"]
    assert bound("DELETE", f"/me/sessions/{sid}").status_code == 204
    assert bound.get("/me").status_code == 401
    assert offline.get("/me").status_code == 200
    with app.app_context():
        revoke_access(sub=person.sub, cause="sessions_revoked")
    assert offline.get("/me").status_code == 401


def test_with_redis_away_the_rows_say_whether_a_session_bound_token_holds(
    app: Flask,
    make_person: Callable[..., Person],
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = make_person(roles=["support"])
    browser = signed_in(helper)
    bound = Program(app, client.tokens(browser, scope="openid users:read me")["access_token"])
    offline = Program(app, client.tokens(browser, scope="openid me offline_access")["access_token"])
    nowhere = redis.Redis(port=1, decode_responses=True, retry=None)
    monkeypatch.setattr(parts_of(app), "redis", nowhere)
    assert bound.get("/users").status_code == 200
    answer = offline.get("/me")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), "denials alone could end it"
    execute(app, "UPDATE users SET roles = '{}' WHERE sub = :sub", sub=helper.sub)
    assert bound.get("/users").status_code == 401, "the role is gone"
    execute(app, "UPDATE users SET roles = '{support}' WHERE sub = :sub", sub=helper.sub)
    assert bound.get("/me").status_code == 200
    sid = claims_of(bound.token)["sid"]
    execute(app, "UPDATE sign_in_sessions SET ended_at = now() WHERE id = :sid", sid=sid)
    assert bound.get("/me").status_code == 401, "the session is over"


def test_what_an_old_sign_in_does_not_open_a_fresh_one_does(
    app: Flask,
    person: Person,
    client: RelyingParty,
    signed_in: Callable[[Person], Browser],
) -> None:
    """RFC 9470, as an app goes through it: refused with max_age, back to the issuer, a sign-in, and once more."""
    browser = signed_in(person)
    shared = copy_of(app, browser)
    assert shared is not None
    old = replace(shared, auth_time=shared.auth_time - 600)
    parts_of(app).redis.set(copy_key(secret_digest(cookie_of(browser))), old.to_json())
    program = Program(app, client.tokens(browser, scope="openid me")["access_token"])
    assert program.get("/me").status_code == 200
    refused = program("POST", "/me/data")
    assert refused.status_code == 401
    [wanted] = re.findall(r'max_age="(\d+)"', refused.headers["WWW-Authenticate"])
    client.ask(browser, scope="openid me", max_age=wanted)
    assert browser.location.startswith("/login?"), "the issuer wants them to sign in, too"
    fresh = client.tokens(signed_in(person), scope="openid me", max_age=wanted)
    assert Program(app, fresh["access_token"])("POST", "/me/data").status_code == 202
