"""Clients manage their registration (RFC 7592): read, replaced, ended, each with its own token alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.people.sessions import Session
from tests.conftest import run_command
from tests.oidc.registrations import PATH, URI, initial_token, manage, party_of, put, register, settings
from tests.oidc.relying_party import RelyingParty
from tests.pages import ORIGIN, Browser


@pytest.fixture
def made(app: Flask, is_open: None) -> dict[str, Any]:
    """A client that has registered itself."""
    return register(
        app, grant_types=["authorization_code", "refresh_token"], logo_uri="https://app.test/l.png"
    )


def test_a_client_reads_what_it_is_registered_with(app: Flask, made: dict[str, Any]) -> None:
    response = manage(app, made)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == {name: value for name, value in made.items() if name != "client_secret"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_its_own_token_opens_a_registration(app: Flask, made: dict[str, Any], method: str) -> None:
    other = register(app)
    for token in (None, "", "wrong", made["client_secret"], other["registration_access_token"]):
        response = manage(app, made, method, token=token, json={})
        assert (response.status_code, response.json["error"]) == (401, "invalid_token")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    for client_id in ("nobody", "a%20b", "x" * 300):
        nowhere = {**made, "registration_client_uri": f"{ORIGIN}{PATH}/{client_id}"}
        assert manage(app, nowhere, method, json={}).status_code == 401


def test_a_client_that_was_made_by_staff_manages_nothing(app: Flask, client: RelyingParty) -> None:
    there = {
        "registration_client_uri": f"{ORIGIN}{PATH}/{client.client_id}",
        "registration_access_token": "None",
    }
    for token in ("", "None", client.secret):
        assert manage(app, there, token=token).status_code == 401


def test_an_update_replaces_everything_that_was_said(app: Flask, made: dict[str, Any]) -> None:
    response = put(app, made, client_name="Renamed", redirect_uris=[URI, URI + "2"])
    assert response.status_code == 200, response.text
    changed = response.json
    assert changed["client_name"] == "Renamed"
    assert changed["redirect_uris"] == [URI, URI + "2"]
    assert "logo_uri" not in changed, "left out is taken away"
    assert changed["grant_types"] == ["authorization_code"]
    assert changed["registration_access_token"] == made["registration_access_token"]
    assert manage(app, made).json == changed
    target = f"client:{made['client_id']}"
    entries = json.loads(run_command(app, "audit", "list", "--target", target, "--json").output)
    assert (entries[0]["action"], entries[0]["actor"]) == ("client.updated", target)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "left out"},
        {"client_id": "another"},
        {"client_secret": "wrong"},
        {"client_secret": 7},
        {"registration_access_token": "x"},
        {"registration_client_uri": "https://x.test/"},
        {"client_secret_expires_at": 0},
        {"client_id_issued_at": 0},
        {"redirect_uris": "left out"},
        {"id_token_signed_response_alg": "none"},
        {"software_statement": "a.b.c"},
    ],
    ids=str,
)
def test_an_update_that_may_not_be_changes_nothing(
    app: Flask, made: dict[str, Any], wrong: dict[str, Any]
) -> None:
    assert put(app, made, client_name="Renamed", **wrong).status_code == 400
    assert manage(app, made).json["client_name"] == "App"


def test_the_secret_may_be_repeated_in_an_update(app: Flask, made: dict[str, Any]) -> None:
    response = put(app, made, client_secret=made["client_secret"])
    assert response.status_code == 200
    assert "client_secret" not in response.json


def test_an_update_never_touches_what_staff_chose(app: Flask, made: dict[str, Any]) -> None:
    chosen = ("--pkce", "--first-party", "--allowed-role", "support", "--access-token-format", "opaque")
    assert run_command(app, "clients", "update", made["client_id"], *chosen).exit_code == 0
    assert put(app, made, require_pkce=False, is_first_party=False, allowed_roles=[]).status_code == 200
    found = settings(app, made)
    assert found["require_pkce"] is True
    assert found["is_first_party"] is True
    assert found["allowed_roles"] == ["support"]
    assert found["access_token_format"] == "opaque"


def test_an_update_makes_a_client_public_and_confidential_again(
    app: Flask, browser: Browser, person: Session, made: dict[str, Any]
) -> None:
    public = put(app, made, token_endpoint_auth_method="none")
    assert public.status_code == 200
    assert settings(app, made)["require_pkce"] is True
    assert "client_secret_expires_at" not in public.json
    again = put(app, made).json
    assert again["client_secret"] != made["client_secret"]
    assert again["client_secret_expires_at"] == 0
    party = party_of(app, again)
    assert party.tokens(browser)["token_type"] == "Bearer"
    party.secret = made["client_secret"]
    assert party.refresh("x").status_code == 401


def test_keys_that_change_are_seen_within_a_second(app: Flask, made: dict[str, Any]) -> None:
    from services.oidc.flows.clients.registered import find_client

    with app.app_context():
        found = find_client(made["client_id"])
        assert found is not None and found.jwks_uri is None
        assert put(app, made, jwks_uri="https://app.test/jwks").status_code == 200
        found = find_client(made["client_id"])
        assert found is not None and found.jwks_uri == "https://app.test/jwks"


def test_a_client_ends_itself_with_everything(
    app: Flask, browser: Browser, person: Session, made: dict[str, Any]
) -> None:
    party = party_of(app, made)
    tokens = party.tokens(browser)
    response = manage(app, made, "DELETE")
    assert (response.status_code, response.data) == (204, b"")
    assert manage(app, made).status_code == 401
    assert manage(app, made, "DELETE").status_code == 401
    assert party.userinfo(tokens["access_token"]).status_code == 401
    assert party.refresh(tokens["refresh_token"]).status_code == 401
    assert party.send(browser).status_code == 400


def test_staff_switch_a_client_off_and_it_cannot_help_itself(app: Flask, made: dict[str, Any]) -> None:
    assert run_command(app, "clients", "update", made["client_id"], "--disable").exit_code == 0
    for method in ("GET", "PUT", "DELETE"):
        response = manage(app, made, method, json={"client_id": made["client_id"], "redirect_uris": [URI]})
        assert (response.status_code, response.json["error"]) == (403, "access_denied")
    assert settings(app, made)["is_enabled"] is False


def test_a_registration_that_nobody_uses_is_noted(app: Flask, made: dict[str, Any]) -> None:
    from datetime import timedelta

    from libs.database import utcnow
    from services.oidc.extensions import db
    from services.oidc.models import Client

    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.update(Client)
            .where(Client.client_id == made["client_id"])
            .values(created_at=utcnow() - timedelta(days=60))
        )
    assert "nobody signs in to it" in run_command(app, "clients", "check", made["client_id"]).output


def test_no_token_or_secret_is_logged(app: Flask, is_open: None, log_text: Callable[[], str]) -> None:
    token = initial_token(app)["token"]
    made = register(app, token=token)
    put(app, made, client_secret=made["client_secret"])
    manage(app, made, token="a-wrong-token-4711")
    manage(app, made, "DELETE")
    text = log_text()
    assert "client_registered" in text
    for secret in (token, made["client_secret"], made["registration_access_token"], "a-wrong-token-4711"):
        assert secret not in text
