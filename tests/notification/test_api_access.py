"""Who may call which endpoint of notification's API: every one of them, by every kind of bearer."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from libs.service import parts_of
from services.notification.flows import suppressions
from tests.account.programs import Program
from tests.conftest import sign_in_copy
from tests.notification.conftest import address, ask
from tests.notification.programs import bearing
from tests.pages import ORIGIN, Browser


@dataclass(frozen=True)
class Endpoint:
    """An operation as it is tried, and what the right bearer is answered."""

    method: str
    path: str
    status: int = 200
    body: Callable[[str], dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


ENDPOINTS = (
    Endpoint("GET", "/messages"),
    Endpoint("GET", "/messages/{id}"),
    Endpoint("POST", "/messages/{id}/retry", status=409),
    Endpoint("GET", "/messages/suppressions"),
    Endpoint(
        "POST", "/messages/suppressions/lift", status=204, body=lambda email: {"email": email, "reason": "x"}
    ),
)
"""The message waits, so that retrying it is a conflict."""


@pytest.fixture
def call(app: Flask) -> Callable[[Program, Endpoint], TestResponse]:
    message = ask(app)

    def send(program: Program, endpoint: Endpoint) -> TestResponse:
        email = address()
        with app.app_context():
            suppressions.suppress(email=email, reason="bounced")
        body = {"json": endpoint.body(email)} if endpoint.body else {}
        return program(endpoint.method, endpoint.path.format(id=message.id), **body)

    return send


def slug(answer: TestResponse) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_every_endpoint_is_tried_below(app: Flask) -> None:
    served = {
        f"{method} {re.sub(r'<[^>]+>', '{id}', rule.rule.removeprefix('/api/v1'))}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and rule.rule != "/api/v1/mail-feedback"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {endpoint.name for endpoint in ENDPOINTS}


@pytest.mark.parametrize("role", ["", "reviewer", "support", "admin"])
def test_a_person_needs_a_role(
    app: Flask, oidc_app: Flask, call: Callable[[Program, Endpoint], TestResponse], role: str
) -> None:
    program = bearing(app, oidc_app, *([role] if role else []))
    for endpoint in ENDPOINTS:
        answer = call(program, endpoint)
        assert answer.status_code == (endpoint.status if role else 403), (endpoint.name, answer.text)
        if not role:
            assert answer.json["detail"] == "It lacks the role reviewer / support."


@pytest.mark.parametrize("is_person", [True, False])
def test_the_scope_is_the_methods(
    app: Flask, oidc_app: Flask, call: Callable[[Program, Endpoint], TestResponse], is_person: bool
) -> None:
    read, write = (
        bearing(app, oidc_app, "support", scope=scope, is_person=is_person)
        for scope in ("messages:read me", "messages:write me")
    )
    for endpoint in ENDPOINTS:
        right, wrong = (read, write) if endpoint.method == "GET" else (write, read)
        refused = call(wrong, endpoint)
        assert (refused.status_code, slug(refused)) == (403, "insufficient-scope"), endpoint.name
        assert call(right, endpoint).status_code == endpoint.status, endpoint.name


def test_nothing_else_opens_it(
    app: Flask, oidc_app: Flask, call: Callable[[Program, Endpoint], TestResponse]
) -> None:
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["admin"])
    nobody = Client(app, TestResponse, use_cookies=False)
    foreign = bearing(app, oidc_app, "admin", aud="https://elsewhere.test/api")
    old = bearing(app, oidc_app, "admin", exp=1)
    revoked_sub = str(uuid.uuid4())
    revoked = bearing(app, oidc_app, "admin", sub=revoked_sub, iat=1)
    parts_of(app).redis.set(f"revoked:sub:{revoked_sub}", 2, ex=60)
    for endpoint in ENDPOINTS:
        path = f"/api/v1{endpoint.path.format(id=uuid.uuid4())}"
        for client in (browser.client, nobody):
            answer = client.open(path, method=endpoint.method, base_url=ORIGIN)
            assert (answer.status_code, slug(answer)) == (401, "no-token"), endpoint.name
        for program in (foreign, old, revoked):
            answer = call(program, endpoint)
            assert (answer.status_code, slug(answer)) == (401, "invalid-token"), endpoint.name
