"""Clients register themselves: what they may say, and what is refused (RFC 7591, OpenID Connect Registration)."""

import json
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import ECKey, RSAKey

from libs.people.sessions import Session
from tests.conftest import run_command
from tests.oidc.registrations import PATH, URI, party_of, register, send, settings
from tests.oidc.relying_party import http
from tests.oidc.signing_party import ClientSite
from tests.pages import ORIGIN, Browser


@pytest.mark.usefixtures("is_open")
def test_what_is_left_out_is_as_the_specifications_have_it(app: Flask) -> None:
    response = send(app, {"redirect_uris": [URI]})
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    made = response.json
    assert made["grant_types"] == ["authorization_code"]
    assert made["response_types"] == ["code"]
    assert made["token_endpoint_auth_method"] == "client_secret_basic"
    assert made["application_type"] == "web"
    assert made["id_token_signed_response_alg"] == "RS256"
    assert made["subject_type"] == "public"
    assert made["scope"] == "openid profile email phone address"
    assert made["client_secret_expires_at"] == 0
    assert made["client_name"] == "app.test"
    assert made["registration_client_uri"] == f"{ORIGIN}{PATH}/{made['client_id']}"
    assert abs(made["client_id_issued_at"] - __import__("time").time()) < 60


@pytest.mark.usefixtures("is_open")
def test_a_registered_client_signs_people_in_with_and_without_pkce(
    app: Flask, browser: Browser, person: Session
) -> None:
    made = register(app, grant_types=["authorization_code", "refresh_token"])
    party = party_of(app, made)
    assert party.tokens(browser)["refresh_token"]
    code = party.code(browser, code_challenge=None, code_challenge_method=None)
    assert party.redeem(code, code_verifier=None).status_code == 200
    assert settings(app, made)["require_pkce"] is False
    assert "PKCE is not required" in run_command(app, "clients", "check", made["client_id"]).output


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    "metadata",
    [
        {"token_endpoint_auth_method": "none"},
        {"application_type": "native", "redirect_uris": ["com.example.app:/cb", "http://127.0.0.1/cb"]},
    ],
    ids=["public", "native"],
)
def test_public_and_native_clients_always_use_pkce(app: Flask, metadata: dict[str, Any]) -> None:
    made = register(app, **metadata)
    assert settings(app, made)["require_pkce"] is True
    assert ("client_secret" in made) is ("token_endpoint_auth_method" not in metadata)
    assert ("client_secret_expires_at" in made) is ("client_secret" in made)


