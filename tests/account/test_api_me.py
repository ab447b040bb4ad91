"""/api/v1/me: a person's own account, through an app of theirs."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import UserChanged
from tests.account.conftest import Person, cookie_of, is_signed_in, rows, side_by_side, sign_in
from tests.account.programs import Program
from tests.conftest import recorded
from tests.pages import Browser

Programs = Callable[..., Program]


def test_a_person_sees_their_account(person: Person, program_of: Programs) -> None:
    answer = program_of(person).get("/me")
    assert answer.status_code == 200
    assert answer.json["sub"] == person.sub
    assert answer.json["email"] == person.email
    assert (answer.json["email_verified"], answer.json["roles"]) == (False, [])
    assert (answer.json["profile"], answer.json["address"]) == (None, None)
    assert program_of(person).get("/me", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_a_person_changes_their_profile_and_every_service_is_told(
    app: Flask,
    person: Person,
    program_of: Programs,
) -> None:
    program = program_of(person)
    tag = program.get("/me").headers["ETag"]
    wanted = {"name": "  Anna   Lee ", "locale": "ru", "zoneinfo": "Europe/Berlin"}
    answer = program("PATCH", "/me", json=wanted, headers={"If-Match": tag})
    assert answer.status_code == 200
    assert (answer.json["name"], answer.json["locale"], answer.json["zoneinfo"]) == (
        "Anna Lee",
        "ru",
        "Europe/Berlin",
    )
    assert answer.headers["ETag"] != tag
    told = [event for event in recorded(app, UserChanged) if event.sub == person.sub][-1]
    assert (told.claims["name"], told.claims["zoneinfo"], told.locale) == ("Anna Lee", "Europe/Berlin", "ru")
    entry = rows(
        app,
        "SELECT * FROM audit_entries WHERE action = 'user.profile_changed' AND target = :t",
        t=f"user:{person.sub}",
    )[0]
    assert entry.actor == f"user:{person.sub}"
    assert entry.after == {"changed": ["locale", "name", "zoneinfo"]}
    cleared = program("PATCH", "/me", json={"zoneinfo": None}, headers={"If-Match": answer.headers["ETag"]})
    assert (cleared.status_code, cleared.json["zoneinfo"]) == (200, None)


def test_every_claim_of_the_profile_is_changed_by_its_name(person: Person, program_of: Programs) -> None:
    program = program_of(person)
    wanted = {
        "given_name": "Anna",
        "profile": "https://example.org/anna",
        "birthdate": "0000-12-31",
        "phone_number": "+49 30 123456",
        "address": {"locality": "Berlin", "country": None},
    }
    answer = program("PATCH", "/me", json=wanted, headers={"If-Match": "*"})
    assert answer.status_code == 200
    changed = {**wanted, "phone_number": "+4930123456", "address": {"locality": "Berlin"}}
    assert {name: answer.json[name] for name in wanted} == changed
    gone = program("PATCH", "/me", json=dict.fromkeys(wanted), headers={"If-Match": answer.headers["ETag"]})
    assert {name: gone.json[name] for name in wanted} == dict.fromkeys(wanted)


def test_the_api_and_the_page_know_the_same_profile() -> None:
    from services.account.schemas.profile import Address, ProfileChanges
    from services.account.schemas.users import AddressSchema, MeSchema, ProfileSchema

    assert set(ProfileSchema().fields) == set(ProfileChanges().fields) <= set(MeSchema().fields)
    assert set(AddressSchema().fields) == set(Address().fields)


def test_a_change_that_changes_nothing_keeps_the_state(person: Person, program_of: Programs) -> None:
    program = program_of(person)
    tag = program.get("/me").headers["ETag"]
    answer = program("PATCH", "/me", json={"name": "Ann Lee"}, headers={"If-Match": tag})
    assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


def test_of_two_changes_side_by_side_one_is_asked_to_look_again(
    app: Flask,
    person: Person,
    program_of: Programs,
) -> None:
    program = program_of(person)
    tag = program.get("/me").headers["ETag"]

    def change(name: str) -> int:
        return program("PATCH", "/me", json={"name": name}, headers={"If-Match": tag}).status_code

    names = [f"Name {letter}" for letter in "abcdef"]
    statuses = side_by_side(*(lambda name=name: change(name) for name in names))
    assert sorted(statuses) == [200, 412, 412, 412, 412, 412]
    won = names[statuses.index(200)]
    assert program.get("/me").json["name"] == won


def test_a_change_says_what_it_changes(person: Person, program_of: Programs) -> None:
    answer = program_of(person)("PATCH", "/me", json={"name": "Anna"})
    assert (answer.status_code, answer.json["type"]) == (428, "urn:updspace-id:problem:precondition-required")


@pytest.mark.parametrize("member", ["role", "roles", "status", "sub", "email", "email_verified", "version"])
def test_what_is_nobodys_own_to_change_is_refused_and_not_applied(
    app: Flask,
    person: Person,
    program_of: Programs,
    member: str,
) -> None:
    program = program_of(person)
    before = program.get("/me")
    value = {"roles": ["admin"], "email_verified": True, "version": 99}.get(member, "admin")
    answer = program("PATCH", "/me", json={"name": "Eve", member: value}, headers={"If-Match": "*"})
    assert (answer.status_code, set(answer.json["errors"])) == (422, {member})
    assert program.get("/me").json == before.json


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"name": "Bcc:\r\nx\x07"}, "name"),
        ({"name": None}, "name"),
        ({"locale": "tlh"}, "locale"),
        ({"zoneinfo": "Mars/Olympus"}, "zoneinfo"),
        ({"zoneinfo": "../../etc/passwd"}, "zoneinfo"),
        ({}, "body"),
        ({"address": {"planet": "Mars"}}, "address.planet"),
        ({"phone_number": "call me"}, "phone_number"),
        ({"website": "javascript:alert(1)"}, "website"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_by_field(
    person: Person,
    program_of: Programs,
    changes: dict[str, object],
    field: str,
) -> None:
    answer = program_of(person)("PATCH", "/me", json=changes, headers={"If-Match": "*"})
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field})


def test_sessions_are_listed_and_ended(app: Flask, person: Person, program_of: Programs) -> None:
    phone, laptop = sign_in(Browser(app), person), sign_in(Browser(app), person)
    program = program_of(person)  # of the laptop's session
    items = program.get("/me/sessions").json["items"]
    assert [item["is_current"] for item in items].count(True) == 1
    assert len(items) == 2
    other = next(item["sid"] for item in items if not item["is_current"])
    assert program("DELETE", f"/me/sessions/{other}").status_code == 204
    assert not is_signed_in(phone)
    assert is_signed_in(laptop)
    own = next(item["sid"] for item in items if item["is_current"])
    assert program("DELETE", f"/me/sessions/{own}").status_code == 204
    assert not is_signed_in(laptop)


def test_all_other_sessions_end_and_the_tokens_own_stays(
    app: Flask,
    person: Person,
    program_of: Programs,
) -> None:
    others = [sign_in(Browser(app), person) for _ in range(2)]
    mine = sign_in(Browser(app), person)
    answer = program_of(person)("DELETE", "/me/sessions")
    assert (answer.status_code, answer.json) == (200, {"sessions_ended": 2})
    assert is_signed_in(mine)
    assert not any(is_signed_in(browser) for browser in others)
    offline = program_of(person, sid=None)
    assert offline("DELETE", "/me/sessions").json == {"sessions_ended": 1}
    assert not is_signed_in(mine)


def test_nobody_ends_another_persons_session(
    app: Flask,
    person: Person,
    make_person: Callable[..., Person],
    program_of: Programs,
) -> None:
    victim = make_person()
    browser = sign_in(Browser(app), victim)
    sid = program_of(victim).get("/me/sessions").json["items"][0]["sid"]
    stranger = program_of(person)
    for target in (sid, str(uuid.uuid4())):
        answer = stranger("DELETE", f"/me/sessions/{target}")
        assert (answer.status_code, answer.json["type"]) == (404, "urn:updspace-id:problem:unknown-session")
    assert is_signed_in(browser)
    assert cookie_of(browser)


def test_whoever_is_disabled_or_gone_is_let_in_no_more(
    app: Flask,
    person: Person,
    program_of: Programs,
) -> None:
    from tests.account.conftest import execute

    program = program_of(person)
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    assert program.get("/me").status_code == 401
    execute(app, "DELETE FROM users WHERE sub = :sub", sub=person.sub)
    assert program.get("/me").status_code == 404


def test_a_client_by_itself_has_no_account(program_of: Programs) -> None:
    assert program_of(None).get("/me").status_code == 403
