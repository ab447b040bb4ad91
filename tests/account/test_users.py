"""People by command and on the staff pages."""

import json
import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import UserChanged
from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from tests.account.conftest import (
    PASSWORD,
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.conftest import recorded, run_command
from tests.pages import Browser


def fresh_email() -> str:
    return f"zoe-{uuid.uuid4().hex[:10]}@people.test"


def changes(app: Flask, person: Person) -> list[UserChanged]:
    return [event for event in recorded(app, UserChanged) if event.sub == person.sub]


def test_an_account_is_opened_with_an_invented_password_shown_once(app: Flask, browser: Browser) -> None:
    email = fresh_email()
    result = run_command(app, "users", "create", email, "--name", "Zoe Quinn", "--admin", "--json")
    assert result.exit_code == 0
    made = json.loads(result.stdout)
    assert made["roles"] == ["admin"]
    sign_in(browser, Person(sub=made["sub"], email=email, password=made["password"]))
    shown = run_command(app, "users", "show", email)
    assert "Zoe Quinn" in shown.output
    assert made["password"] not in shown.output
    assert made["password"] not in run_command(app, "audit", "list", "--json").output


def test_an_account_is_opened_with_a_password_from_standard_input(app: Flask, browser: Browser) -> None:
    email = fresh_email()
    result = run_command(app, "users", "create", email, "--password-stdin", input=f"{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    sign_in(browser, Person(sub="", email=email))


@pytest.mark.parametrize(
    ("email", "name"),
    [
        ("nonsense", "Zoe"),
        ("a@b@c.test", "Zoe"),
        ("zoe@people.test\nBcc: x@evil.test", "Zoe"),
        ("zoe zoe@people.test", "Zoe"),
        ("zoe@" + "x" * 260 + ".test", "Zoe"),
        ("zoe@people.test,eve@evil.test", "Zoe"),
        ("ok-name@people.test", "\x07"),
        ("ok-name@people.test", "x" * 201),
    ],
)
def test_addresses_and_names_that_cannot_be_are_refused(app: Flask, email: str, name: str) -> None:
    result = run_command(app, "users", "create", email, "--name", name)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "show", "zoe\udcff@people.test"],
        ["users", "create", "zoe@people.test", "--name", "\udcff"],
        ["users", "list", "--search", "\udcff"],
        ["users", "list", "--limit", "-1"],
        ["sessions", "list", "--limit", "99999999999999999999"],
        ["ratelimits", "reset", "--user", "\udcff"],
        ["audit", "list", "--target", "\udcff"],
        ["audit", "list", "--limit", "0"],
        ["events", "list", "--limit", "-1"],
    ],
)
def test_what_no_command_can_take_is_said_in_a_sentence(app: Flask, arguments: list[str]) -> None:
    result = run_command(app, *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


def test_a_password_from_standard_input_that_is_no_text_is_refused(app: Flask) -> None:
    result = run_command(
        app, "users", "create", "zoe@people.test", "--password-stdin", input=b"\xff" * 20 + b"\n"
    )
    assert result.exit_code != 0
    assert "Error: " in result.output


def test_one_address_has_one_account_however_it_is_written(app: Flask, person: Person) -> None:
    result = run_command(app, "users", "create", person.email.upper())
    assert result.exit_code == 1
    assert "already an account" in result.output


def test_one_address_has_one_account_when_opened_side_by_side(app: Flask) -> None:
    from services.account.flows.users import EmailTaken, create_user

    email = fresh_email()

    def create() -> str:
        with app.app_context():
            return create_user(email=email, name="Zoe", password=PASSWORD).sub

    results = side_by_side(*[create] * 4)
    assert len([result for result in results if isinstance(result, str)]) == 1
    assert len([result for result in results if isinstance(result, EmailTaken)]) == 3


def test_disabling_ends_access_and_enabling_gives_it_back(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    result = run_command(app, "users", "disable", person.email, "--reason", "asked us to")
    assert result.exit_code == 0
    assert parts_of(app).redis.get(copy_key(secret_digest(cookie_of(browser)))) is None
    assert not is_signed_in(browser)
    assert "disabled before" in run_command(app, "users", "disable", person.email).output
    assert run_command(app, "users", "enable", person.email).exit_code == 0
    assert not is_signed_in(browser)
    sign_in(browser, person)
    assert [(event.version, event.status) for event in changes(app, person)] == [
        (1, "active"),
        (2, "disabled"),
        (3, "active"),
    ]


def test_a_role_reaches_every_copy_at_once_and_losing_it_denies_tokens(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    key = copy_key(secret_digest(cookie_of(browser)))
    parts_of(app).redis.expire(key, 1000)
    assert run_command(app, "users", "role", "add", person.email, "reviewer").exit_code == 0
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.roles, shared.claims_version) == (["reviewer"], 2)
    assert parts_of(app).redis.ttl(key) <= 1000
    assert parts_of(app).redis.get(f"revoked:sub:{person.sub}") is None
    assert "was reviewer before" in run_command(app, "users", "role", "add", person.email, "reviewer").output
    result = run_command(app, "users", "role", "remove", person.email, "reviewer", "--json")
    assert json.loads(result.stdout)["roles"] == []
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == []
    assert parts_of(app).redis.get(f"revoked:sub:{person.sub}")
    assert [event.roles for event in changes(app, person)] == [[], ["reviewer"], []]
    assert run_command(app, "users", "role", "add", person.email, "owner").exit_code == 2


def test_a_role_taken_while_redis_is_away_is_taken_from_the_copies_once_it_is_back(
    app: Flask, browser: Browser, make_person: Callable[..., Person], redis_away: Callable[[], None]
) -> None:
    from services.account.flows.copies import settle_debts
    from services.account.flows.users import remove_role

    parts = parts_of(app)
    away = parts.redis
    redis_away()
    real = parts.redis
    make_person(roles=["admin"])
    person = make_person(roles=["admin"])
    sign_in(browser, person)
    parts.redis = away
    with app.app_context():
        assert remove_role(sub=person.sub, role="admin")
    assert rows(app, "SELECT 1 FROM redis_debts")
    parts.redis = real
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == ["admin"]
    with app.app_context():
        settle_debts()
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == []


def test_many_changes_at_once_give_versions_in_order_and_copies_of_the_last(
    app: Flask, browser: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    from services.account.flows.users import add_role, remove_role

    make_person(roles=["admin"])
    sign_in(browser, person)

    def change(action: Callable[..., bool], role: str) -> bool:
        with app.app_context():
            return action(sub=person.sub, role=role)

    results = side_by_side(
        lambda: change(add_role, "reviewer"),
        lambda: change(add_role, "support"),
        lambda: change(add_role, "admin"),
        lambda: change(remove_role, "admin"),
    )
    assert not [result for result in results if isinstance(result, Exception)]
    events = changes(app, person)
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    shared = copy_of(app, browser)
    assert shared is not None
    [row] = rows(app, "SELECT roles, version FROM users WHERE sub = :sub", sub=person.sub)
    assert (shared.roles, shared.claims_version) == (row.roles, row.version)


def test_the_first_administrator_is_made_once(app: Flask, browser: Browser) -> None:
    from services.account.flows.users import ensure_administrator

    email = fresh_email()

    def ensure() -> bool:
        with app.app_context():
            return ensure_administrator(email=email, password=PASSWORD)

    assert sorted(side_by_side(*[ensure] * 3)) == [False, False, True]
    sign_in(browser, Person(sub="", email=email))
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == ["admin"]


def found(app: Flask, text: str, *more: str) -> list[str]:
    listed = run_command(app, "users", "list", "--search", text, "--json", *more)
    return [row["email"] for row in json.loads(listed.stdout)]


def test_people_are_found_by_the_start_of_address_or_name_and_by_domain(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    tag = uuid.uuid4().hex[:8]
    domain = f"d{tag}.test"
    bird = make_person(name=f"Rare {tag}Bird Of Paradise", email=f"rara.{tag}@{domain}")
    other = make_person(name=f"Ñandú {tag.upper()}bird", email=f"other-{tag}@{domain}")
    assert found(app, f"RARA.{tag}") == [bird.email]
    assert found(app, f"{tag}BIRD") == [other.email, bird.email], "the newest first"
    assert found(app, f"{tag}bird rar") == [bird.email]
    assert found(app, f"par {tag}b") == [bird.email]
    assert found(app, f"par {tag}b nobody") == []
    assert found(app, f"ñan {tag}") == [other.email]
    assert found(app, f"@{domain.upper()}") == [other.email, bird.email]
    assert found(app, f"@{tag}.test") == []
    assert found(app, f"@{domain}", "--limit", "1") == [other.email]
    assert found(app, "bird") == [], "the middle of a word is not looked at"


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "%_no such person", "@", "@%", "x" * 5000, "' OR 1=1 --", "\x00"]
)
def test_signs_of_patterns_mean_themselves(app: Flask, person: Person, text: str) -> None:
    result = run_command(app, "users", "list", "--search", text, "--limit", "1")
    assert result.exit_code == 0
    if text != "\x00":
        assert "Nobody." in result.output


def test_people_are_filtered_by_state(app: Flask, make_person: Callable[..., Person]) -> None:
    from services.account.flows.search import STATES

    domain = f"d{uuid.uuid4().hex[:8]}.test"

    def make(name: str, change: str = "", **values: object) -> None:
        person = make_person(email=f"{name}@{domain}", **values)
        if change:
            execute(app, change.replace(":id", f"(SELECT id FROM users WHERE sub = '{person.sub}')"))

    make("plain")
    make("off", "UPDATE users SET status = 'disabled' WHERE id = :id")
    make("leaving", "UPDATE users SET erase_at = now() + interval '9 days' WHERE id = :id")
    make("closed", "DELETE FROM password_credentials WHERE user_id = :id")
    make("helper", roles=["support"])
    totp = (
        "INSERT INTO totp_credentials (id, user_id, seed_sealed, last_step, created_at, confirmed_at)"
        " SELECT gen_random_uuid(), :id, 'x', 0, now(), {confirmed}"
    )
    make("coded", totp.format(confirmed="now()"))
    make("begun", totp.format(confirmed="NULL"))
    expected = {
        "active": {"plain", "leaving", "closed", "helper", "coded", "begun"},
        "disabled": {"off"},
        "erasing": {"leaving"},
        "no_password": {"closed"},
        "second_factor": {"coded"},
        "no_second_factor": {"plain", "off", "leaving", "closed", "helper", "begun"},
        "staff": {"helper"},
    }
    assert set(expected) == set(STATES)
    for state, names in expected.items():
        assert {email.split("@")[0] for email in found(app, f"@{domain}", "--state", state)} == names, state
        everybody = found(app, "", "--state", state, "--limit", "200")
        assert {email.split("@")[0] for email in everybody if email.endswith(domain)} == names, state


def test_a_person_is_shown_with_their_ways_in_and_no_secret(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    shown = json.loads(run_command(app, "users", "show", person.email, "--json").output)
    assert (shown["has_password"], shown["sessions"], shown["known_devices"]) == (True, 1, 1)
    assert shown["last_sign_in"]
    assert "argon2" not in json.dumps(shown)


def test_unknown_people_are_said(app: Flask) -> None:
    assert run_command(app, "users", "show", "nobody@people.test").exit_code == 1


def test_sessions_are_listed_by_command(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    [row] = json.loads(run_command(app, "sessions", "list", person.email, "--json").output)
    assert (row["email"], row["amr"]) == (person.email, ["pwd"])
    assert cookie_of(browser) not in json.dumps(row)
