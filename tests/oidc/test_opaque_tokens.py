"""Opaque access tokens: a client that wants them gets them by every grant, and they end with what they hang on."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import ORIGIN, Browser

Make = Callable[..., RelyingParty]


@pytest.fixture
def opaque(make_client: Make) -> RelyingParty:
    return make_client(access_token_format="opaque")


def ends(client: RelyingParty, token: str) -> bool:
    return client.userinfo(token).status_code == 401 and client.introspect(token) == {"active": False}


def count_rows(app: Flask, client: RelyingParty) -> int:
    from services.oidc.extensions import db
    from services.oidc.models import AccessToken

    with app.app_context():
        rows = sa.select(sa.func.count()).where(AccessToken.client_id == client.client_id)
        return db.session.scalar(rows) or 0


def test_it_opens_userinfo_and_is_introspected(
    app: Flask, browser: Browser, person: Session, opaque: RelyingParty
) -> None:
    tokens = opaque.tokens(browser)
    assert "." not in tokens["access_token"]
    assert opaque.userinfo(tokens["access_token"]).json["sub"] == person.sub
    told = opaque.introspect(tokens["access_token"])
    assert (told["active"], told["iss"], told["sub"]) == (True, ORIGIN, person.sub)
    assert (told["scope"], told["aud"], told["sid"]) == ("openid profile email", ORIGIN, person.sid)
    assert (told["auth_time"], told["acr"]) == (person.auth_time, person.acr)
    assert told["jti"]
    assert count_rows(app, opaque) == 1


def test_each_refresh_gives_another_one(
    app: Flask, browser: Browser, person: Session, opaque: RelyingParty
) -> None:
    first = opaque.tokens(browser)
    second = opaque.refresh(first["refresh_token"], scope="openid").json
    again = opaque.refresh(first["refresh_token"]).json
    found = {first["access_token"], second["access_token"], again["access_token"]}
    assert len(found) == 3
    assert count_rows(app, opaque) == 3
    assert all(opaque.userinfo(token).status_code == 200 for token in found)
    assert opaque.introspect(second["access_token"])["scope"] == "openid"


def test_without_rotation_too(app: Flask, browser: Browser, person: Session, opaque: RelyingParty) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(opaque.client_id, rotate_refresh_tokens=False)
    first = opaque.tokens(browser)
    answer = opaque.refresh(first["refresh_token"]).json
    assert opaque.userinfo(answer["access_token"]).status_code == 200


def revoke_by_client(client: RelyingParty, tokens: dict[str, Any], person: Session) -> None:
    client.post("/oauth2/revoke", {"token": tokens["access_token"]})


def revoke_refresh_token(client: RelyingParty, tokens: dict[str, Any], person: Session) -> None:
    client.post("/oauth2/revoke", {"token": tokens["refresh_token"]})


def sign_out(client: RelyingParty, tokens: dict[str, Any], person: Session) -> None:
    from services.oidc.flows.revoking import end_access

    with client.app.app_context():
        end_access(sub=person.sub, sids=[person.sid], cause="sign_out", not_before=int(utcnow().timestamp()))


def revoke_by_staff(client: RelyingParty, tokens: dict[str, Any], person: Session) -> None:
    from services.oidc.flows.revoking import revoke_tokens

    with client.app.app_context():
        revoke_tokens(email=person.claims["email"])


def erase(client: RelyingParty, tokens: dict[str, Any], person: Session) -> None:
    from services.oidc.flows.erasure import erase as flow

    with client.app.app_context():
        flow(sub=person.sub)


@pytest.mark.parametrize("end", [revoke_by_client, revoke_refresh_token, sign_out, revoke_by_staff, erase])
def test_it_ends_with_its_grant(
    app: Flask, browser: Browser, person: Session, opaque: RelyingParty, end: Callable[..., None]
) -> None:
    tokens = opaque.tokens(browser)
    end(opaque, tokens, person)
    assert ends(opaque, tokens["access_token"])
    assert error_of(opaque.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert count_rows(app, opaque) == (0 if end is erase else 1)


def test_it_expires(app: Flask, browser: Browser, person: Session, opaque: RelyingParty) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import AccessToken

    token = opaque.tokens(browser)["access_token"]
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.update(AccessToken).where(AccessToken.digest == digest(token)).values(expires_at=utcnow())
        )
    assert ends(opaque, token)


def test_it_is_neither_a_code_nor_a_refresh_token(
    browser: Browser, person: Session, opaque: RelyingParty
) -> None:
    tokens = opaque.tokens(browser)
    assert error_of(opaque.refresh(tokens["access_token"])) == (400, "invalid_grant")
    assert error_of(opaque.redeem(tokens["access_token"])) == (400, "invalid_grant")
    assert opaque.userinfo(tokens["refresh_token"]).status_code == 401


def test_a_used_code_ends_it(browser: Browser, person: Session, opaque: RelyingParty) -> None:
    code = opaque.code(browser)
    tokens = opaque.redeem(code).json
    opaque.redeem(code)
    assert ends(opaque, tokens["access_token"])


def test_another_client_learns_nothing_of_it(
    browser: Browser, person: Session, opaque: RelyingParty, make_client: Make
) -> None:
    token, other = opaque.tokens(browser)["access_token"], make_client()
    assert other.introspect(token) == {"active": False}
    assert error_of(other.post("/oauth2/revoke", {"token": token})) == (400, "invalid_grant")
    assert opaque.introspect(token)["active"] is True
