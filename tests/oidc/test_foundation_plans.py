"""What the modules of the OpenID Foundation's plans send, as they send it: clients register themselves, without PKCE.

A module whose own test is elsewhere has none here: docs/specifications.md says where. What needs account or a real
browser (prompt=login, max_age=1, the end of a sign-out) is tested with them, in tests/suite and tests/browser.
"""

import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from services.oidc.protocol.discovery import metadata
from tests.conftest import sign_in_copy
from tests.oidc.registrations import manage, send
from tests.oidc.relying_party import RelyingParty, error_of, http
from tests.oidc.signing_party import ClientSite, SigningParty, hash_of, make_key, public, sign, unsigned
from tests.pages import ORIGIN, Browser

CALLBACK = "https://www.certification.test/test/a/updspace/callback"
METADATA = metadata(ORIGIN, clients_may_register=True)
pytestmark = pytest.mark.usefixtures("is_open")
Register = Callable[..., SigningParty]


@pytest.fixture
def register(app: Flask) -> Register:
    """Registers a client as the plans do."""

    def make(*, redirect_uri: str = CALLBACK, key: Any = None, **changes: Any) -> SigningParty:
        key = key or make_key("RS256")
        response = send(app, plan_metadata(key, redirect_uris=[redirect_uri], **changes))
        assert response.status_code == 201, response.text
        made = response.json
        assert made["registration_access_token"] and made["registration_client_uri"].startswith(ORIGIN)
        assert ("client_secret" in made) == (made["token_endpoint_auth_method"] != "private_key_jwt")
        return SigningParty(
            app=app,
            client_id=made["client_id"],
            secret=made.get("client_secret"),
            auth_method=made["token_endpoint_auth_method"],
            redirect_uri=redirect_uri,
            key=key,
            alg="RS256",
        )

    return make


def plan_metadata(key: Any, **changes: Any) -> dict[str, Any]:
    values = {
        "client_name": "OIDF Conformance Test " + secrets.token_hex(5),
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "contacts": ["certification@oidf.test"],
        "jwks": public(key),
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def request_of(party: RelyingParty, **changes: Any) -> dict[str, Any]:
    """The parameters of a module's request: no PKCE, the scope openid alone."""
    wishes = {
        "scope": "openid",
        "state": secrets.token_urlsafe(10),
        "nonce": secrets.token_urlsafe(10),
        "code_challenge": None,
        "code_challenge_method": None,
        **changes,
    }
    return {name: value for name, value in party.parameters(**wishes).items() if value is not None}


def callback(party: RelyingParty, browser: Browser, **changes: Any) -> dict[str, str]:
    """What comes back to the client, after consent where it is asked for; `iss` and `state` are as they must be."""
    sent = request_of(party, **changes)
    page = browser.get("/oauth2/authorize", query_string=sent)
    while page.status_code == 303 and browser.location.startswith("/oauth2/"):
        page = browser.get(browser.location)
    if page.status_code == 200:
        browser.fill(button="allow")
    assert browser.location.startswith(party.redirect_uri), (browser.status, browser.location)
    answer = dict(parse_qsl(urlsplit(browser.location).query))
    assert answer["iss"] == ORIGIN
    if "request" not in sent and "request_uri" not in sent:
        assert answer["state"] == sent["state"]
    return answer


def redeem(party: RelyingParty, answer: dict[str, str]) -> dict[str, Any]:
    response = party.redeem(answer["code"], code_verifier=None)
    assert response.status_code == 200, response.text
    return response.json


def signed_in(party: RelyingParty, browser: Browser, **changes: Any) -> dict[str, Any]:
    """The token response of a module that only wants its request to succeed; its ID token has been checked."""
    tokens = redeem(party, callback(party, browser, **changes))
    claims = id_claims(party, tokens)
    assert claims["iss"] == ORIGIN and claims["aud"] == party.client_id
    assert abs(claims["iat"] - time.time()) < 60 < claims["exp"] - claims["iat"]
    assert party.userinfo(tokens["access_token"]).json["sub"] == claims["sub"]
    return tokens


def id_claims(party: RelyingParty, tokens: dict[str, Any]) -> dict[str, Any]:
    keys = KeySet.import_key_set(http(party.app).get("/.well-known/jwks.json", base_url=ORIGIN).json)
    read = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"])
    assert read.header["alg"] == "RS256" and read.header["kid"]
    return dict(read.claims)


# -- Basic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_oidcc_server_by_each_method(
    browser: Browser, person: Session, register: Register, method: str
) -> None:
    assert signed_in(register(token_endpoint_auth_method=method), browser)


@pytest.mark.parametrize(
    "more",
    [
        {"display": "page"},
        {"display": "popup"},
        {"ui_locales": "se"},
        {"claims_locales": "se"},
        {"login_hint": "buffy@localhost"},
        {"acr_values": " ".join(METADATA["acr_values_supported"])},
        {"extra": "foobar"},
        {"nonce": None},
        {"max_age": "10000"},
        {"scope": "email openid"},
        {"claims": json.dumps({"userinfo": {"name": {"essential": True}}})},
    ],
    ids=lambda more: next(iter(more)),
)
def test_requests_that_must_succeed(
    browser: Browser, person: Session, register: Register, more: dict[str, Any]
) -> None:
    party = register()
    tokens = signed_in(party, browser, **more)
    claims = id_claims(party, tokens)
    if "max_age" in more:
        assert claims["auth_time"] == person.auth_time
    if "claims" in more:
        assert party.userinfo(tokens["access_token"]).json["name"] == "Test Person"
        assert "name" not in claims
    if "acr_values" in more:
        assert claims["acr"] in METADATA["acr_values_supported"]