@pytest.mark.usefixtures("is_open")
def test_everything_that_is_registered_is_echoed(app: Flask, site: ClientSite) -> None:
    site.answers["/sector"] = [URI + "?query=kept", "https://other.test/cb"]
    key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}).as_dict(private=False)
    said = {
        "redirect_uris": [URI + "?query=kept", "https://other.test/cb"],
        "post_logout_redirect_uris": ["https://app.test/bye"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "RS256",
        "scope": "openid email offline_access",
        "client_name": "<b>App</b>",
        "client_uri": "https://app.test/",
        "logo_uri": "https://app.test/logo.png",
        "policy_uri": "https://app.test/policy",
        "tos_uri": "https://app.test/tos",
        "contacts": ["ops@app.test"],
        "jwks": {"keys": [key]},
        "software_id": "app",
        "software_version": "1.0",
        "application_type": "web",
        "subject_type": "pairwise",
        "sector_identifier_uri": site.url("/sector"),
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "request_object_signing_alg": "none",
        "request_uris": ["https://app.test/request.jwt#" + "a" * 43],
        "require_signed_request_object": False,
        "require_pushed_authorization_requests": True,
        "default_max_age": 3600,
        "require_auth_time": True,
        "default_acr_values": ["2", "1"],
        "initiate_login_uri": "https://app.test/login",
        "backchannel_logout_uri": "https://app.test/back",
        "backchannel_logout_session_required": True,
        "frontchannel_logout_uri": "https://app.test/front",
        "frontchannel_logout_session_required": True,
    }
    made = send(app, said).json
    assert {name: made.get(name) for name in said} == said
    assert "client_secret" not in made
    assert "client_secret_expires_at" not in made


@pytest.mark.usefixtures("is_open")
def test_jwks_uri_is_taken_and_not_asked_at_registration(app: Flask, site: ClientSite) -> None:
    made = register(app, token_endpoint_auth_method="private_key_jwt", jwks_uri=site.url("/jwks"))
    assert made["jwks_uri"] == site.url("/jwks")
    assert site.asked == []


@pytest.mark.usefixtures("is_open")
def test_what_is_unknown_or_only_staffs_is_passed_over(app: Flask) -> None:
    made = register(
        app,
        is_first_party=True,
        require_pkce=False,
        is_enabled=False,
        allowed_roles=["admin"],
        access_token_format="opaque",
        claims_mapping={"groups": "roles"},
        client_id="chosen",
        client_secret="chosen",
        registration_access_token="chosen",
        version=7,
        default_acr_values=["urn:unknown", "2"],
        **{"client_name#ru": "Приложение", "id_token_encrypted_response_alg": "RSA-OAEP"},
    )
    found = settings(app, made)
    assert found["is_first_party"] is False
    assert found["is_enabled"] is True
    assert found["allowed_roles"] == []
    assert found["access_token_format"] == "jwt"
    assert found["claims_mapping"] == {}
    assert made["default_acr_values"] == ["2"]
    assert "chosen" not in json.dumps(made)
    assert not {"is_first_party", "id_token_encrypted_response_alg", "client_name#ru"} & set(made)


@pytest.mark.usefixtures("is_open")
def test_no_privileged_setting_has_a_name_in_metadata() -> None:
    from services.oidc.flows.clients import SETTINGS

    assert [setting.name for setting in SETTINGS if setting.is_privileged and setting.metadata] == []


SYMMETRIC = {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}
PRIVATE = {"keys": [ECKey.generate_key("P-256").as_dict(private=True)]}


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": URI}, "invalid_redirect_uri"),
        ({"redirect_uris": [7]}, "invalid_redirect_uri"),
        ({"redirect_uris": [URI + "#fragment"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [URI + "#"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["com.example.app:/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://[::1/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [URI + "\u0000"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.test/" + "a" * 3000]}, "invalid_redirect_uri"),
        ({"redirect_uris": [f"https://app.test/{n}" for n in range(101)]}, "invalid_redirect_uri"),
        ({"response_types": ["code id_token"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"response_types": ["code", "id_token"]}, "invalid_client_metadata"),
        ({"response_types": "code"}, "invalid_client_metadata"),
        ({"response_types": []}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"grant_types": "authorization_code"}, "invalid_client_metadata"),
        ({"grant_types": ["refresh_token"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": ["none"]}, "invalid_client_metadata"),
        ({"id_token_signed_response_alg": "none"}, "invalid_client_metadata"),
        ({"id_token_signed_response_alg": "HS256"}, "invalid_client_metadata"),
        ({"userinfo_signed_response_alg": "none"}, "invalid_client_metadata"),
        ({"request_object_signing_alg": "HS256"}, "invalid_client_metadata"),
        ({"scope": "openid users:write"}, "invalid_client_metadata"),
        ({"scope": "openid me"}, "invalid_client_metadata"),
        ({"scope": "openid root"}, "invalid_client_metadata"),
        ({"client_name": "a\nb"}, "invalid_client_metadata"),
        ({"client_name": "a\ud800"}, "invalid_client_metadata"),
        ({"client_name": "a" * 201}, "invalid_client_metadata"),
        ({"client_name": 7}, "invalid_client_metadata"),
        ({"logo_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
        ({"tos_uri": "data:text/html,x"}, "invalid_client_metadata"),
        ({"initiate_login_uri": "http://localhost/login"}, "invalid_client_metadata"),
        ({"default_max_age": "3600"}, "invalid_client_metadata"),
        ({"default_max_age": -1}, "invalid_client_metadata"),
        ({"default_max_age": 10**30}, "invalid_client_metadata"),
        ({"require_auth_time": "true"}, "invalid_client_metadata"),
        ({"contacts": "ops@app.test"}, "invalid_client_metadata"),
        ({"subject_type": "secret"}, "invalid_client_metadata"),
        ({"subject_type": "pairwise", "redirect_uris": [URI, "https://b.test/"]}, "invalid_client_metadata"),
        ({"jwks": SYMMETRIC}, "invalid_client_metadata"),
        ({"jwks": PRIVATE}, "invalid_client_metadata"),
        ({"jwks": {"keys": []}}, "invalid_client_metadata"),
        ({"jwks": {"keys": [{"kty": "EC", "x": "\u0000"}]}}, "invalid_client_metadata"),
        ({"jwks": "{}"}, "invalid_client_metadata"),
        ({"jwks_uri": "http://app.example/jwks"}, "invalid_client_metadata"),
        ({"jwks_uri": URI, "jwks": {"keys": []}}, "invalid_client_metadata"),
        ({"frontchannel_logout_uri": "https://elsewhere.test/"}, "invalid_client_metadata"),
        ({"software_statement": "no jwt"}, "invalid_software_statement"),
        ({"software_statement": "a.b.c"}, "unapproved_software_statement"),
    ],
    # The private key is another one in each process of a run.
    ids=lambda value: "a private key" if value == {"jwks": PRIVATE} else str(value)[:70],
)
def test_what_cannot_be_is_refused_in_the_words_of_the_specification(
    app: Flask, metadata: dict[str, Any], error: str
) -> None:
    response = send(app, {"redirect_uris": [URI], "client_name": "App", **metadata})
    assert response.status_code == 400, response.text
    assert response.json["error"] == error
    words = response.json["error_description"]
    assert all(" " <= sign <= "~" and sign not in '"\\' for sign in words)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    ("document", "status"),
    [(["https://elsewhere.test/"], 400), ("no list", 400), (404, 400), ([URI, "https://b.test/"], 201)],
    ids=str,
)
def test_a_sector_identifier_is_asked(app: Flask, site: ClientSite, document: Any, status: int) -> None:
    site.answers["/sector"] = document
    said = {"redirect_uris": [URI, "https://b.test/"], "sector_identifier_uri": site.url("/sector")}
    response = send(app, {**said, "subject_type": "pairwise"})
    assert response.status_code == status
    if status == 400:
        assert response.json["error"] == "invalid_client_metadata"
        assert "sector_identifier_uri" in response.json["error_description"]


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (
            b'{"redirect_uris": ["https://a.test/"], "redirect_uris": ["https://b.test/"]}',
            "application/json",
            400,
        ),
        (b'{"redirect_uris": ["https://a.test/"], "default_max_age": NaN}', "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"redirect_uris": ["https://a.test/"]}', "text/plain", 400),
        (b"redirect_uris=https://a.test/", "application/x-www-form-urlencoded", 400),
        (b'{"client_name": "' + b"a" * 70_000 + b'"}', "application/json", 413),
        (b"", "application/json", 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_only_a_bounded_object_of_json_is_read(
    app: Flask, body: bytes, content_type: str, status: int
) -> None:
    response = http(app).post(PATH, base_url=ORIGIN, data=body, content_type=content_type)
    assert response.status_code == status
    assert response.json["error"] == "invalid_request"


@pytest.mark.usefixtures("is_open")
def test_a_name_is_shown_escaped_where_people_are_asked(
    app: Flask, browser: Browser, person: Session
) -> None:
    made = register(app, client_name="<script>alert(1)</script>")
    page = party_of(app, made).ask(browser)
    assert 'id="allow"' in page.text
    assert "<script>alert(1)" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
