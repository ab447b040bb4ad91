"""Who may call which endpoint of account's API, and on whom: every one of them, by every kind of bearer."""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from libs.database import utcnow
from tests.account.conftest import Person, execute, rows, sign_in
from tests.account.programs import Program
from tests.pages import Browser

Programs = Callable[..., Program]
Body = dict[str, Any] | Callable[[Person], dict[str, Any]] | None
EVERYTHING = "me users:read users:write"


@dataclass(frozen=True)
class Endpoint:
    """An operation as it is tried: with what body, and what the right bearer is answered."""

    method: str
    path: str
    status: int = 200
    body: Body = None
    role: str | None = None
    is_fresh: bool = False
    is_for_others: bool = False
    """Whether nobody does it to themselves."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def staff(method: str, path: str, role: str, **more: Any) -> Endpoint:
    return Endpoint(method, path, role=role, **more)


def new_person(_: Person) -> dict[str, Any]:
    return {"email": f"zoe-{uuid.uuid4().hex[:10]}@people.test", "name": "Zoe"}


def new_block(_: Person) -> dict[str, Any]:
    ends = (utcnow() + timedelta(hours=1)).isoformat()
    return {"domain": f"{uuid.uuid4().hex}.test", "expires_at": ends, "reason": "throw-away"}


def address(person: Person) -> dict[str, Any]:
    return {"email": person.email.upper()}


REASON = {"reason": "seen in person"}
RULE = "/users/rules/second-factor-for-staff"
STAFF = (
    staff("GET", "/users", "support"),
    staff("POST", "/users", "admin", status=201, body=new_person, is_fresh=True),
    staff("GET", "/users/login-events", "support"),
    staff("GET", "/users/login-failures", "support"),
    staff("GET", "/users/blocks", "support"),
    staff("POST", "/users/blocks", "admin", status=201, body=new_block),
    staff("DELETE", "/users/blocks/{block}", "admin", status=204),
    staff("GET", RULE, "admin"),
    staff("PUT", RULE, "admin", body={"required": False}, is_fresh=True),
    staff("GET", "/users/{sub}", "support"),
    staff("GET", "/users/{sub}/audit", "support"),
    staff("GET", "/users/{sub}/login-events", "support"),
    staff("GET", "/users/{sub}/ways-in", "support"),
    staff("GET", "/users/{sub}/sessions", "support"),
    staff("DELETE", "/users/{sub}/sessions/{sid}", "support", status=204),
    staff("DELETE", "/users/{sub}/sessions", "support"),
    staff("POST", "/users/{sub}/secure", "support", body=REASON, is_for_others=True),
    staff("POST", "/users/{sub}/password-link", "support", status=202),
    staff(
        "POST", "/users/{sub}/second-factor/reset", "admin", body=REASON, is_fresh=True, is_for_others=True
    ),
    staff("POST", "/users/{sub}/disable", "admin", body=REASON, is_for_others=True),
    staff("POST", "/users/{sub}/enable", "admin", is_for_others=True),
    staff("PUT", "/users/{sub}/roles/reviewer", "admin", is_fresh=True, is_for_others=True),
    staff("DELETE", "/users/{sub}/roles/reviewer", "admin", is_fresh=True, is_for_others=True),
    staff("GET", "/users/{sub}/erasure", "support"),
    staff("POST", "/users/{sub}/erasure", "admin", body=address, is_fresh=True, is_for_others=True),
    staff("DELETE", "/users/{sub}/erasure", "admin", status=204, is_for_others=True),
)
OWN = (
    Endpoint("GET", "/me"),
    Endpoint("PATCH", "/me", body={"name": "Ann"}),
    Endpoint("GET", "/me/sessions"),
    Endpoint("DELETE", "/me/sessions"),
    Endpoint("DELETE", "/me/sessions/{nothing}", status=404),
    Endpoint("GET", "/me/login-events"),
    Endpoint("GET", "/me/passkeys"),
    Endpoint("PATCH", "/me/passkeys/{nothing}", status=404, body={"name": "Key"}),
    Endpoint("DELETE", "/me/passkeys/{nothing}", status=404, is_fresh=True),
    Endpoint("GET", "/me/second-factor"),
    Endpoint("GET", "/me/links"),
    Endpoint("DELETE", "/me/links/github", status=404, is_fresh=True),
    Endpoint("GET", "/me/data"),
    Endpoint("POST", "/me/data", status=202, is_fresh=True),
    Endpoint("GET", "/me/erasure"),
    Endpoint("DELETE", "/me/erasure", status=204),
    Endpoint("POST", "/me/erasure", body=address, is_fresh=True),
)
OLD = timedelta(minutes=6)


@dataclass(frozen=True)
class Target:
    """Whom, and what of theirs, endpoints are tried on."""

    person: Person
    words: dict[str, str]

    def __call__(self, program: Program, endpoint: Endpoint) -> TestResponse:
        body = endpoint.body(self.person) if callable(endpoint.body) else endpoint.body
        headers = {"If-Match": "*"} if endpoint.method == "PATCH" else {}
        options = {"json": body} if body is not None else {}
        return program(endpoint.method, endpoint.path.format(**self.words), headers=headers, **options)


@pytest.fixture
def target_of(app: Flask) -> Iterator[Callable[[Person], Target]]:
    def make(person: Person) -> Target:
        from services.account.flows.blocks import add_block

        sign_in(Browser(app), person)
        query = "SELECT s.id::text FROM sign_in_sessions s JOIN users ON users.id = user_id WHERE sub = :sub"
        with app.app_context():
            block = add_block(domain=f"{uuid.uuid4().hex}.test", life=timedelta(hours=1), reason="test")
        words = {
            "sub": person.sub,
            "sid": rows(app, query, sub=person.sub)[0].id,
            "block": str(block.id),
            "nothing": str(uuid.uuid4()),
        }
        return Target(person, words)

    yield make
    execute(app, "DELETE FROM blocks")


@pytest.fixture
def target(target_of: Callable[[Person], Target], person: Person) -> Target:
    return target_of(person)


def with_old_sign_in(
    program_of: Programs, person: Person, scope: str = EVERYTHING, **changes: Any
) -> Program:
    return program_of(person, scope, auth_time=int(time.time() - OLD.total_seconds()), **changes)


def slug(answer: TestResponse) -> str:
    return str(answer.json["type"]).rpartition(":")[2]


def test_every_endpoint_is_tried_below(app: Flask) -> None:
    served = {
        f"{method} {rule.rule.removeprefix('/api/v1')}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    tried = {re.sub(r"\{\w+\}|/reviewer|/github", "/X", e.name).replace("//", "/") for e in STAFF + OWN}
    assert {re.sub(r"<[^>]+>", "X", name) for name in served} == tried


def test_every_endpoint_for_staff_is_tried_by_each_role(
    target: Target, make_person: Callable[..., Person], program_of: Programs
) -> None:
    programs = {
        role: program_of(make_person(roles=[role] if role else []), EVERYTHING)
        for role in ("", "reviewer", "support", "admin")
    }
    for endpoint in STAFF:
        for role, program in programs.items():
            is_allowed = role in ("admin", endpoint.role)
            status = target(program, endpoint).status_code
            assert status == (endpoint.status if is_allowed else 403), (endpoint.name, role)


def test_every_endpoint_for_staff_needs_its_scope_and_a_client_by_itself_no_more(
    target: Target, program_of: Programs
) -> None:
    read, write = program_of(None, "users:read me"), program_of(None, "users:write me")
    for endpoint in STAFF:
        right, wrong = (read, write) if endpoint.method == "GET" else (write, read)
        refused = target(wrong, endpoint)
        assert (refused.status_code, slug(refused)) == (403, "insufficient-scope"), endpoint.name
        assert target(right, endpoint).status_code == endpoint.status, endpoint.name


def test_what_weighs_most_needs_a_fresh_sign_in_and_the_answer_says_so(
    make_person: Callable[..., Person], target_of: Callable[[Person], Target], program_of: Programs
) -> None:
    boss, member = make_person(roles=["admin"]), target_of(make_person())
    old = with_old_sign_in(program_of, boss)
    unknown = program_of(boss, EVERYTHING, auth_time=None)
    for endpoint in STAFF:
        for program in (old, unknown):
            answer = member(program, endpoint)
            if not endpoint.is_fresh:
                assert answer.status_code == endpoint.status, endpoint.name
                continue
            assert (answer.status_code, slug(answer)) == (401, "stale-sign-in"), endpoint.name
            challenge = 'Bearer realm="api", error="insufficient_user_authentication", max_age="300"'
            assert answer.headers["WWW-Authenticate"] == challenge
    for endpoint in OWN:
        answer = member(with_old_sign_in(program_of, member.person), endpoint)
        assert answer.status_code == (401 if endpoint.is_fresh else endpoint.status), endpoint.name


def test_a_role_that_is_missing_is_said_before_the_sign_in_is_found_old(
    target: Target, make_person: Callable[..., Person], program_of: Programs
) -> None:
    helper = with_old_sign_in(program_of, make_person(roles=["support"]))
    for endpoint in STAFF:
        if endpoint.is_fresh:
            assert target(helper, endpoint).status_code == 403, endpoint.name


def test_a_persons_own_endpoints_need_the_scope_and_a_person(target: Target, program_of: Programs) -> None:
    others = (program_of(target.person, "users:read users:write"), program_of(None, EVERYTHING))
    own = program_of(target.person)
    for endpoint in OWN:
        for wrong in others:
            refused = target(wrong, endpoint)
            assert (refused.status_code, slug(refused)) == (403, "insufficient-scope"), endpoint.name
        assert target(own, endpoint).status_code == endpoint.status, endpoint.name


def test_nothing_of_their_own_is_open_to_somebody_disabled(
    app: Flask, target: Target, program_of: Programs
) -> None:
    program = program_of(target.person)
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=target.person.sub)
    for endpoint in OWN:
        assert target(program, endpoint).status_code == 401, endpoint.name


def test_nobody_does_to_themselves_what_would_lock_them_out(
    make_person: Callable[..., Person], target_of: Callable[[Person], Target], program_of: Programs
) -> None:
    make_person(roles=["admin"])
    me = target_of(make_person(roles=["admin"]))
    program = program_of(me.person, EVERYTHING)
    for endpoint in STAFF:
        if endpoint.is_for_others:
            refused = me(program, endpoint)
            assert (refused.status_code, slug(refused)) == (403, "not-allowed"), endpoint.name
    seen = program.get(f"/users/{me.person.sub}").json
    assert (seen["status"], seen["roles"]) == ("active", ["admin"])


def test_support_looks_at_an_administrator_and_changes_nothing(
    make_person: Callable[..., Person], target_of: Callable[[Person], Target], program_of: Programs
) -> None:
    boss = target_of(make_person(roles=["admin"]))
    program = program_of(make_person(roles=["support"]), EVERYTHING)
    for endpoint in STAFF:
        if endpoint.role == "support" and "{sub}" in endpoint.path:
            expected = 200 if endpoint.method == "GET" else 403
            assert boss(program, endpoint).status_code == expected, endpoint.name


@pytest.mark.parametrize("sub", ["00000000-0000-4000-8000-000000000000", "nobody", "..", "%00"])
def test_whoever_does_not_exist_is_not_found(target: Target, admin_program: Program, sub: str) -> None:
    nobody = Target(target.person, {**target.words, "sub": sub})
    for endpoint in STAFF:
        if "{sub}" in endpoint.path:
            answer = nobody(admin_program, endpoint)
            assert (answer.status_code, answer.mimetype) == (404, "application/problem+json"), endpoint.name


def test_every_change_may_be_sent_again(target: Target, admin_program: Program) -> None:
    """An answer that was lost on its way is no harm."""
    for endpoint in STAFF:
        if endpoint.method != "GET" and "{" in endpoint.path:
            for _ in range(2):
                assert target(admin_program, endpoint).status_code == endpoint.status, endpoint.name
