"""userinfo answers the bearer of a living access token of ours, and refuses everything that only looks like one."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, RSAKey
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from services.oidc.scopes import STANDARD_CLAIMS
from tests.conftest import sign_in_copy
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


def segment(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def tricks(app: Flask, token: str) -> dict[str, str]:
    """Everything people do to JWTs, made from a right one."""
    from services.oidc.protocol.keys import keys

    head, body, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    with app.app_context():
        es256, rs256 = keys.signing_key("ES256"), keys.signing_key("RS256")
    own = ECKey.generate_key("P-256")
    public_pem = es256.jwk.as_pem(private=False)

    def signed(key: Any, alg: str, **changes: Any) -> str:
        wanted = {**header, "alg": alg, **changes}
        return jwt.encode({k: v for k, v in wanted.items() if v is not None}, claims, key, algorithms=[alg])

    def hmac_signed(secret: bytes) -> str:
        # By hand: joserfc refuses to confuse the two kinds of key.
        signed_part = f"{segment({**header, 'alg': 'HS256'})}.{body}"
        return f"{signed_part}.{segment(hmac.digest(secret, signed_part.encode(), 'sha256'))}"

    def resigned(claims: dict[str, Any]) -> str:
        return jwt.encode(header, claims, es256.jwk, algorithms=["ES256"])

    found = {
        f"alg {alg!r}": f"{segment({**header, 'alg': alg})}.{body}."
        for alg in ("none", "None", "NONE", "nOnE", "")
    }
    found |= {
        "alg none with a signature": f"{segment({**header, 'alg': 'none'})}.{body}.{signature}",
        "no alg": f"{segment({'kid': header['kid'], 'typ': 'at+jwt'})}.{body}.{signature}",
        "alg of another kind": f"{segment({**header, 'alg': ['ES256']})}.{body}.{signature}",
        "a changed body": f"{head}.{segment({**claims, 'sub': 'admin'})}.{signature}",
        "no signature": f"{head}.{body}.",
        "a signature of zeros": f"{head}.{body}.{segment(bytes(64))}",
        "HMAC with our public PEM": hmac_signed(public_pem),
        "HMAC with our public JWK": hmac_signed(json.dumps(es256.jwk.as_dict(private=False)).encode()),
        "our other key and algorithm": signed(rs256.jwk, "RS256", kid=rs256.kid, typ="JWT"),
        "our other key under this kid": signed(rs256.jwk, "RS256"),
        "a stranger's key under our kid": signed(own, "ES256"),
        "a key in the header": signed(own, "ES256", jwk=own.as_dict(private=False)),
        "the address of keys": signed(own, "ES256", jku="http://127.0.0.1:1/jwks.json"),
        "the address of a certificate": signed(own, "ES256", x5u="http://127.0.0.1:1/cert.pem"),
        "a certificate": f"{segment({**header, 'x5c': ['MIIB']})}.{body}.{signature}",
        "an unknown crit": f"{segment({**header, 'crit': ['exp'], 'exp': 1})}.{body}.{signature}",
        "an unencoded payload": f"{segment({**header, 'crit': ['b64'], 'b64': False})}.{body}.{signature}",
        "an ID token's type": signed(es256.jwk, "ES256", typ="JWT"),
        "no type": signed(es256.jwk, "ES256", typ="none"),
        "wild kid: path": signed(own, "ES256", kid="../../../../etc/passwd"),
        "wild kid: SQL": signed(own, "ES256", kid="' OR 1=1 --"),
        "wild kid: object": f"{segment({**header, 'kid': {'$ne': ''}})}.{body}.{signature}",
        "wild kid: null byte": f"{segment({**header, 'kid': header['kid'] + chr(0)})}.{body}.{signature}",
        "another issuer": resigned({**claims, "iss": "https://evil.test"}),
        "another audience": resigned({**claims, "aud": "https://evil.test"}),
        "header no JSON": f"{segment(b'{')}.{body}.{signature}",
        "header a list": f"{segment([1])}.{body}.{signature}",
        "header deeply nested": f"{segment(b'[' * 700)}.{body}.{signature}",
        "body no JSON": f"{head}.{segment(b'x')}.{signature}",
        "padding": f"{head}==.{body}.{signature}",
        "five parts": jwe.encrypt_compact(
            {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
            b"x" * 1000,
            RSAKey.import_key(rs256.jwk.as_dict(private=False)),
            algorithms=["RSA-OAEP-256", "A256GCM", "DEF"],
        ),
        "two parts": f"{head}.{body}",
        "oversized": f"{head}.{'A' * 900_000}.{signature}",
        "a line break": f"{token}\n",
        "not ASCII": token[:-1] + "é",
        "empty": "",
    }
    return found


def test_no_trick_with_a_jwt_opens_anything_and_none_takes_long(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    token = client.tokens(browser)["access_token"]
    assert bearing(app, token).status_code == 200
    for name, forged in tricks(app, token).items():
        began = time.perf_counter()
        response = ask(app, method="POST", data={"access_token": forged})
        assert response.status_code in (400, 401), (name, response.status_code, response.text)
        assert client.introspect(forged).get("active", False) is False, name
        assert time.perf_counter() - began < 1, name


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