def test_oidcc_response_type_missing(browser: Browser, person: Session, register: Register) -> None:
    answer = callback(register(), browser, response_type=None)
    assert answer["error"] == "invalid_request"
    assert set(answer) <= {"error", "error_description", "state", "iss"}


def test_oidcc_ensure_registered_redirect_uri(browser: Browser, person: Session, register: Register) -> None:
    sent = request_of(register(), redirect_uri=CALLBACK + secrets.token_hex(4))
    page = browser.get("/oauth2/authorize", query_string=sent)
    assert page.status_code == 400
    assert 'id="error"' in page.text and "Invalid request" in page.text


def test_oidcc_ensure_post_request_succeeds(browser: Browser, person: Session, register: Register) -> None:
    party = register()
    sent = request_of(party)
    browser.post("/oauth2/authorize", sent, headers={"Origin": "https://www.certification.test"}, follow=True)
    browser.fill(button="allow")
    assert dict(parse_qsl(urlsplit(browser.location).query))["state"] == sent["state"]


def test_oidcc_prompt_none_and_id_token_hint(
    app: Flask, browser: Browser, person: Session, register: Register
) -> None:
    party = register()
    first = signed_in(party, browser)
    for more in ({}, {"id_token_hint": first["id_token"]}):
        again = id_claims(party, signed_in(party, browser, prompt="none", **more))
        assert again["sub"] == person.sub
        assert again["auth_time"] == person.auth_time
    answer = callback(party, Browser(app), prompt="none")
    assert answer["error"] in ("login_required", "interaction_required")
    sign_in_copy(browser, app)
    answer = callback(party, browser, prompt="none", id_token_hint=first["id_token"])
    assert answer["error"] == "login_required", "somebody else is signed in now"


def test_oidcc_codereuse(browser: Browser, person: Session, register: Register) -> None:
    party = register()
    answer = callback(party, browser)
    tokens = redeem(party, answer)
    again = party.redeem(answer["code"], code_verifier=None)
    assert error_of(again) == (400, "invalid_grant")
    assert again.mimetype == "application/json"
    assert party.userinfo(tokens["access_token"]).status_code == 401


def test_oidcc_ensure_request_with_valid_pkce_succeeds(
    browser: Browser, person: Session, register: Register
) -> None:
    party = register()
    code = party.code(browser, scope="openid")
    assert party.redeem(code).status_code == 200


def test_oidcc_refresh_token(browser: Browser, person: Session, register: Register) -> None:
    grants = ["authorization_code", "refresh_token"]
    party, other = register(grant_types=grants), register(grant_types=grants)
    wishes = {"scope": "openid offline_access", "prompt": "consent"}
    first, theirs = signed_in(party, browser, **wishes), signed_in(other, browser, **wishes)
    refreshed = party.refresh(first["refresh_token"], scope=wishes["scope"])
    assert refreshed.status_code == 200
    assert refreshed.headers["Cache-Control"] == "no-store"
    before, after = id_claims(party, first), id_claims(party, refreshed.json)
    assert {name: before[name] for name in ("iss", "sub", "aud", "auth_time")} == {
        name: after[name] for name in ("iss", "sub", "aud", "auth_time")
    }
    assert error_of(party.refresh(theirs["refresh_token"])) == (400, "invalid_grant")
    assert other.refresh(theirs["refresh_token"]).status_code == 200, "a stranger's try cost it nothing"


# -- request objects, which the plans send unsigned to a client that named no algorithm -------------------------------


def by_value(party: RelyingParty, **outside: Any) -> dict[str, Any]:
    """An object of the whole request, and beside it what OAuth itself demands."""
    inside = request_of(party)
    return {"request": unsigned(inside), "state": None, "nonce": None, **outside}


def test_oidcc_unsigned_request_object(browser: Browser, person: Session, register: Register) -> None:
    party = register()
    assert redeem(party, callback(party, browser, **by_value(party)))["id_token"]


def test_oidcc_ensure_request_object_with_redirect_uri(
    browser: Browser, person: Session, register: Register
) -> None:
    party = register()
    outside = by_value(party, redirect_uri=CALLBACK + "/invalid")
    assert redeem(party, callback(party, browser, **outside))["id_token"]


