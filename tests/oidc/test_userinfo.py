"""userinfo answers the bearer of a living access token of ours, and refuses everything that only looks like one."""

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from services.oidc.scopes import STANDARD_CLAIMS
from tests.conftest import sign_in_copy
from tests.oidc.conftest import ALL_SCOPES
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN, Browser


def ask(app: Flask, **options: Any) -> TestResponse:
    method = options.pop("method", "GET")
    return http(app).open("/oauth2/userinfo", method=method, base_url=ORIGIN, **options)


def bearing(app: Flask, token: str) -> TestResponse:
    return ask(app, headers={"Authorization": f"Bearer {token}"})


def is_refused(response: TestResponse) -> bool:
    return (
        response.status_code == 401
        and response.json == {"error": "invalid_token"}
        and 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    )


PROFILE = {
    "name": "Ada Lovelace",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "middle_name": "Augusta",
    "nickname": "Countess",
    "preferred_username": "ada",
    "profile": "https://ada.test/me",
    "website": "https://ada.test/",
    "gender": "female",
    "birthdate": "1815-12-10",
    "zoneinfo": "Europe/London",
    "locale": "en",
    "updated_at": 1790000000,
}
PHONE = {"phone_number": "+442079460000", "phone_number_verified": False}
ADDRESS = {"address": {"street_address": "12 St James's Square", "locality": "London", "country": "GB"}}


def test_each_scope_opens_its_claims(app: Flask, browser: Browser, client: RelyingParty) -> None:
    person = sign_in_copy(browser, app, claims={**PROFILE, **PHONE, **ADDRESS})

    def claims(scope: str) -> dict[str, Any]:
        answer: dict[str, Any] = client.userinfo(client.tokens(browser, scope=scope)["access_token"]).json
        assert answer.pop("sub") == person.sub
        return answer

    assert claims("openid") == {}
    assert set(claims("openid email")) == {"email", "email_verified"}
    assert claims("openid profile") == PROFILE
    assert claims("openid phone") == PHONE
    assert claims("openid address") == ADDRESS
    assert set(claims("openid profile email phone address")) == set(STANDARD_CLAIMS)


