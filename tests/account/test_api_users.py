"""/api/v1/users: everybody's accounts, for staff's programs."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.account.conftest import Person, is_signed_in, sign_in
from tests.account.programs import Program
from tests.pages import Browser

Programs = Callable[..., Program]


@pytest.fixture
def admin(make_person: Callable[..., Person], program_of: Programs) -> Program:
    return program_of(make_person(roles=["admin"]), "users:read users:write")


@pytest.fixture
def support(make_person: Callable[..., Person], program_of: Programs) -> Program:
    return program_of(make_person(roles=["support"]), "users:read users:write")


def every_request(sub: str) -> list[tuple[str, str, dict[str, Any]]]:
    one = f"/users/{sub}"
    return [
        ("GET", "/users", {}),
        ("GET", one, {}),
        ("GET", f"{one}/sessions", {}),
        ("GET", f"{one}/audit", {}),
        ("DELETE", f"{one}/sessions", {}),
        ("POST", f"{one}/disable", {"json": {"reason": "spam"}}),
        ("POST", f"{one}/enable", {}),
        ("PUT", f"{one}/roles/reviewer", {}),
        ("DELETE", f"{one}/roles/reviewer", {}),
    ]


FOR_SUPPORT = {("GET", ""), ("GET", "/sessions"), ("GET", "/audit"), ("DELETE", "/sessions")}


def test_every_endpoint_is_tried_by_each_role(
    person: Person,
    make_person: Callable[..., Person],
    program_of: Programs,
) -> None:
    programs = {
        role: program_of(make_person(roles=[role] if role else []), "users:read users:write me")
        for role in ("", "reviewer", "support", "admin")
    }
    for method, path, options in every_request(person.sub):
        below = path.removeprefix("/users").removeprefix(f"/{person.sub}")
        allowed = {"admin"} | ({"support"} if (method, below) in FOR_SUPPORT else set())
        for role, program in programs.items():
            status = program(method, path, **options).status_code
            assert status == (200 if role in allowed else 403), (method, path, role)


def test_every_endpoint_needs_its_scope(person: Person, program_of: Programs) -> None:
    read, write = program_of(None, "users:read"), program_of(None, "users:write")
    for method, path, options in every_request(person.sub):
        right, wrong = (read, write) if method == "GET" else (write, read)
        assert wrong(method, path, **options).status_code == 403, (method, path)
        assert right(method, path, **options).status_code == 200, (method, path)


def test_people_are_found_by_words_and_by_state(make_person: Callable[..., Person], admin: Program) -> None:
    word = uuid.uuid4().hex
    people = [make_person(name=f"Kit {word}", email=f"kit{number}-{word}@people.test") for number in range(3)]

    def subs(**query: str) -> list[str]:
        return [item["sub"] for item in admin.get("/users", query_string=query).json["items"]]

    assert subs(search=word.upper()) == [person.sub for person in reversed(people)]
    assert subs(search=f"KIT1-{word}") == [people[1].sub]
    assert admin("POST", f"/users/{people[0].sub}/disable").json["status"] == "disabled"
    assert subs(search=word, status="disabled") == [people[0].sub]
    assert subs(search=word, status="active") == [people[2].sub, people[1].sub]
    assert subs(search="%") == []
    refused = admin.get("/users", query_string={"status": "erased", "stat": "x"})
    assert (refused.status_code, set(refused.json["errors"])) == (422, {"status", "stat"})


def test_pages_stay_what_they_are_while_people_join(
    make_person: Callable[..., Person], admin: Program
) -> None:
    word = uuid.uuid4().hex
    people = [make_person(name=f"Early {word}").sub for _ in range(5)]
    seen, query = [], {"search": word, "limit": "2"}
    while True:
        page = admin.get("/users", query_string=query).json
        seen += [item["sub"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
        make_person(name=f"Late {word}")
    assert seen == list(reversed(people)), "nobody twice, nobody left out, nobody new in between"


def test_the_link_leads_to_the_next_page(make_person: Callable[..., Person], admin: Program) -> None:
    word = uuid.uuid4().hex
    for _ in range(2):
        make_person(name=f"Kit {word}")
    first = admin.get("/users", query_string={"search": word, "limit": 1})
    target = first.headers["Link"].partition("<")[2].partition(">")[0]
    assert target.startswith("/api/v1/users?")
    second = admin.get(target.removeprefix("/api/v1"))
    assert len(second.json["items"]) == 1
    assert second.json["items"] != first.json["items"]
    assert "Link" not in second.headers


def test_disabling_signs_the_person_out_everywhere_and_enabling_lets_them_in_again(
    app: Flask,
    person: Person,
    admin: Program,
    program_of: Programs,
) -> None:
    browser = sign_in(Browser(app), person)
    own = program_of(person, iat=0)
    answer = admin("POST", f"/users/{person.sub}/disable", json={"reason": "spam"})
    assert (answer.status_code, answer.json["status"]) == (200, "disabled")
    assert not is_signed_in(browser)
    assert own.get("/me").status_code == 401
    again = admin("POST", f"/users/{person.sub}/disable")
    assert (again.status_code, again.headers["ETag"]) == (200, answer.headers["ETag"]), "safe to repeat"
    assert admin("POST", f"/users/{person.sub}/enable", json={}).json["status"] == "active"
    audit = admin.get(f"/users/{person.sub}/audit").json["items"]
    entry = next(entry for entry in audit if entry["action"] == "user.disabled")
    assert (entry["reason"], entry["after"]) == ("spam", {"status": "disabled"})
    assert entry["actor"].startswith("user:")


def test_nobody_locks_themselves_out(make_person: Callable[..., Person], program_of: Programs) -> None:
    me = make_person(roles=["admin"])
    program = program_of(me, "users:write users:read")
    assert program("POST", f"/users/{me.sub}/disable").status_code == 403
    assert program.get(f"/users/{me.sub}").json["status"] == "active"


def test_a_role_taken_away_is_gone_from_every_token(
    make_person: Callable[..., Person],
    admin: Program,
    program_of: Programs,
) -> None:
    helper = make_person()
    given = admin("PUT", f"/users/{helper.sub}/roles/support")
    assert (given.status_code, given.json["roles"]) == (200, ["support"])
    program = program_of(helper, "users:read", iat=0)
    assert program.get("/users").status_code == 200
    taken = admin("DELETE", f"/users/{helper.sub}/roles/support")
    assert (taken.status_code, taken.json["roles"]) == (200, [])
    assert program.get("/users").status_code == 401
    assert admin("DELETE", f"/users/{helper.sub}/roles/support").status_code == 200, "safe to repeat"
    assert admin("PUT", f"/users/{helper.sub}/roles/owner").status_code == 404


def test_sessions_of_a_person_are_seen_and_ended(app: Flask, person: Person, support: Program) -> None:
    browsers = [sign_in(Browser(app), person) for _ in range(2)]
    items = support.get(f"/users/{person.sub}/sessions").json["items"]
    assert len(items) == 2
    assert all(item["amr"] == ["pwd"] and not item["is_current"] for item in items)
    assert support("DELETE", f"/users/{person.sub}/sessions").json == {"sessions_ended": 2}
    assert not any(is_signed_in(browser) for browser in browsers)


def test_the_audit_comes_in_pages(person: Person, admin: Program) -> None:
    for role in ("reviewer", "support"):
        admin("PUT", f"/users/{person.sub}/roles/{role}")
        admin("DELETE", f"/users/{person.sub}/roles/{role}")
    whole = admin.get(f"/users/{person.sub}/audit").json["items"]
    assert [entry["action"] for entry in whole] == [
        *("user.role_removed", "user.role_added") * 2,
        "user.created",
    ]
    paged: list[Any] = []
    query: dict[str, Any] = {"limit": 2}
    while query.get("cursor", "") is not None:
        page = admin.get(f"/users/{person.sub}/audit", query_string=query).json
        paged += page["items"]
        query["cursor"] = page["next"]
    assert paged == whole


@pytest.mark.parametrize("sub", ["00000000-0000-4000-8000-000000000000", "nobody", "..", "%00"])
def test_whoever_does_not_exist_is_not_found(admin: Program, sub: str) -> None:
    for method, path, options in every_request(sub)[1:]:
        answer = admin(method, path, **options)
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json"), path


def test_a_body_changes_nothing_but_what_its_endpoint_is_for(person: Person, admin: Program) -> None:
    for body in ({"status": "active"}, {"roles": ["admin"]}, {"reason": "x" * 501}, {"reason": 5}, []):
        answer = admin("POST", f"/users/{person.sub}/disable", json=body)
        assert answer.status_code == 422, body
    seen = admin.get(f"/users/{person.sub}").json
    assert (seen["status"], seen["roles"]) == ("active", [])