@pytest.mark.parametrize("alg", [None, "RS256"], ids=["unsigned", "signed"])
def test_oidcc_request_uri(
    browser: Browser, person: Session, register: Register, site: ClientSite, alg: str | None
) -> None:
    """Its fragment is the hash of something random: the address is registered before anything stands there."""
    uri = site.url("/requesturi/" + secrets.token_hex(32)) + "#" + hash_of(secrets.token_hex(32))
    party = register(request_uris=[uri], request_object_signing_alg=alg)
    inside = {**request_of(party), "aud": ORIGIN, "iss": party.client_id}
    site.show(urlsplit(uri).path, sign(inside, party.key, alg=alg) if alg else unsigned(request_of(party)))
    answer = callback(party, browser, request_uri=uri, state=None, nonce=None)
    assert redeem(party, answer)["id_token"]


# -- Dynamic, third-party-initiated login -------------------------------------------------------------------------


def refused(response: TestResponse, *errors: str) -> bool:
    return (
        response.status_code == 400
        and response.mimetype == "application/json"
        and response.json["error"] in errors
    )


def test_oidcc_userinfo_rs256(browser: Browser, person: Session, register: Register) -> None:
    party = register(userinfo_signed_response_alg="RS256")
    tokens = redeem(party, callback(party, browser))
    answer = party.userinfo(tokens["access_token"])
    assert answer.mimetype == "application/jwt"
    claims = id_claims(party, {"id_token": answer.text})
    assert claims["sub"] == id_claims(party, tokens)["sub"]
    assert "nonce" not in claims


def test_oidcc_redirect_uri_query(browser: Browser, person: Session, register: Register, app: Flask) -> None:
    with_query = CALLBACK + "?foo=bar"
    party = register(redirect_uri=with_query)
    answer = callback(party, browser)
    assert answer.pop("foo") == "bar"
    assert redeem(party, answer)["id_token"]
    for wrong in (CALLBACK, CALLBACK + "?foo=baz", with_query + "&more=1", None):
        sent = request_of(party, redirect_uri=wrong)
        assert 'id="error"' in browser.get("/oauth2/authorize", query_string=sent).text, wrong
    fragment = plan_metadata(make_key(), redirect_uris=[CALLBACK + "#foobar"])
    assert refused(send(app, fragment), "invalid_redirect_uri")


def test_oidcc_registration_sector(app: Flask, register: Register, site: ClientSite) -> None:
    site.answers |= {"/good.json": [CALLBACK], "/bad.json": ["https://bad.test/"]}
    pairwise = {"subject_type": "pairwise", "sector_identifier_uri": site.url("/good.json")}
    assert register(**pairwise)
    pairwise["sector_identifier_uri"] = site.url("/bad.json")
    bad = plan_metadata(make_key(), redirect_uris=[CALLBACK], **pairwise)
    assert refused(send(app, bad), "invalid_client_metadata")


def test_oidcc_refresh_token_rp_key_rotation(
    browser: Browser, person: Session, register: Register, site: ClientSite
) -> None:
    key = make_key("RS256", "first")
    uri = site.show("/client1_jwks", public(key))
    party = register(
        key=key,
        jwks=None,
        jwks_uri=uri,
        token_endpoint_auth_method="private_key_jwt",
        grant_types=["authorization_code", "refresh_token"],
    )
    tokens = signed_in(party, browser, scope="openid offline_access", prompt="consent")
    party.key = make_key("RS256", "second")
    site.show("/client1_jwks", public(party.key))
    assert party.refresh(tokens["refresh_token"]).status_code == 200


def test_oidcc_3rd_party_init_login(app: Flask) -> None:
    uri = "https://www.certification.test/initiate"
    wishes = plan_metadata(make_key(), redirect_uris=[CALLBACK], initiate_login_uri=uri)
    made = send(app, wishes).json
    assert made["initiate_login_uri"] == uri
    assert manage(app, made).json["initiate_login_uri"] == uri
    plain = {**wishes, "initiate_login_uri": uri.replace("https", "http")}
    assert refused(send(app, plain), "invalid_client_metadata")
    assert manage(app, made, "DELETE").status_code == 204


# -- Config ------------------------------------------------------------------------------------------------------


def test_oidcc_discovery_endpoint_verification(app: Flask) -> None:
    answer = http(app).get("/.well-known/openid-configuration", base_url=ORIGIN)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    found = answer.json
    assert found["issuer"] == ORIGIN
    assert all(found[name].startswith(ORIGIN + "/") for name in found if name.endswith("_endpoint"))
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    assert "RS256" in found["userinfo_signing_alg_values_supported"]
    assert "RS256" in found["request_object_signing_alg_values_supported"]
    assert {"public", "pairwise"} == set(found["subject_types_supported"])
    assert found["request_parameter_supported"] and found["request_uri_parameter_supported"]
    assert found["claims_parameter_supported"]
    assert {"openid", "profile", "email", "address", "phone"} <= set(found["scopes_supported"])
    assert {"sub", "name", "email", "phone_number", "address"} <= set(found["claims_supported"])
    assert {"authorization_code", "refresh_token"} <= set(found["grant_types_supported"])
    methods = {"client_secret_basic", "client_secret_post", "private_key_jwt"}
    assert methods <= set(found["token_endpoint_auth_methods_supported"])
    assert {"S256"} == set(found["code_challenge_methods_supported"])
    keys = http(app).get("/.well-known/jwks.json", base_url=ORIGIN).json["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    assert not any("d" in key or "k" in key for key in keys)