def test_the_token_may_come_by_header_or_by_post_but_not_in_the_query(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    token = client.tokens(browser)["access_token"]
    header = {"Authorization": f"bearer {token}"}
    assert ask(app, headers=header).status_code == 200
    assert ask(app, method="POST", headers=header).status_code == 200
    posted = ask(app, method="POST", data={"access_token": token})
    assert posted.json["sub"] == person.sub
    assert posted.headers["Cache-Control"] == "no-store"
    in_query = ask(app, query_string={"access_token": token})
    assert in_query.status_code == 401
    assert "error=" not in in_query.headers["WWW-Authenticate"], "nothing was presented"
    twice = ask(app, method="POST", data={"access_token": token}, headers=header)
    assert (twice.status_code, twice.json["error"]) == (400, "invalid_request")


def test_a_token_without_openid_is_not_enough(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    token = client.tokens(browser, scope="profile", nonce=None)["access_token"]
    response = bearing(app, token)
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_a_token_of_one_kind_never_works_as_another(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    assert is_refused(bearing(app, tokens["id_token"]))
    assert is_refused(bearing(app, tokens["refresh_token"]))
    assert client.refresh(tokens["access_token"]).json["error"] == "invalid_grant"
    assert client.refresh(tokens["id_token"]).json["error"] == "invalid_grant"
    assert client.redeem(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert client.introspect(tokens["id_token"]) == {"active": False}


def test_an_expired_token_is_refused(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.protocol import tokens

    token = client.tokens(browser)["access_token"]
    real = time.time
    monkeypatch.setattr(tokens.time, "time", lambda: real() + 601)
    assert is_refused(bearing(app, token))


def test_a_rewritten_but_rightly_signed_token_needs_its_grant(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    from services.oidc.protocol.keys import keys

    with app.app_context():
        key = keys.signing_key("ES256")
    claims = jwt.decode(client.tokens(browser)["access_token"], key.jwk, algorithms=["ES256"]).claims
    for change in (
        {"grant_id": "x"},
        {"grant_id": None},
        {"grant_id": "01a20af9-51c5-79a0-823e-e13be5a3c497"},
    ):
        forged = jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, {**claims, **change}, key.jwk)
        assert is_refused(bearing(app, forged))


def test_a_disabled_client_or_person_is_refused_at_once(
    app: Flask,
    browser: Browser,
    person: Session,
    client: RelyingParty,
    make_client: Callable[..., RelyingParty],
) -> None:
    from services.oidc.flows.clients import update_client
    from services.oidc.flows.subjects import remember_subject

    token, other = client.tokens(browser)["access_token"], make_client().tokens(browser)["access_token"]
    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    assert is_refused(bearing(app, token))
    assert bearing(app, other).status_code == 200
    with app.app_context():
        remember_subject(sub=person.sub, version=9, status="disabled", roles=[], claims={})
    assert is_refused(bearing(app, other))


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
@pytest.mark.parametrize("form", ["jwt", "opaque"])
def test_a_client_may_have_it_signed(
    app: Flask,
    browser: Browser,
    person: Session,
    make_client: Callable[..., RelyingParty],
    alg: str,
    form: str,
) -> None:
    from services.oidc.protocol.keys import keys

    client = make_client(
        userinfo_signed_response_alg=alg, access_token_format=form, subject_type="pairwise", scopes=ALL_SCOPES
    )
    token = client.tokens(browser, scope="openid email")["access_token"]
    header = {"Authorization": f"Bearer {token}"}
    for answer in (ask(app, headers=header), ask(app, method="POST", data={"access_token": token})):
        assert answer.content_type == "application/jwt"
        assert answer.headers["Cache-Control"] == "no-store"
        with app.app_context():
            key = keys.signing_key(alg)
        signed = jwt.decode(answer.text, key.jwk, algorithms=[alg])
        assert signed.header == {"alg": alg, "kid": key.kid}
        assert (signed.claims["iss"], signed.claims["aud"]) == (ORIGIN, client.client_id)
        assert signed.claims["sub"] == client.introspect(token)["sub"] != person.sub
        assert signed.claims["email"] == person.claims["email"]
    assert is_refused(bearing(app, answer.text)), "it is no token"
    refused = ask(app)
    assert (refused.status_code, refused.content_type) == (401, "application/json"), "errors stay JSON"


def test_a_signed_answer_is_no_id_token_hint(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    from services.oidc.protocol.tokens import read_id_token_hint

    client = make_client(userinfo_signed_response_alg="RS256")
    answer = client.userinfo(client.tokens(browser)["access_token"])
    with app.app_context():
        assert read_id_token_hint(answer.text, issuer=ORIGIN) is None


@pytest.mark.parametrize(("alg", "hashed"), [("RS256", "sha256"), ("ES256", "sha256"), ("PS256", "sha256"),
                                             ("EdDSA", "sha512")])  # fmt: skip
def test_at_hash_is_of_the_hash_of_its_algorithm(alg: str, hashed: str) -> None:
    """Core §3.1.3.6; of Ed25519 it is SHA-512, which that signs with."""
    from services.oidc.protocol.tokens import half_hash

    digest = hashlib.new(hashed, b"a token").digest()
    assert half_hash("a token", alg) == base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip(
        "="
    )


@pytest.mark.parametrize("alg", ["RS256", "ES256", "PS256", "EdDSA"])
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_each_algorithm_signs_what_a_library_verifies(alg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.oidc.protocol import tokens
    from services.oidc.protocol.keys import Key

    own: Any = {
        "RS256": lambda: RSAKey.generate_key(2048),
        "PS256": lambda: RSAKey.generate_key(2048),
        "ES256": lambda: ECKey.generate_key("P-256"),
        "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    }[alg]()
    monkeypatch.setattr(tokens.keys, "signing_key", lambda _: Key("a-kid", alg, "current", None, own))
    text = tokens.sign({"sub": "ann"}, alg=alg, token_type="at+jwt")
    read = jwt.decode(text, own, algorithms=[alg])
    assert read.header == {"alg": alg, "kid": "a-kid", "typ": "at+jwt"}
    assert read.claims == {"sub": "ann"}
