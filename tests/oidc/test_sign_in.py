"""Signing in to an app: the whole way from the app's request to its tokens."""

from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from libs.people.sessions import Session
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN, Browser


def jwks(app: Flask) -> KeySet:
    return KeySet.import_key_set(http(app).get("/.well-known/jwks.json", base_url=ORIGIN).json)


def test_a_member_signs_in_to_an_app(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    answer = client.answer(browser)
    assert answer["state"] == "a state"
    assert answer["iss"] == ORIGIN
    response = client.redeem(answer["code"])
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    tokens = response.json
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] <= 600
    assert tokens["scope"] == "openid profile email"

    id_token = jwt.decode(tokens["id_token"], jwks(app), algorithms=["RS256"])
    claims = id_token.claims
    assert (claims["iss"], claims["aud"], claims["sub"]) == (ORIGIN, client.client_id, person.sub)
    assert (claims["nonce"], claims["sid"]) == ("a-nonce", person.sid)
    assert (claims["auth_time"], claims["acr"], claims["amr"]) == (person.auth_time, "1", ["pwd"])
    assert "email" not in claims, "what scopes open is asked of userinfo"

    access_token = jwt.decode(tokens["access_token"], jwks(app), algorithms=["ES256"])
    assert access_token.header["typ"] == "at+jwt"
    assert access_token.claims["sub"] == person.sub
    assert access_token.claims["client_id"] == client.client_id
    assert access_token.claims["exp"] - access_token.claims["iat"] <= 600

    answer = client.userinfo(tokens["access_token"])
    assert answer.status_code == 200
    assert answer.json["sub"] == person.sub
    assert answer.json["email"] == person.claims["email"]
    assert answer.json["name"] == "Test Person"

    refreshed = client.refresh(tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert refreshed.json["refresh_token"] != tokens["refresh_token"]
    fresh = jwt.decode(refreshed.json["id_token"], jwks(app), algorithms=["RS256"]).claims
    assert fresh["auth_time"] == claims["auth_time"]
    assert client.userinfo(refreshed.json["access_token"]).status_code == 200
