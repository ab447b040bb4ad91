"""/api/v1/me/passkeys, second-factor, links: how a person signs in, through an app of theirs."""

import time
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.authenticator import Passkey
from tests.account.conftest import Person, execute, is_signed_in, mails_to, rows, sign_in
from tests.account.linking_steps import link
from tests.account.passkey_doors import passkey_ids
from tests.account.password_tools import without_password
from tests.account.programs import Program
from tests.account.provider_server import ProviderServer
from tests.account.second_factors import half_sign_in, person_with_app
from tests.pages import Browser

Programs = Callable[..., Program]


def test_a_passkey_is_listed_named_and_removed(
    app: Flask, person: Person, passkey: Passkey, program_of: Programs
) -> None:
    program = program_of(person)
    [item] = program.get("/me/passkeys").json["items"]
    assert [item["id"]] == passkey_ids(app, person)
    path = f"/me/passkeys/{item['id']}"
    for _ in range(2):
        renamed = program("PATCH", path, json={"name": "  Blue   key "})
        assert (renamed.status_code, renamed.json) == (200, {**item, "name": "Blue key"})
    assert program("DELETE", path).status_code == 204
    assert program("DELETE", path).status_code == 404
    assert program.get("/me/passkeys").json == {"items": []}
    [mail] = mails_to(app, person.email, "passkey_removed")
    assert mail.context["passkey"] == "Blue key"


@pytest.mark.parametrize("name", ["", "   ", "\x07", "x" * 61, None, 5])
def test_a_name_that_cannot_be_is_refused(
    person: Person, passkey: Passkey, program_of: Programs, name: object
) -> None:
    program = program_of(person)
    before = program.get("/me/passkeys").json
    answer = program("PATCH", f"/me/passkeys/{before['items'][0]['id']}", json={"name": name})
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"name"})
    assert program.get("/me/passkeys").json == before


def test_nobody_touches_another_persons_passkey(
    app: Flask, person: Person, passkey: Passkey, make_person: Callable[..., Person], program_of: Programs
) -> None:
    stranger, [mine] = program_of(make_person()), passkey_ids(app, person)
    for target in (mine, str(uuid.uuid4())):
        for method, options in (("PATCH", {"json": {"name": "Mine"}}), ("DELETE", {})):
            answer = stranger(method, f"/me/passkeys/{target}", **options)
            assert (answer.status_code, answer.json["type"]) == (
                404,
                "urn:updspace-id:problem:unknown-passkey",
            )
    assert passkey_ids(app, person) == [mine]


def test_the_last_way_in_stays(app: Flask, person: Person, passkey: Passkey, program_of: Programs) -> None:
    without_password(app, person)
    [mine] = passkey_ids(app, person)
    answer = program_of(person)("DELETE", f"/me/passkeys/{mine}")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:updspace-id:problem:last-way-in")
    assert passkey_ids(app, person) == [mine]


def test_an_old_sign_in_removes_nothing(
    app: Flask, person: Person, passkey: Passkey, program_of: Programs
) -> None:
    [mine] = passkey_ids(app, person)
    old = program_of(person, auth_time=int(time.time()) - 301)
    assert old("DELETE", f"/me/passkeys/{mine}").status_code == 401
    assert passkey_ids(app, person) == [mine]


def test_the_second_factor_is_shown_as_it_stands(
    app: Flask, browser: Browser, person: Person, program_of: Programs
) -> None:
    program = program_of(person)
    assert program.get("/me/second-factor").json == {
        "authenticator_app": None,
        "has_passkey": False,
        "recovery_codes_left": 0,
        "way_back": None,
    }
    own = person_with_app(app, browser, person)
    lost = half_sign_in(Browser(app), person)
    lost.fill("/login/second-factor/other", button="lost")
    answer = program.get("/me/second-factor")
    assert answer.json["authenticator_app"]["confirmed_at"]
    assert answer.json["recovery_codes_left"] == len(own.recovery_codes)
    assert answer.json["way_back"]["available_at"]
    assert own.secret not in answer.text


def test_an_account_elsewhere_is_listed_and_unlinked(
    app: Flask, browser: Browser, person: Person, provider: ProviderServer, program_of: Programs
) -> None:
    link(sign_in(browser, person), provider)
    program = program_of(person)
    [item] = program.get("/me/links").json["items"]
    assert item["provider"] == "github"
    assert set(item) == {"provider", "name", "created_at", "last_used_at"}
    assert program("DELETE", "/me/links/discord").status_code == 404
    assert program("DELETE", "/me/links/github").status_code == 204
    assert program("DELETE", "/me/links/github").status_code == 404
    assert program.get("/me/links").json == {"items": []}
    assert is_signed_in(browser)
    assert len(mails_to(app, person.email, "provider_unlinked")) == 1


def test_the_last_link_of_whoever_has_nothing_else_stays(
    app: Flask, browser: Browser, person: Person, provider: ProviderServer, program_of: Programs
) -> None:
    link(sign_in(browser, person), provider)
    without_password(app, person)
    answer = program_of(person)("DELETE", "/me/links/github")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:updspace-id:problem:last-way-in")
    query = "SELECT 1 FROM linked_identities JOIN users ON users.id = user_id WHERE sub = :sub"
    assert len(rows(app, query, sub=person.sub)) == 1


def test_unlinking_ends_the_sessions_that_it_began_but_the_tokens_own(
    app: Flask, browser: Browser, person: Person, provider: ProviderServer, program_of: Programs
) -> None:
    link(sign_in(browser, person), provider)
    phone, laptop = sign_in(Browser(app), person), sign_in(Browser(app), person)
    execute(
        app,
        "UPDATE sign_in_sessions SET provider = 'github' FROM users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )
    program = program_of(person)  # of the laptop's session
    assert program("DELETE", "/me/links/github").status_code == 204
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)
