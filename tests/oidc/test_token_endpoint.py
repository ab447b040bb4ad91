"""The token endpoint reads one form by POST, says what is wrong in RFC 6749's words, and counts."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import RelyingParty, basic, error_of, http
from tests.pages import ORIGIN, Browser


def test_get_is_refused(app: Flask, client: RelyingParty) -> None:
    query = urlencode({"grant_type": "refresh_token", "refresh_token": "x", "client_id": client.client_id})
    assert http(app).get(f"/oauth2/token?{query}", base_url=ORIGIN).status_code == 405


@pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_refused_in_json(app: Flask, path: str, method: str) -> None:
    response = http(app).open(path, method=method, base_url=ORIGIN, headers={"Accept": "text/html"})
    assert error_of(response) == (405, "invalid_request")
    assert response.headers["Allow"] == "POST"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/userinfo"]
)
def test_a_body_that_is_too_long_is_the_senders_fault(app: Flask, path: str) -> None:
    response = http(app).post(path, base_url=ORIGIN, data={"token": "x" * 3_000_000})
    assert error_of(response) == (413, "invalid_request")


def test_parameters_in_the_query_are_refused(browser: Browser, person: Session, client: RelyingParty) -> None:
    code = client.code(browser)
    form = {"grant_type": "authorization_code", "redirect_uri": client.redirect_uri}
    query = urlencode({"code": code, "code_verifier": client.verifier})
    response = client.post(f"/oauth2/token?{query}", form)
    assert error_of(response) == (400, "invalid_request")
    assert response.headers["Cache-Control"] == "no-store"
    assert client.redeem(code).status_code == 200, "nothing was spent"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
def test_another_content_type_is_refused(app: Flask, client: RelyingParty, kind: str) -> None:
    response = http(app).post(
        "/oauth2/token",
        base_url=ORIGIN,
        data='{"grant_type": "refresh_token", "refresh_token": "x"}',
        content_type=kind,
        headers={"Authorization": basic(client.client_id, client.secret or "")},
    )
    assert error_of(response) == (400, "invalid_request")


@pytest.mark.parametrize(
    "name", ["grant_type", "code", "redirect_uri", "code_verifier", "client_id", "whatever"]
)
def test_a_parameter_sent_twice_is_refused(
    browser: Browser, person: Session, client: RelyingParty, name: str
) -> None:
    code = client.code(browser)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
        "client_id": client.client_id,
    }
    form[name] = [form.get(name, "x")] * 2  # type: ignore[assignment]
    assert error_of(client.post("/oauth2/token", form)) == (400, "invalid_request")
    assert client.redeem(code).status_code == 200, "nothing was spent"


@pytest.mark.parametrize(
    ("grant_type", "error"),
    [
        (None, "invalid_request"),
        ("", "invalid_request"),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
        ("client_credentials", "unauthorized_client"),
        ('<script>"', "unsupported_grant_type"),
    ],
)
def test_a_grant_type_we_do_not_have(client: RelyingParty, grant_type: str | None, error: str) -> None:
    form = {"username": "ann", "password": "secret", "grant_type": grant_type}
    response = client.post(
        "/oauth2/token", {name: value for name, value in form.items() if value is not None}
    )
    assert error_of(response) == (400, error)
    assert "<script" not in response.text


def test_a_grant_the_client_is_not_registered_for(make_client: Callable[..., RelyingParty]) -> None:
    client = make_client(grants=["authorization_code"])
    assert error_of(client.refresh("x")) == (400, "unauthorized_client")


@pytest.mark.parametrize("form", [{"grant_type": "authorization_code"}, {"grant_type": "refresh_token"}])
def test_a_missing_parameter_is_named(client: RelyingParty, form: dict[str, str]) -> None:
    assert error_of(client.post("/oauth2/token", form)) == (400, "invalid_request")


def test_without_the_refresh_grant_there_is_no_refresh_token(
    browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(grants=["authorization_code"])
    tokens = client.tokens(browser, scope="openid offline_access")
    assert "refresh_token" not in tokens
    assert tokens["scope"] == "openid", "offline_access means nothing without it"


def test_issued_and_failed_are_counted_by_grant(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    def value(name: str, **labels: str) -> float:
        found = parts_of(app).metrics.registry.get_sample_value(name, labels)
        assert found is not None, "series start at 0"
        return found

    def counts() -> list[float]:
        return [
            value("id_oidc_token_issued_total", grant="authorization_code"),
            value("id_oidc_token_issued_total", grant="refresh_token"),
            value("id_oidc_token_failed_total", grant="authorization_code", error="invalid_grant"),
        ]

    before = counts()
    tokens: dict[str, Any] = client.tokens(browser)
    client.refresh(tokens["refresh_token"])
    client.redeem("nonsense")
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 1, 1]


def test_no_answer_of_these_endpoints_is_ever_stored(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    asked = {"token": tokens["access_token"]}
    answers = [
        client.refresh(tokens["refresh_token"]),
        client.refresh("nonsense"),
        client.post("/oauth2/token", {}, headers={"Authorization": "Basic nonsense"}),
        http(app).get("/oauth2/token", base_url=ORIGIN),
        client.post("/oauth2/par", client.parameters()),
        client.post("/oauth2/par", client.parameters(response_type="token")),
        client.post("/oauth2/introspect", asked),
        client.post("/oauth2/introspect", asked, headers={"Authorization": "Basic nonsense"}),
        client.userinfo(tokens["access_token"]),
        client.userinfo("nonsense"),
        client.post("/oauth2/device_authorization", {"scope": "openid"}),
        client.post("/oauth2/revoke", asked),
    ]
    assert {answer.status_code for answer in answers} >= {200, 201, 400, 401, 405}
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *(
            (f"/oauth2/{name}", "PUT")
            for name in ("token", "introspect", "revoke", "par", "userinfo", "register")
        ),
        ("/oauth2/device_authorization", "GET"),
        ("/oauth2/register/some-client", "PATCH"),
        ("/oauth2/userinfo", "DELETE"),
    ],
)
def test_other_methods_are_refused_in_json_everywhere(app: Flask, path: str, method: str) -> None:
    answer = http(app).open(path, base_url=ORIGIN, method=method)
    assert answer.status_code == 405
    assert answer.json["error"] == "invalid_request"
    assert method not in answer.headers["Allow"]
    assert answer.headers["Cache-Control"] == "no-store"
