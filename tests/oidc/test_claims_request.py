"""The `claims` parameter: by name, within what the client may have, allowed by the person; and who must be there."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc import jwt

from libs.guard.single_use import digest
from libs.people.sessions import Session
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty
from tests.oidc.test_prompts import refused, sent_to_sign_in
from tests.oidc.test_sign_in import jwks
from tests.pages import Browser

Make = Callable[..., RelyingParty]


def request_of_grant(app: Flask, code: str) -> Any:
    from services.oidc.extensions import db
    from services.oidc.models import Grant

    with app.app_context():
        return db.session.scalars(
            sa.select(Grant.claims_request).where(Grant.code_digest == digest(code))
        ).one()


def asking(**members: Any) -> str:
    return json.dumps(members)


def test_claims_asked_for_by_name_arrive_where_they_were_asked_for(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    claims = asking(
        id_token={"email": {"essential": True}, "auth_time": None, "what_is_this": None},
        userinfo={
            "name": None,
            "email_verified": {"value": True},
            "http://example.test/x": {"values": [1, 2]},
        },
        verified={"unknown": ["member"]},
    )
    client.ask(browser, scope="openid", claims=claims)
    assert "see your e-mail address" in browser.text, "consent covers the scopes that open these claims"
    assert "see your name" in browser.text
    browser.fill(button="allow")
    code = browser.query()["code"]
    assert request_of_grant(app, code) == {"id_token": ["email"], "userinfo": ["name", "email_verified"]}
    tokens = client.redeem(code).json
    assert tokens["scope"] == "openid"
    said = jwt.decode(tokens["id_token"], jwks(app), algorithms=["RS256"]).claims
    assert said["email"] == person.claims["email"]
    assert "name" not in said
    info = client.userinfo(tokens["access_token"]).json
    assert (info["name"], info["email_verified"]) == ("Test Person", True)
    assert "email" not in info
    assert client.ask(browser, scope="openid", claims=claims).status_code == 303, "it is remembered"
    assert 'id="allow"' in client.ask(browser, scope="openid phone").text


def test_nobody_gets_by_name_what_no_scope_of_theirs_opens(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(scopes=["openid", "profile"])
    client.ask(browser, scope="openid", claims=asking(userinfo={"email": {"essential": True}}))
    assert "e-mail address" not in browser.text
    browser.fill(button="allow")
    code = browser.query()["code"]
    assert request_of_grant(app, code) is None
    assert set(client.userinfo(client.redeem(code).json["access_token"]).json) == {"sub"}


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "[]",
        "null",
        '"email"',
        "NaN",
        '{"id_token": []}',
        '{"id_token": {"email": true}}',
        '{"id_token": {"email": {"essential": "yes"}}}',
        '{"id_token": {"acr": {"values": "2"}}}',
        '{"id_token": {"acr": {"values": [2]}}}',
        '{"id_token": {"acr": {"value": "2", "values": ["2"]}}}',
        '{"id_token": {"sub": {"value": 7}}}',
        '{"id_token": {"sub": {"value": "a"}}, "userinfo": {"sub": {"value": "b"}}}',
        '{"id_token": {}, "id_token": {"email": null}}',
        '{"userinfo": {"x": {"value": {"a": {"b": {"c": 1}}}}}}',
        "[" * 5000,
        '{"userinfo": ' * 300,
        json.dumps({"userinfo": {f"claim_{number}": None for number in range(500)}}),
        '{"userinfo": {"x": {"value": ' + "9" * 5000 + "}}}",
    ],
    ids=lambda text: text[:60],
)
def test_what_is_not_a_claims_request_is_refused(browser: Browser, client: RelyingParty, wrong: str) -> None:
    client.send(browser, claims=wrong)
    assert refused(browser) == "invalid_request"


@pytest.mark.parametrize("kind", ["public", "pairwise"])
def test_a_person_asked_for_by_sub_must_be_the_one_who_is_there(
    app: Flask, browser: Browser, person: Session, make_client: Make, kind: str
) -> None:
    client = make_client(subject_type=kind)
    sub = client.userinfo(client.tokens(browser)["access_token"]).json["sub"]
    assert (sub == person.sub) is (kind == "public")
    for member in ("id_token", "userinfo"):
        right = asking(**{member: {"sub": {"value": sub}}})
        assert "code" in client.answer(browser, prompt="none", claims=right)
    wrong = asking(id_token={"sub": {"value": "somebody else"}})
    client.ask(browser, prompt="none", claims=wrong)
    assert refused(browser) == "login_required"
    client.ask(browser, claims=wrong)
    wishes = sent_to_sign_in(browser)
    sign_in_copy(browser, app, sub=person.sub, auth_time=int(wishes["fresh_after"]))
    browser.get(wishes["continue"])
    assert refused(browser) == "login_required", "once, and not in a circle"


def test_a_hint_and_a_sub_that_differ_are_no_request(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    one = asking(id_token={"sub": {"values": ["x", person.sub]}})
    assert "code" in client.answer(browser, prompt="none", id_token_hint=id_token, claims=one)
    client.ask(browser, id_token_hint=id_token, claims=asking(id_token={"sub": {"value": "x"}}))
    assert refused(browser) == "invalid_request"


def test_without_openid_there_is_nothing_to_ask_for(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    code = client.code(browser, scope="profile", claims=asking(userinfo={"email": None}))
    assert request_of_grant(app, code) is None
