"""/api/v1/users/{sub}: where and how a person signs in, and closing an account in danger."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.conftest import (
    Person,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    sign_in,
)
from tests.account.passkey_doors import add_passkey
from tests.account.programs import Program
from tests.account.second_factors import person_with_app
from tests.pages import Browser


def actions(app: Flask, person: Person) -> list[tuple[str, str | None]]:
    query = "SELECT action, reason FROM audit_entries WHERE target = :target ORDER BY created_at, id"
    return [tuple(row) for row in rows(app, query, target=f"user:{person.sub}")]


def test_sessions_of_a_person_are_seen_and_ended(
    app: Flask, person: Person, support_program: Program
) -> None:
    browsers = [sign_in(Browser(app), person) for _ in range(3)]
    path = f"/users/{person.sub}/sessions"
    items = support_program.get(path).json["items"]
    assert len(items) == 3
    assert all(item["amr"] == ["pwd"] and not item["is_current"] for item in items)
    assert support_program("DELETE", f"{path}/{items[0]['sid']}").status_code == 204
    assert len(support_program.get(path).json["items"]) == 2
    assert sum(is_signed_in(browser) for browser in browsers) == 2
    assert support_program("DELETE", path).json == {"sessions_ended": 2}
    assert not any(is_signed_in(browser) for browser in browsers)


def test_a_session_is_ended_as_that_of_its_own_person_alone(
    app: Flask, person: Person, make_person: Callable[..., Person], support_program: Program
) -> None:
    browser = sign_in(Browser(app), person)
    sid = support_program.get(f"/users/{person.sub}/sessions").json["items"][0]["sid"]
    for sub, other_sid in ((make_person().sub, sid), (person.sub, str(uuid.uuid4()))):
        answer = support_program("DELETE", f"/users/{sub}/sessions/{other_sid}")
        assert (answer.status_code, answer.json["type"]) == (404, "urn:updspace-id:problem:unknown-session")
    assert is_signed_in(browser)


def test_ways_in_are_shown_without_any_secret(
    app: Flask, browser: Browser, person: Person, support_program: Program
) -> None:
    own = person_with_app(app, browser, person)
    add_passkey(browser)
    answer = support_program.get(f"/users/{person.sub}/ways-in")
    seen = answer.json
    assert (seen["has_password"], seen["links"], seen["known_devices"]) == (True, [], 1)
    assert seen["authenticator_app"]["confirmed_at"]
    assert seen["recovery_codes_left"] == len(own.recovery_codes)
    [passkey] = seen["passkeys"]
    assert set(passkey) == {"id", "name", "is_synced", "created_at", "last_used_at"}
    assert own.secret not in answer.text


def test_an_account_is_secured_and_its_owner_mailed_a_way_back(
    app: Flask, person: Person, support_program: Program
) -> None:
    browser = sign_in(Browser(app), person)
    answer = support_program("POST", f"/users/{person.sub}/secure", json={"reason": "reported stolen"})
    assert (answer.status_code, answer.json) == (200, {"sessions_ended": 1, "link_mailed": True})
    assert not is_signed_in(browser)
    assert ("user.secured", "reported stolen") in actions(app, person)
    stranger = Browser(app)
    stranger.fill("/login", email=person.email, password=person.password)
    assert stranger.status != 303, "the password opens nothing"
    [mail] = mails_to(app, person.email, "account_secured")
    browser.fill(link_in(mail), password="a lantern in the orchard")
    assert is_signed_in(browser)


def test_a_disabled_account_is_secured_and_mailed_nothing(
    app: Flask, person: Person, support_program: Program
) -> None:
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    answer = support_program("POST", f"/users/{person.sub}/secure")
    assert answer.json == {"sessions_ended": 0, "link_mailed": False}
    refused = support_program("POST", f"/users/{person.sub}/password-link")
    assert (refused.status_code, refused.json["type"]) == (409, "urn:updspace-id:problem:account-is-disabled")
    assert mails_to(app, person.email) == []


def test_a_password_link_is_mailed_and_never_shown(
    app: Flask, person: Person, support_program: Program
) -> None:
    path = f"/users/{person.sub}/password-link"
    answers = [support_program("POST", path, json={"reason": "locked out"}) for _ in range(2)]
    assert [(answer.status_code, answer.json) for answer in answers] == [(202, {"purpose": "reset"})] * 2
    first, second = (link_in(mail) for mail in mails_to(app, person.email, "reset_password"))
    assert Browser(app).get(first).status_code == 410, "a newer link ends the older one"
    assert Browser(app).get(second).status_code == 200
    assert actions(app, person)[-1] == ("password.link_sent", "locked out")


def test_second_factors_are_removed_for_a_reason(
    app: Flask, browser: Browser, person: Person, admin_program: Program
) -> None:
    own = person_with_app(app, browser, person)
    path = f"/users/{person.sub}/second-factor/reset"
    for body in ({}, {"reason": ""}, {"reason": "  "}, {"reason": None}, {"reason": "x" * 501}):
        assert admin_program("POST", path, json=body).status_code == 422, body
    assert admin_program("POST", path).status_code == 422
    assert is_signed_in(browser)
    answer = admin_program("POST", path, json={"reason": "seen in person"})
    assert answer.json == {
        "authenticator_app": True,
        "recovery_codes": len(own.recovery_codes),
        "passkeys": 0,
        "kept_passkeys": 0,
    }
    assert not is_signed_in(browser)
    sign_in(browser, person)
    assert browser.location == "/account", "one factor is enough again"
    assert len(mails_to(app, person.email, "second_factor_reset_by_staff")) == 1
    again = admin_program("POST", path, json={"reason": "seen in person"})
    assert (again.status_code, again.json["authenticator_app"]) == (200, False)


@pytest.mark.parametrize("action", ["secure", "password-link", "second-factor/reset"])
def test_a_body_says_why_and_nothing_else(person: Person, admin_program: Program, action: str) -> None:
    for body in ({"password": "mine"}, {"reason": 5}, []):
        answer = admin_program("POST", f"/users/{person.sub}/{action}", json=body)
        assert answer.status_code == 422, body
