"""/api/v1/…/login-events: attempts to sign in, for their owner's apps and for staff's programs."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.database import utcnow
from tests.account.conftest import Person, sign_in
from tests.account.programs import Program
from tests.account.test_login_events import event_at, fail, fresh_ip
from tests.pages import Browser

Programs = Callable[..., Program]


def listed(program: Program, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every item, page by page."""
    found: list[dict[str, Any]] = []
    query = {"limit": 2, **query}
    while True:
        answer = program.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        found += answer.json["items"]
        if answer.json["next"] is None:
            return found
        query["cursor"] = answer.json["next"]


def test_a_person_sees_their_own_attempts_alone_newest_first(
    app: Flask, person: Person, make_person: Callable[..., Person], program_of: Programs
) -> None:
    fail(app, person.email, times=2)
    sign_in(Browser(app), person)
    sign_in(Browser(app), make_person())
    items = listed(program_of(person), "/me/login-events")
    assert [item["failure_reason"] for item in items] == [None, "bad_password", "bad_password"]
    assert [item["success"] for item in items] == [True, False, False]
    assert not {"email", "sub", "typed_hash", "sid"} & set(items[0])


def test_staff_find_attempts_by_everything_that_the_page_can_name(
    app: Flask, person: Person, make_person: Callable[..., Person], support_program: Program
) -> None:
    ip, unknown, other = fresh_ip(), f"nobody-{uuid.uuid4().hex}@people.test", make_person()
    fail(app, unknown, ip=ip)
    fail(app, person.email, ip=ip, times=2)
    sign_in(Browser(app, ip=ip), other)
    event_at(app, person, timedelta(days=9), ip=ip, method="passkey", reason="cancelled")

    def found(**query: Any) -> list[str | None]:
        return [item["failure_reason"] for item in listed(support_program, "/users/login-events", **query)]

    bad = ["bad_password"] * 2
    assert found(ip=ip) == [None, *bad, "unknown_account", "cancelled"]
    assert found(email=person.email.upper()) == [*bad, "cancelled"]
    assert found(email=unknown) == ["unknown_account"]
    assert found(ip=ip, success="true") == [None]
    assert found(ip=ip, reason="bad_password") == bad
    assert found(ip=ip, method="passkey") == ["cancelled"]
    week_ago = (utcnow() - timedelta(days=7)).isoformat()
    assert found(email=person.email, since=week_ago) == bad
    assert found(email=person.email, until=week_ago) == ["cancelled"]
    [item] = listed(support_program, "/users/login-events", email=unknown)
    assert (item["sub"], item["email"]) == (None, None)
    assert item["typed_hash"]
    assert unknown not in str(item)
    own = listed(support_program, f"/users/{person.sub}/login-events", success="false")
    assert [(item["sub"], item["email"]) for item in own] == [(person.sub, person.email)] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ip", "300.1.1.1"),
        ("ip", "10.0.0.0/33"),
        ("success", "maybe"),
        ("reason", "bad_luck"),
        ("since", "yesterday"),
        ("since", "2026-01-31T00:00:00"),
        ("until", "0001-01-01T00:00:00Z"),
        ("cursor", "nonsense"),
        ("limit", "201"),
        ("order", "oldest"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(support_program: Program, name: str, value: str) -> None:
    answer = support_program.get("/users/login-events", query_string={name: value})
    assert (answer.status_code, set(answer.json["errors"])) == (422, {name})


def test_a_search_for_what_is_rare_stops_and_goes_on_from_there(
    app: Flask, person: Person, support_program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.lists.SCANNED", 3)
    event_at(app, person, timedelta(days=2), method="passkey", reason="cancelled")
    for _ in range(4):
        event_at(app, person, timedelta(days=1))
    path, query = f"/users/{person.sub}/login-events", {"method": "passkey"}
    first = support_program.get(path, query_string=query)
    assert first.json["items"] == []
    assert first.json["next"] is not None
    assert first.headers["Link"]
    assert len(listed(support_program, path, **query)) == 1


def test_failures_are_counted_by_reason(app: Flask, person: Person, support_program: Program) -> None:
    def counts(**query: Any) -> dict[str, int]:
        items = support_program.get("/users/login-failures", query_string=query).json["items"]
        assert [item["count"] for item in items] == sorted((item["count"] for item in items), reverse=True)
        return {item["failure_reason"]: item["count"] for item in items}

    before = counts()
    fail(app, person.email, times=2)
    event_at(app, person, timedelta(hours=2), reason="cancelled")
    after = counts()
    assert after["bad_password"] == before.get("bad_password", 0) + 2
    assert after.get("cancelled", 0) == before.get("cancelled", 0)
    assert counts(since=(utcnow() - timedelta(hours=3)).isoformat())["cancelled"] > after.get("cancelled", 0)
    assert counts(since=(utcnow() + timedelta(minutes=1)).isoformat()) == {}
