"""Who may call which endpoint of onboarding's API: every one of them, by every kind of bearer and by nobody."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from tests.account.programs import Program
from tests.conftest import sign_in_copy
from tests.onboarding import steps
from tests.onboarding.programs import Programs
from tests.pages import ORIGIN, Browser


@dataclass(frozen=True)
class Endpoint:
    """An operation as it is tried, on an application that the set-up makes anew, and what the right bearer hears."""

    method: str
    path: str
    status: int = 200
    body: dict[str, Any] | Callable[[dict[str, str]], dict[str, Any]] | None = None
    ready: str = "confirmed"
    """How far the application has to be for it."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def several(words: dict[str, str]) -> dict[str, Any]:
    return {"decision": "approve", "ids": [words["application"]]}


def applicant(_: dict[str, str]) -> dict[str, Any]:
    return {"email": steps.new_email(), "name": "Ada", "why": steps.WHY}


TEXT = {"text": "How big are the boats?"}
STAFF = (
    Endpoint("GET", "/applications"),
    Endpoint("POST", "/applications/decisions", body=several),
    Endpoint("GET", "/applications/{application}"),
    Endpoint("GET", "/applications/{application}/history"),
    Endpoint("GET", "/applications/{application}/questions"),
    Endpoint("POST", "/applications/{application}/questions", 201, body=TEXT),
    Endpoint("GET", "/applications/{application}/notes"),
    Endpoint("POST", "/applications/{application}/notes", 201, body=TEXT),
    Endpoint("POST", "/applications/{application}/claim"),
    Endpoint("POST", "/applications/{application}/release", 409),
    Endpoint("POST", "/applications/{application}/approve"),
    Endpoint("POST", "/applications/{application}/reject", body={"reason": "no boats"}),
    Endpoint("POST", "/applications/{application}/take-back", ready="approved"),
    Endpoint("GET", "/invitations"),
    Endpoint("POST", "/invitations", 201, body={"note": "boat club"}),
    Endpoint("GET", "/invitations/{invitation}"),
    Endpoint("POST", "/invitations/{invitation}/resend"),
    Endpoint("POST", "/invitations/{invitation}/withdraw"),
)
ANYBODY = (
    Endpoint("POST", "/applications", 202, body=applicant),
    Endpoint("GET", "/applications/status"),
    Endpoint("POST", "/applications/status/answer", 409, body=TEXT),
    Endpoint("POST", "/applications/status/withdraw"),
)


class Target:
    """An application, confirmed or approved, and an invitation, on which endpoints are tried; anew once one changed."""

    def __init__(self, app: Flask):
        self.app, self.number = app, 0
        self.known: dict[str, dict[str, str]] = {}

    def words(self, ready: str) -> dict[str, str]:
        if ready not in self.known:
            self.known[ready] = self._make(ready)
        return self.known[ready]

    def _make(self, ready: str) -> dict[str, str]:
        self.number += 1  # nobody is near a limit
        email = steps.apply(self.app, ip=f"10.5.{self.number}.1")
        steps.confirm(self.app, email)
        if ready == "approved":
            steps.approve(self.app, email)
        found = {"application": steps.facts(self.app, email)["id"]}
        found["invitation"] = steps.invite(self.app, uses="2")["id"]
        found["token"] = steps.status_token(self.app, found["application"])
        return found

    def __call__(self, program: Program, endpoint: Endpoint) -> TestResponse:
        words = self.words(endpoint.ready)
        body = endpoint.body(words) if callable(endpoint.body) else endpoint.body
        headers = {"Status-Token": words["token"]} if "/status" in endpoint.path else {}
        options = {"json": body} if body is not None else {}
        answer = program(endpoint.method, endpoint.path.format(**words), headers=headers, **options)
        if answer.status_code < 400 and endpoint.method != "GET":
            self.known.clear()
        return answer


@pytest.fixture
def target(onboarding_app: Flask) -> Target:
    return Target(onboarding_app)


def slug(answer: TestResponse) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_every_endpoint_is_tried_below(onboarding_app: Flask) -> None:
    served = {
        f"{method} {re.sub(r'<[^>]+>', 'X', rule.rule.removeprefix('/api/v1'))}"
        for rule in onboarding_app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {re.sub(r"\{\w+\}", "X", endpoint.name) for endpoint in STAFF + ANYBODY}


def test_every_endpoint_for_staff_is_tried_by_each_role(target: Target, programs: Programs) -> None:
    callers = {
        role: programs.of_person(*filter(None, [role])) for role in ("", "support", "reviewer", "admin")
    }
    for endpoint in STAFF:
        for role, program in callers.items():
            expected = endpoint.status if role in ("reviewer", "admin") else 403
            assert target(program, endpoint).status_code == expected, (endpoint.name, role)


def test_every_endpoint_for_staff_needs_its_scope_and_a_client_by_itself_no_more(
    target: Target, programs: Programs
) -> None:
    read, write = (programs.of_client(scope=f"applications:{kind} users:read") for kind in ("read", "write"))
    reviewer = programs.of_person("reviewer", scope="users:read me")
    for endpoint in STAFF:
        right, wrong = (read, write) if endpoint.method == "GET" else (write, read)
        for program in (wrong, reviewer):
            refused = target(program, endpoint)
            assert (refused.status_code, slug(refused)) == (403, "insufficient-scope"), endpoint.name
        assert target(right, endpoint).status_code == endpoint.status, endpoint.name


def test_without_a_token_of_ours_nothing_for_staff_is_open_and_a_cookie_never_counts(
    onboarding_app: Flask, target: Target, programs: Programs
) -> None:
    browser = Browser(onboarding_app)
    sign_in_copy(browser, onboarding_app, roles=["admin"])
    cookie = browser.cookie("id_session")
    for endpoint in STAFF:
        refused = target(programs.of_nobody(), endpoint)
        assert (refused.status_code, slug(refused)) == (401, "invalid-token"), endpoint.name
        http = Client(onboarding_app, TestResponse, use_cookies=False)
        path = "/api/v1" + endpoint.path.format(application=uuid.uuid4(), invitation=uuid.uuid4())
        answer = http.open(
            path, method=endpoint.method, base_url=ORIGIN, headers={"Cookie": f"id_session={cookie}"}
        )
        assert (answer.status_code, slug(answer)) == (401, "no-token"), endpoint.name


def test_what_is_open_to_anybody_is_open_with_any_token_and_without(
    target: Target, programs: Programs
) -> None:
    for endpoint in ANYBODY:
        for program in (programs.of_nobody(), programs.of_person(), programs.of_client()):
            assert target(program, endpoint).status_code == endpoint.status, endpoint.name


@pytest.mark.parametrize("name", ["00000000-0000-4000-8000-000000000000", "nobody", "..", "%00"])
def test_what_does_not_exist_is_not_found(programs: Programs, name: str) -> None:
    program = programs.of_person("admin")
    for endpoint in STAFF:
        if "{" in endpoint.path:
            body = endpoint.body if isinstance(endpoint.body, dict) else None
            path = endpoint.path.format(application=name, invitation=name)
            options = {"json": body} if body is not None else {}
            answer = program(endpoint.method, path, **options)
            assert (answer.status_code, answer.mimetype) == (404, "application/problem+json"), endpoint.name
