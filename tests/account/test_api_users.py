"""/api/v1/users: everybody's accounts, for staff's programs."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.account.conftest import Person, is_signed_in, link_in, mails_to, sign_in
from tests.account.programs import Program
from tests.pages import Browser

Programs = Callable[..., Program]


def test_people_are_found_by_words_and_by_state(
    make_person: Callable[..., Person], admin_program: Program
) -> None:
    word = uuid.uuid4().hex
    people = [make_person(name=f"Kit {word}", email=f"kit{number}-{word}@people.test") for number in range(3)]

    def subs(**query: str) -> list[str]:
        return [item["sub"] for item in admin_program.get("/users", query_string=query).json["items"]]

    assert subs(search=word.upper()) == [person.sub for person in reversed(people)]
    assert subs(search=f"KIT1-{word}") == [people[1].sub]
    assert admin_program("POST", f"/users/{people[0].sub}/disable").json["status"] == "disabled"
    assert subs(search=word, state="disabled") == [people[0].sub]
    assert subs(search=word, state="active") == [people[2].sub, people[1].sub]
    assert subs(search="%") == []
    refused = admin_program.get("/users", query_string={"state": "erased", "status": "active"})
    assert (refused.status_code, set(refused.json["errors"])) == (422, {"state", "status"})


def test_pages_stay_what_they_are_while_people_join(
    make_person: Callable[..., Person], admin_program: Program
) -> None:
    word = uuid.uuid4().hex
    people = [make_person(name=f"Early {word}").sub for _ in range(5)]
    seen, query = [], {"search": word, "limit": "2"}
    while True:
        page = admin_program.get("/users", query_string=query).json
        seen += [item["sub"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
        make_person(name=f"Late {word}")
    assert seen == list(reversed(people)), "nobody twice, nobody left out, nobody new in between"


def test_the_link_leads_to_the_next_page(make_person: Callable[..., Person], admin_program: Program) -> None:
    word = uuid.uuid4().hex
    for _ in range(2):
        make_person(name=f"Kit {word}")
    first = admin_program.get("/users", query_string={"search": word, "limit": 1})
    target = first.headers["Link"].partition("<")[2].partition(">")[0]
    assert target.startswith("/api/v1/users?")
    second = admin_program.get(target.removeprefix("/api/v1"))
    assert len(second.json["items"]) == 1
    assert second.json["items"] != first.json["items"]
    assert "Link" not in second.headers


def test_disabling_signs_the_person_out_everywhere_and_enabling_lets_them_in_again(
    app: Flask,
    person: Person,
    admin_program: Program,
    program_of: Programs,
) -> None:
    browser = sign_in(Browser(app), person)
    own = program_of(person, iat=0)
    answer = admin_program("POST", f"/users/{person.sub}/disable", json={"reason": "spam"})
    assert (answer.status_code, answer.json["status"]) == (200, "disabled")
    assert not is_signed_in(browser)
    assert own.get("/me").status_code == 401
    again = admin_program("POST", f"/users/{person.sub}/disable")
    assert (again.status_code, again.headers["ETag"]) == (200, answer.headers["ETag"]), "safe to repeat"
    assert admin_program("POST", f"/users/{person.sub}/enable", json={}).json["status"] == "active"
    audit = admin_program.get(f"/users/{person.sub}/audit").json["items"]
    entry = next(entry for entry in audit if entry["action"] == "user.disabled")
    assert (entry["reason"], entry["after"]) == ("spam", {"status": "disabled"})
    assert entry["actor"].startswith("user:")


def test_a_role_taken_away_is_gone_from_every_token(
    make_person: Callable[..., Person],
    admin_program: Program,
    program_of: Programs,
) -> None:
    helper = make_person()
    given = admin_program("PUT", f"/users/{helper.sub}/roles/support")
    assert (given.status_code, given.json["roles"]) == (200, ["support"])
    program = program_of(helper, "users:read", iat=0)
    assert program.get("/users").status_code == 200
    taken = admin_program("DELETE", f"/users/{helper.sub}/roles/support")
    assert (taken.status_code, taken.json["roles"]) == (200, [])
    assert program.get("/users").status_code == 401
    assert admin_program("DELETE", f"/users/{helper.sub}/roles/support").status_code == 200, "safe to repeat"
    assert admin_program("PUT", f"/users/{helper.sub}/roles/owner").status_code == 404


def test_the_audit_comes_in_pages(person: Person, admin_program: Program) -> None:
    for role in ("reviewer", "support"):
        admin_program("PUT", f"/users/{person.sub}/roles/{role}")
        admin_program("DELETE", f"/users/{person.sub}/roles/{role}")
    whole = admin_program.get(f"/users/{person.sub}/audit").json["items"]
    assert [entry["action"] for entry in whole] == [
        *("user.role_removed", "user.role_added") * 2,
        "user.created",
    ]
    paged: list[Any] = []
    query: dict[str, Any] = {"limit": 2}
    while query.get("cursor", "") is not None:
        page = admin_program.get(f"/users/{person.sub}/audit", query_string=query).json
        paged += page["items"]
        query["cursor"] = page["next"]
    assert paged == whole


def test_a_body_changes_nothing_but_what_its_endpoint_is_for(person: Person, admin_program: Program) -> None:
    for body in ({"status": "active"}, {"roles": ["admin"]}, {"reason": "x" * 501}, {"reason": 5}, []):
        answer = admin_program("POST", f"/users/{person.sub}/disable", json=body)
        assert answer.status_code == 422, body
    seen = admin_program.get(f"/users/{person.sub}").json
    assert (seen["status"], seen["roles"]) == ("active", [])


def test_an_account_that_is_opened_is_its_owners_alone(
    app: Flask, admin_program: Program, browser: Browser
) -> None:
    email = f"Zoe-{uuid.uuid4().hex[:10]}@people.test"
    body = {"email": email, "name": " Zoe  Quinn ", "locale": "ru", "roles": ["support", "support"]}
    made = admin_program("POST", "/users", json=body)
    assert (made.status_code, made.json["email"], made.json["name"]) == (201, email, "Zoe Quinn")
    assert (made.json["locale"], made.json["roles"], made.json["email_verified"]) == (
        "ru",
        ["support"],
        False,
    )
    assert made.headers["ETag"] == admin_program.get(f"/users/{made.json['sub']}").headers["ETag"]
    assert made.headers["Location"] == f"/api/v1/users/{made.json['sub']}"
    assert "password" not in made.text
    [mail] = mails_to(app, email)
    assert (mail.template, mail.locale) == ("set_password", "ru")
    browser.fill(link_in(mail), password="a lantern in the orchard")
    assert is_signed_in(browser)
    again = admin_program("POST", "/users", json={"email": email.lower(), "name": "Eve"})
    assert (again.status_code, again.json["type"]) == (409, "urn:updspace-id:problem:email-taken")
    assert len(mails_to(app, email)) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "nonsense"}, "email"),
        ({"email": "a@people.test, eve@evil.test"}, "email"),
        ({"name": "\x07"}, "name"),
        ({"name": ""}, "name"),
        ({"locale": "tlh"}, "locale"),
        ({"roles": ["owner"]}, "roles.0"),
        ({"password": "chosen by staff"}, "password"),
        ({"email_verified": True}, "email_verified"),
        ({"sub": str(uuid.UUID(int=1))}, "sub"),
    ],
)
def test_an_account_that_cannot_be_is_refused_by_field(
    admin_program: Program, change: dict[str, Any], field: str
) -> None:
    body = {"email": f"zoe-{uuid.uuid4().hex}@people.test", "name": "Zoe", **change}
    answer = admin_program("POST", "/users", json=body)
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field})


def test_staff_erase_an_account_after_the_time_of_grace_and_may_think_better_of_it(
    app: Flask, person: Person, admin_program: Program
) -> None:
    browser, path = sign_in(Browser(app), person), f"/users/{person.sub}/erasure"
    assert admin_program.get(path).json == {"erase_at": None}
    slip = admin_program("POST", path, json={"email": "somebody@else.test"})
    assert (slip.status_code, set(slip.json["errors"])) == (422, {"email"})
    assert is_signed_in(browser)
    body = {"email": person.email, "reason": "asked us by letter"}
    asked = admin_program("POST", path, json=body)
    assert asked.status_code == 200
    assert asked.json["erase_at"] is not None
    assert not is_signed_in(browser)
    assert admin_program("POST", path, json=body).json == asked.json == admin_program.get(path).json
    assert admin_program("DELETE", path).status_code == 204
    assert admin_program.get(path).json == {"erase_at": None}
    assert [mail.template for mail in mails_to(app, person.email)] == ["erasure_scheduled", "account_kept"]


def test_an_account_that_is_erased_at_once_is_gone(person: Person, admin_program: Program) -> None:
    path = f"/users/{person.sub}/erasure"
    body = {"email": person.email, "now": True, "reason": "a test account"}
    assert admin_program("POST", path, json=body).status_code == 200
    assert admin_program("POST", path, json=body).status_code == 404
    assert admin_program.get(f"/users/{person.sub}").status_code == 404
