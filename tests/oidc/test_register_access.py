"""Who may register a client: nobody, whoever has a token, or everybody; and what a token is worth."""

import json
import threading
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import run_command
from tests.oidc.registrations import PATH, URI, initial_token, manage, register, send
from tests.oidc.relying_party import http
from tests.pages import ORIGIN

Change = Callable[..., None]


def test_closed_means_closed_and_metadata_says_so(app: Flask, with_settings: Change) -> None:
    token = initial_token(app)["token"]
    discovery = "/.well-known/openid-configuration"
    assert http(app).get(discovery, base_url=ORIGIN).json["registration_endpoint"] == ORIGIN + PATH
    with_settings(REGISTRATION="closed")
    assert "registration_endpoint" not in http(app).get(discovery, base_url=ORIGIN).json
    response = send(app, {"redirect_uris": [URI]}, token=token)
    assert (response.status_code, response.json["error"]) == (403, "access_denied")


def test_without_a_token_nobody_registers(app: Flask) -> None:
    response = send(app, {"redirect_uris": [URI]})
    assert (response.status_code, response.json["error"]) == (401, "invalid_token")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="registration"'
    for token in ("wrong", "", "a" * 5000):
        response = send(app, {"redirect_uris": [URI]}, token=token)
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.usefixtures("is_open")
def test_a_wrong_token_is_refused_where_none_is_needed_too(app: Flask) -> None:
    assert send(app, {"redirect_uris": [URI]}, token="wrong").status_code == 401


def test_a_token_registers_as_many_clients_as_it_says(app: Flask) -> None:
    made = initial_token(app, "--uses", "2")
    assert send(app, {"redirect_uris": ["javascript:"]}, token=made["token"]).status_code == 400
    register(app, token=made["token"])
    client = register(app, token=made["token"])
    assert send(app, {"redirect_uris": [URI]}, token=made["token"]).status_code == 401
    rows = json.loads(run_command(app, "registration-tokens", "list", "--json").output)
    (row,) = [row for row in rows if row["id"] == made["id"]]
    assert (row["state"], row["uses_left"], row["note"]) == ("used", 0, "Partner")
    target = f"client:{client['client_id']}"
    (entry,) = json.loads(run_command(app, "audit", "list", "--target", target, "--json").output)
    assert entry["actor"] == f"registration-token:{made['id']}"


def test_a_token_of_any_number_of_clients_holds_until_it_is_revoked(app: Flask) -> None:
    made = initial_token(app, "--any-number")
    client = register(app, token=made["token"])
    assert run_command(app, "registration-tokens", "revoke", made["id"]).exit_code == 0
    assert send(app, {"redirect_uris": [URI]}, token=made["token"]).status_code == 401
    assert manage(app, client).status_code == 200, "what it registered stays"
    assert "before" in run_command(app, "registration-tokens", "revoke", made["id"]).output
    unknown = "00000000-0000-7000-8000-000000000000"
    assert run_command(app, "registration-tokens", "revoke", unknown).exit_code == 1


def test_a_token_ends_and_is_kept_as_a_hash_alone(app: Flask) -> None:
    from libs.database import utcnow
    from services.oidc.extensions import db
    from services.oidc.models import InitialAccessToken

    made = initial_token(app)
    with app.app_context(), db.transaction() as session:
        row = session.get_one(InitialAccessToken, made["id"])
        assert made["token"] not in str(vars(row))
        row.expires_at = utcnow()
    assert send(app, {"redirect_uris": [URI]}, token=made["token"]).status_code == 401
    assert made["token"] not in run_command(app, "registration-tokens", "list").output
    assert "expired" in run_command(app, "registration-tokens", "list").output


def test_one_use_means_one_side_by_side(app: Flask) -> None:
    token = initial_token(app)["token"]
    barrier, statuses = threading.Barrier(8), []

    def run() -> None:
        barrier.wait()
        statuses.append(send(app, {"redirect_uris": [URI]}, token=token).status_code)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] + [401] * 7


def test_a_token_needs_a_note_and_an_end(app: Flask) -> None:
    for wrong in (("--note", " "), ("--note", "x", "--expires-in", "400d"), ("--note", "x", "--uses", "0")):
        assert run_command(app, "registration-tokens", "create", *wrong).exit_code in (1, 2)


def test_registrations_are_limited_per_address(app: Flask) -> None:
    statuses = [send(app, {}).status_code for _ in range(61)]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {401}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_registering_is_a_post(app: Flask, method: str) -> None:
    response = http(app).open(PATH, method=method, base_url=ORIGIN)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.json["error"] == "invalid_request"
