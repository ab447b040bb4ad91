"""Who may call which endpoint of the issuer's API: every one of them, by every kind of bearer."""

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.account.programs import Program
from tests.oidc.programs import EVERYTHING, bearing

URI = "https://billing.test/callback"
OLD_S = 360


@dataclass(frozen=True)
class Endpoint:
    """An operation as it is tried, and what the right bearer is answered."""

    method: str
    path: str
    status: int = 200
    body: Callable[[], dict[str, Any]] | None = None
    is_fresh: bool = True
    is_admins: bool = False
    """Support does not even look."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def role(self) -> str:
        return "support" if self.method == "GET" and not self.is_admins else "admin"


def client() -> dict[str, Any]:
    return {"name": "Billing", "redirect_uris": [URI]}


def resource() -> dict[str, Any]:
    word = uuid.uuid4().hex
    return {"identifier": f"https://{word}.test/", "name": "Orders", "scopes": {f"{word}:read": "see orders"}}


def token() -> dict[str, Any]:
    return {"note": "Partner"}


def name() -> dict[str, Any]:
    return {"name": "Invoices"}


ENDPOINTS = (
    Endpoint("GET", "/clients", is_fresh=False),
    Endpoint("POST", "/clients", status=201, body=client),
    Endpoint("GET", "/clients/{client}", is_fresh=False),
    Endpoint("PATCH", "/clients/{client}", body=name),
    Endpoint("PUT", "/clients/{client}", body=client),
    Endpoint("GET", "/clients/{client}/secrets", is_fresh=False),
    Endpoint("POST", "/clients/{client}/rotate-secret"),
    Endpoint("POST", "/clients/{client}/disable", is_fresh=False),
    Endpoint("POST", "/clients/{client}/enable"),
    Endpoint("DELETE", "/clients/{client}", status=204),
    Endpoint("GET", "/clients/resources", is_fresh=False),
    Endpoint("POST", "/clients/resources", status=201, body=resource),
    Endpoint("GET", "/clients/resources/{resource}", is_fresh=False),
    Endpoint("PATCH", "/clients/resources/{resource}", body=name),
    Endpoint("DELETE", "/clients/resources/{resource}", status=204),
    Endpoint("GET", "/clients/registration-tokens", is_fresh=False, is_admins=True),
    Endpoint("POST", "/clients/registration-tokens", status=201, body=token),
    Endpoint("DELETE", "/clients/registration-tokens/{token}", status=204, is_fresh=False),
)


@pytest.fixture
def words(app: Flask) -> Callable[[], dict[str, str]]:
    """A client and a resource that nobody has tried anything on."""

    def make() -> dict[str, str]:
        boss = bearing(app, "admin")
        made = boss("POST", "/clients", json=client()).json
        return {
            "client": made["client"]["client_id"],
            "resource": boss("POST", "/clients/resources", json=resource()).json["id"],
            "token": boss("POST", "/clients/registration-tokens", json=token()).json["registration_token"][
                "id"
            ],
        }

    return make


def send(program: Program, endpoint: Endpoint, words: dict[str, str]) -> TestResponse:
    options = {"json": endpoint.body()} if endpoint.body else {}
    headers = {"If-Match": "*"} if endpoint.method in ("PATCH", "PUT") else {}
    return program(endpoint.method, endpoint.path.format(**words), headers=headers, **options)


def slug(answer: TestResponse) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_every_endpoint_is_tried_below(app: Flask) -> None:
    served = {
        f"{method} {re.sub(r'<[^>]+>', 'X', rule.rule.removeprefix('/api/v1'))}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {re.sub(r"\{\w+\}", "X", endpoint.name) for endpoint in ENDPOINTS}


def test_support_looks_and_an_administrator_changes(app: Flask, words: Callable[[], dict[str, str]]) -> None:
    programs = {role: bearing(app, *filter(None, [role])) for role in ("", "reviewer", "support", "admin")}
    for endpoint in ENDPOINTS:
        found = words()
        for role, program in programs.items():
            is_allowed = role in ("admin", endpoint.role)
            status = send(program, endpoint, found).status_code
            assert status == (endpoint.status if is_allowed else 403), (endpoint.name, role)


def test_a_scope_opens_its_own_and_a_client_by_itself_needs_no_more(
    app: Flask, words: Callable[[], dict[str, str]]
) -> None:
    read, write = (
        bearing(app, scope=scope, is_person=False) for scope in ("clients:read", "clients:write me")
    )
    for endpoint in ENDPOINTS:
        found = words()
        right, wrong = (read, write) if endpoint.method == "GET" else (write, read)
        assert slug(send(wrong, endpoint, found)) == "insufficient-scope", endpoint.name
        assert send(right, endpoint, found).status_code == endpoint.status, endpoint.name


def test_what_opens_doors_needs_a_fresh_sign_in(app: Flask, words: Callable[[], dict[str, str]]) -> None:
    old = bearing(app, "admin", auth_time=int(time.time()) - OLD_S)
    for endpoint in ENDPOINTS:
        answer = send(old, endpoint, words())
        if endpoint.is_fresh:
            assert (answer.status_code, slug(answer)) == (401, "stale-sign-in"), endpoint.name
        else:
            assert answer.status_code == endpoint.status, endpoint.name


def test_nobody_enters_with_less_than_a_good_token(app: Flask, words: Callable[[], dict[str, str]]) -> None:
    found = words()
    now = int(time.time())
    for wrong in (
        bearing(app, "admin", exp=now - 1),
        bearing(app, "admin", aud="https://elsewhere.test/api"),
        bearing(app, "admin", iss="https://elsewhere.test"),
        Program(app, "nonsense"),
    ):
        for endpoint in ENDPOINTS:
            assert send(wrong, endpoint, found).status_code == 401, endpoint.name


def test_a_token_of_the_issuers_own_making_is_verified_without_an_event_to_itself(app: Flask) -> None:
    assert bearing(app, "support", scope=EVERYTHING).get("/clients").status_code == 200
