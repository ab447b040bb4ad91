"""/api/v1/users/blocks: who may not sign in for a while, for staff's programs."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.database import utcnow
from tests.account.conftest import Person, execute, rows
from tests.account.programs import Program
from tests.account.test_blocks import INSIDE, NETWORK, try_password

Programs = Callable[..., Program]


@pytest.fixture(autouse=True)
def _nobody_stays_blocked(app: Flask) -> Iterator[None]:
    yield
    execute(app, "DELETE FROM blocks")


def wanted(**changes: Any) -> dict[str, Any]:
    body = {"expires_at": (utcnow() + timedelta(hours=1)).isoformat(), "reason": "guessing", **changes}
    return {name: value for name, value in body.items() if value is not None}


def test_a_block_holds_until_it_is_lifted(
    app: Flask, person: Person, admin_program: Program, support_program: Program
) -> None:
    made = admin_program("POST", "/users/blocks", json=wanted(network="203.0.113.9/24"))
    assert (made.status_code, made.json["network"], made.json["domain"]) == (201, NETWORK, None)
    assert made.json["created_by"].startswith("user:")
    assert try_password(app, person, INSIDE).status == 403
    assert support_program.get("/users/blocks").json == {"items": [made.json]}
    path = f"/users/blocks/{made.json['id']}"
    assert [admin_program("DELETE", path).status_code for _ in range(2)] == [204, 204]
    assert try_password(app, person, INSIDE).status == 303
    assert support_program.get("/users/blocks").json == {"items": []}
    trail = rows(
        app,
        "SELECT action, reason FROM audit_entries WHERE target = :t ORDER BY id",
        t=f"block:{made.json['id']}",
    )
    assert [tuple(row) for row in trail] == [("block.added", "guessing"), ("block.lifted", None)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "network"),
        ({"network": "203.0.113.0/24", "domain": "evil.test"}, "domain"),
        ({"network": "nonsense"}, "network"),
        ({"network": "0.0.0.0/0"}, "network"),
        ({"network": "10.0.0.0/8"}, "network"),
        ({"domain": "localhost"}, "domain"),
        ({"domain": "people.test"}, "domain"),
        ({"network": NETWORK, "reason": ""}, "reason"),
        ({"network": NETWORK, "reason": "  "}, "reason"),
        ({"network": NETWORK, "reason": None}, "reason"),
        ({"network": NETWORK, "expires_at": None}, "expires_at"),
        ({"network": NETWORK, "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"network": NETWORK, "expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
        ({"network": NETWORK, "expires_at": "tomorrow"}, "expires_at"),
        ({"network": NETWORK, "created_by": "user:somebody"}, "created_by"),
    ],
)
def test_what_cannot_be_blocked_is_refused_by_field(
    app: Flask, admin_program: Program, changes: dict[str, Any], field: str
) -> None:
    answer = admin_program("POST", "/users/blocks", json=wanted(**changes))
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field}), answer.text
    assert rows(app, "SELECT 1 FROM blocks") == []


def test_nobody_keeps_themselves_out(app: Flask, admin_program: Program) -> None:
    body, elsewhere = wanted(network=NETWORK), {"environ_overrides": {"REMOTE_ADDR": INSIDE}}
    answer = admin_program("POST", "/users/blocks", json=body, **elsewhere)
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"network"})


def test_a_client_by_itself_has_no_address_to_keep_out(program_of: Programs) -> None:
    body, elsewhere = wanted(network=NETWORK), {"environ_overrides": {"REMOTE_ADDR": INSIDE}}
    answer = program_of(None, "users:write")("POST", "/users/blocks", json=body, **elsewhere)
    assert (answer.status_code, answer.json["created_by"]) == (201, "client:an-app")


@pytest.mark.parametrize("block_id", ["00000000-0000-4000-8000-000000000000", "nonsense"])
def test_a_block_that_never_was_is_not_found(admin_program: Program, block_id: str) -> None:
    assert admin_program("DELETE", f"/users/blocks/{block_id}").status_code == 404
