"""How clients register themselves and manage that, over HTTP."""

import json
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import run_command
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN

URI = "https://app.test/cb"
PATH = "/oauth2/register"


def send(app: Flask, metadata: Any, *, token: str | None = None, **options: Any) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return http(app).post(PATH, base_url=ORIGIN, json=metadata, headers=headers, **options)


def register(app: Flask, *, token: str | None = None, **metadata: Any) -> dict[str, Any]:
    response = send(app, {"redirect_uris": [URI], "client_name": "App", **metadata}, token=token)
    assert response.status_code == 201, response.text
    return response.json


def manage(app: Flask, made: dict[str, Any], method: str = "GET", **options: Any) -> TestResponse:
    token = options.pop("token", made["registration_access_token"])
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    uri = made["registration_client_uri"].removeprefix(ORIGIN)
    return http(app).open(uri, method=method, base_url=ORIGIN, headers=headers, **options)


def put(app: Flask, made: dict[str, Any], **metadata: Any) -> TestResponse:
    values = {"client_id": made["client_id"], "redirect_uris": [URI], "client_name": "App", **metadata}
    return manage(
        app, made, "PUT", json={name: value for name, value in values.items() if value != "left out"}
    )


def initial_token(app: Flask, *more: str) -> dict[str, Any]:
    result = run_command(app, "registration-tokens", "create", "--note", "Partner", *more, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def settings(app: Flask, made: dict[str, Any]) -> dict[str, Any]:
    return json.loads(run_command(app, "clients", "show", made["client_id"], "--json").output)


def party_of(app: Flask, made: dict[str, Any], **more: Any) -> RelyingParty:
    return RelyingParty(
        app=app,
        client_id=made["client_id"],
        secret=made.get("client_secret"),
        auth_method=made["token_endpoint_auth_method"],
        redirect_uri=made["redirect_uris"][0],
        **more,
    )
