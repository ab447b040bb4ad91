"""How clients prove themselves: in the one way they are registered for, the same at every endpoint."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from libs.people.sessions import Session
from libs.service import parts_of
from tests.oidc.relying_party import RelyingParty, basic, error_of
from tests.pages import Browser

Make = Callable[..., RelyingParty]
ENDPOINTS = ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke")
FORM = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}


def is_refused(response: TestResponse) -> bool:
    return (
        error_of(response) == (401, "invalid_client")
        and response.headers["WWW-Authenticate"].startswith('Basic realm="')
        and response.headers["Cache-Control"] == "no-store"
    )


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("secret", ["wrong", "", " ", "\x00", "ü"])
def test_a_wrong_or_empty_secret_is_refused_with_the_same_words(
    client: RelyingParty, make_client: Make, path: str, secret: str
) -> None:
    wrong = client.post(path, FORM, headers={"Authorization": basic(client.client_id, secret)})
    unknown = client.post(path, FORM, headers={"Authorization": basic("nobody", secret)})
    assert is_refused(wrong)
    assert wrong.json == unknown.json
    poster = make_client(auth_method="client_secret_post")
    assert is_refused(poster.post(path, {**FORM, "client_secret": secret}))


@pytest.mark.parametrize("path", ENDPOINTS)
def test_another_clients_secret_is_a_wrong_one(client: RelyingParty, make_client: Make, path: str) -> None:
    other = make_client()
    response = client.post(path, FORM, headers={"Authorization": basic(client.client_id, other.secret or "")})
    assert is_refused(response)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_confidential_client_with_its_id_alone_is_refused_everywhere(
    client: RelyingParty, path: str
) -> None:
    response = client.post(path, {**FORM, "client_id": client.client_id}, credentials=False)
    assert is_refused(response)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_two_methods_at_once_are_refused(client: RelyingParty, make_client: Make, path: str) -> None:
    both = {**FORM, "client_id": client.client_id, "client_secret": client.secret}
    assert is_refused(client.post(path, both))
    public = make_client(auth_method="none")
    assert is_refused(public.post(path, FORM, headers={"Authorization": basic(public.client_id, "x")}))


def test_a_client_uses_the_method_it_is_registered_for_at_the_token_endpoint(
    client: RelyingParty, make_client: Make
) -> None:
    form = {**FORM, "client_id": client.client_id, "client_secret": client.secret}
    assert is_refused(client.post("/oauth2/token", form, credentials=False))
    poster = make_client(auth_method="client_secret_post")
    header = {"Authorization": basic(poster.client_id, poster.secret or "")}
    assert is_refused(poster.post("/oauth2/token", FORM, credentials=False, headers=header))
    assert poster.post("/oauth2/token", FORM).status_code == 400


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
def test_elsewhere_its_secret_may_come_in_either_form(
    client: RelyingParty, make_client: Make, path: str
) -> None:
    form = {"token": "x", "client_id": client.client_id, "client_secret": client.secret}
    assert client.post(path, form, credentials=False).status_code == 200
    poster = make_client(auth_method="client_secret_post")
    header = {"Authorization": basic(poster.client_id, poster.secret or "")}
    assert poster.post(path, {"token": "x"}, credentials=False, headers=header).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff\xfe:x").decode(), "Bearer x", "x" * 5000],
)
def test_an_unreadable_header_is_refused(client: RelyingParty, make_client: Make, header: str) -> None:
    for one in (client, make_client(auth_method="none")):
        response = one.post(
            "/oauth2/token", {**FORM, "client_id": one.client_id}, headers={"Authorization": header}
        )
        assert is_refused(response)


def test_the_id_in_the_form_must_be_the_one_that_is_proven(client: RelyingParty, make_client: Make) -> None:
    assert is_refused(client.post("/oauth2/token", {**FORM, "client_id": make_client().client_id}))
    assert not is_refused(client.post("/oauth2/token", {**FORM, "client_id": client.client_id}))


@pytest.mark.parametrize("encode", [quote_plus, str], ids=["form-encoded", "as it is"])
def test_a_secret_with_odd_signs_works_however_it_is_sent(app: Flask, encode: Callable[[str], str]) -> None:
    from services.oidc.flows.clients import ensure_client

    secret = "a:b%20c+d/e=f&g\"'"
    with app.app_context():
        ensure_client(client_id="odd-secret", name="Odd", redirect_uris=["https://rp.test/cb"], secret=secret)
    party = RelyingParty(app=app, client_id="odd-secret", secret=secret)
    header = {"Authorization": basic("odd-secret", encode(secret))}
    assert error_of(party.post("/oauth2/token", FORM, headers=header)) == (400, "invalid_grant")


def test_a_public_client_needs_no_secret_and_may_not_introspect(
    browser: Browser, person: Session, public_client: RelyingParty
) -> None:
    tokens = public_client.tokens(browser)
    assert public_client.refresh(tokens["refresh_token"]).status_code == 200
    assert is_refused(public_client.post("/oauth2/introspect", {"token": tokens["access_token"]}))
    assert public_client.post("/oauth2/revoke", {"token": tokens["access_token"]}).status_code == 200


def test_two_secrets_hold_until_the_older_one_ends(app: Flask, client: RelyingParty) -> None:
    from datetime import timedelta

    from services.oidc.flows.clients import rotate_secret

    def works(secret: str | None) -> bool:
        response = client.post(
            "/oauth2/token", FORM, headers={"Authorization": basic(client.client_id, secret or "")}
        )
        return response.status_code != 401

    with app.app_context():
        second = rotate_secret(client.client_id)
    assert works(client.secret)
    assert works(second)
    with app.app_context():
        third = rotate_secret(client.client_id, overlap=timedelta(0))
    assert not works(client.secret)
    assert not works(second)
    assert works(third)


def test_unknown_and_known_clients_are_counted_apart(app: Flask, client: RelyingParty) -> None:
    def value(name: str, **labels: str) -> float:
        return parts_of(app).metrics.registry.get_sample_value(name, labels) or 0.0

    failed = {"grant": "refresh_token", "error": "invalid_client"}
    known, unknown = value("id_oidc_token_failed_total", **failed), value("id_oidc_unknown_client_total")
    client.post("/oauth2/token", FORM, headers={"Authorization": basic(client.client_id, "wrong")})
    client.post("/oauth2/token", FORM, headers={"Authorization": basic("nobody", "wrong")})
    assert value("id_oidc_token_failed_total", **failed) == known + 1
    assert value("id_oidc_unknown_client_total") == unknown + 1


def test_a_disabled_client_is_refused_like_an_unknown_one(app: Flask, client: RelyingParty) -> None:
    from services.oidc.flows.clients import update_client

    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    assert is_refused(client.post("/oauth2/token", FORM))


def test_a_change_to_a_client_is_seen_within_a_second(app: Flask, client: RelyingParty) -> None:
    import time

    import sqlalchemy as sa

    from services.oidc.extensions import db
    from services.oidc.models import Client

    assert not is_refused(client.post("/oauth2/token", FORM))
    with app.app_context(), db.transaction() as session:  # as another process would
        session.execute(
            sa.update(Client).where(Client.client_id == client.client_id).values(is_enabled=False)
        )
    time.sleep(1.05)
    assert is_refused(client.post("/oauth2/token", FORM))


def test_nothing_secret_is_logged(
    browser: Browser, person: Session, client: RelyingParty, log_text: Callable[[], str]
) -> None:
    code = client.code(browser)
    tokens: dict[str, Any] = client.redeem(code).json
    client.refresh(tokens["refresh_token"])
    client.post("/oauth2/token", FORM, headers={"Authorization": basic(client.client_id, "a-wrong-secret")})
    text = log_text()
    assert "token_issued" in text
    for secret in (client.secret, code, *tokens.values(), "a-wrong-secret", client.verifier, "a-nonce"):
        assert (
            str(secret) == "Bearer" or len(str(secret)) < 5 or str(secret) not in text or " " in str(secret)
        )
