"""The rule that staff need a second factor, and what holds while they have shown one alone."""

import json
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from libs.messaging.events import UserChanged
from libs.people.sessions import cookie_name
from libs.service import parts_of
from tests.account.conftest import Person, cookie_of, copy_of, execute, rows, side_by_side, sign_in
from tests.account.second_factors import full_sign_in, person_with_app, set_up_app
from tests.account.test_sessions import revocations
from tests.conftest import recorded, run_command
from tests.pages import Browser, token_of


@pytest.fixture(autouse=True)
def _no_rule_left_over(app: Flask) -> Iterator[None]:
    # The rule reaches everybody with a role: here only the test's own people.
    execute(app, "UPDATE users SET roles = '{}' WHERE roles <> '{}'")
    yield
    run_command(app, "users", "second-factor-for-staff", "optional")


@pytest.fixture
def admin(make_person: Callable[..., Person]) -> Person:
    return make_person(roles=["admin"])


def require(app: Flask) -> None:
    assert run_command(app, "users", "second-factor-for-staff", "require").exit_code == 0


def roles_of(app: Flask, browser: Browser) -> tuple[list[str], str]:
    shared = copy_of(app, browser)
    assert shared is not None
    return shared.roles, shared.acr


def test_without_a_second_factor_staff_are_plain_members(
    app: Flask, browser: Browser, admin: Person, onboarding_app: Flask
) -> None:
    sign_in(browser, admin)
    assert roles_of(app, browser) == (["admin"], "1")
    assert browser.get("/admin/users").status_code == 200
    require(app)
    assert roles_of(app, browser) == ([], "1"), "every copy is rewritten at once"
    assert browser.get("/admin/users").status_code == 403
    assert parts_of(app).redis.get(f"revoked:sub:{admin.sub}"), "access tokens with roles die"
    assert [(event.sids, event.cause) for event in revocations(app, admin)] == [
        (None, "second_factor_required")
    ]
    elsewhere = Browser(onboarding_app)
    elsewhere.set_cookie(cookie_name(parts_of(onboarding_app).settings), cookie_of(browser))
    assert elsewhere.get("/admin/applications").status_code == 403
    assert 'id="needs-second-step"' in browser.get("/account").text

    set_up_app(app, browser, admin)
    assert roles_of(app, browser) == (["admin"], "2"), "the session has seen both factors"
    assert browser.get("/admin/users").status_code == 200
    assert 'id="needs-second-step"' not in browser.get("/account").text
    elsewhere.set_cookie(cookie_name(parts_of(onboarding_app).settings), cookie_of(browser))
    assert elsewhere.get("/admin/applications").status_code == 200


def test_each_sign_in_has_the_roles_that_its_factors_carry(
    app: Flask, browser: Browser, admin: Person
) -> None:
    phone = person_with_app(app, browser, admin)
    require(app)
    other = full_sign_in(Browser(app), admin, phone)
    assert roles_of(app, other) == (["admin"], "2")
    run_command(app, "users", "reset-second-factor", admin.email, "--reason", "test")
    again = sign_in(Browser(app), admin)
    assert roles_of(app, again) == ([], "1")


def test_a_rule_made_while_somebody_signs_in_reaches_that_session_too(
    app: Flask, browser: Browser, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.flows.staff_rule import require_second_factor_of_staff

    passwords = app.extensions["passwords"]
    is_right = passwords.is_right

    def meanwhile(password: str, stored: str | None) -> bool:
        require_second_factor_of_staff(required=True)
        return bool(is_right(password, stored))

    monkeypatch.setattr(passwords, "is_right", meanwhile)
    sign_in(browser, admin)
    assert roles_of(app, browser) == ([], "1")


def test_members_without_a_role_are_not_asked(app: Flask, browser: Browser, person: Person) -> None:
    require(app)
    sign_in(browser, person)
    assert 'id="needs-second-step"' not in browser.get("/account").text
    [row] = rows(app, "SELECT needs_second_factor FROM users WHERE sub = :sub", sub=person.sub)
    assert not row.needs_second_factor


def test_the_rule_follows_roles_that_come_and_go(
    app: Flask, browser: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    require(app)
    sign_in(browser, person)
    run_command(app, "users", "role", "add", person.email, "reviewer")
    assert roles_of(app, browser) == ([], "1")
    run_command(app, "users", "second-factor-for-staff", "optional")
    assert roles_of(app, browser) == (["reviewer"], "1")
    require(app)
    run_command(app, "users", "role", "remove", person.email, "reviewer")
    [row] = rows(app, "SELECT needs_second_factor FROM users WHERE sub = :sub", sub=person.sub)
    assert not row.needs_second_factor
    newcomer = make_person(roles=["support"])
    assert roles_of(app, sign_in(Browser(app), newcomer)) == ([], "1")


def test_a_role_given_while_the_rule_is_made_is_under_it(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    from services.account.flows.staff_rule import require_second_factor_of_staff
    from services.account.flows.users import add_role

    for _ in range(5):
        with app.app_context():
            require_second_factor_of_staff(required=False)
        people = [make_person() for _ in range(2)]

        def give(person: Person) -> bool:
            with app.app_context():
                return add_role(sub=person.sub, role="support")

        def make_rule() -> int:
            with app.app_context():
                return require_second_factor_of_staff(required=True)

        done = side_by_side(
            lambda people=people: give(people[0]), make_rule, lambda people=people: give(people[1])
        )
        assert not [result for result in done if isinstance(result, Exception)], done
        for person in people:
            [row] = rows(app, "SELECT needs_second_factor FROM users WHERE sub = :sub", sub=person.sub)
            assert row.needs_second_factor


def test_an_administrator_without_a_second_factor_cannot_lock_themselves_out(
    app: Flask, browser: Browser, admin: Person
) -> None:
    sign_in(browser, admin)
    browser.fill("/admin/users/rules", button="require")
    assert browser.status == 409
    assert "Set up a second factor for yourself first" in browser.text
    assert roles_of(app, browser) == (["admin"], "1")


def test_an_administrator_makes_and_lifts_the_rule_on_the_page(
    app: Flask, browser: Browser, admin: Person, make_person: Callable[..., Person]
) -> None:
    person_with_app(app, browser, admin)
    reviewer = make_person(roles=["reviewer"])
    other = sign_in(Browser(app), reviewer)
    browser.fill("/admin/users/rules", button="require", follow=True)
    assert "From now on staff need a second step." in browser.text
    assert roles_of(app, other) == ([], "1")
    shown = json.loads(run_command(app, "users", "second-factor-for-staff", "show", "--json").output)
    assert shown == {"required": True}
    browser.fill("/admin/users/rules", button="lift", follow=True)
    assert "Staff may sign in with one step again." in browser.text
    assert roles_of(app, other) == (["reviewer"], "1")
    entries = json.loads(
        run_command(app, "audit", "list", "--target", "rule:staff_second_factor", "--json").output
    )
    assert [(entry["actor"], entry["after"]["required"]) for entry in entries[:2]] == [
        (f"user:{admin.sub}", False),
        (f"user:{admin.sub}", True),
    ]


@pytest.mark.parametrize(
    ("roles", "status"), [([], 403), (["support"], 403), (["reviewer"], 403), (["admin"], 200)]
)
def test_only_administrators_see_the_rules_and_only_freshly_signed_in(
    app: Flask, make_person: Callable[..., Person], roles: list[str], status: int
) -> None:
    person = make_person(roles=roles)
    browser = sign_in(Browser(app), person)
    assert browser.get("/admin/users/rules").status_code == status
    browser.get("/account/sessions")
    token = token_of(browser)
    if status == 403:
        browser.post("/admin/users/rules", {"csrf_token": token, "require": "yes"})
        assert browser.status == 403
        return
    execute(
        app,
        "UPDATE sign_in_sessions s SET auth_time = now() - interval '10 minutes' FROM users u "
        "WHERE u.id = s.user_id AND u.sub = :sub",
        sub=person.sub,
    )
    from services.account.flows.copies import rewrite_copies

    [user] = rows(app, "SELECT id FROM users WHERE sub = :sub", sub=person.sub)
    with app.app_context():
        rewrite_copies(user.id)
    assert "fresh_after=" in browser.get("/admin/users/rules").headers["Location"]


def test_other_services_keep_hearing_of_the_roles_themselves(app: Flask, admin: Person) -> None:
    require(app)
    assert [event.roles for event in recorded(app, UserChanged) if event.sub == admin.sub] == [["admin"]]


def test_a_rule_made_while_redis_is_away_reaches_the_copies_once_it_is_back(
    app: Flask, browser: Browser, admin: Person, redis_away: Callable[[], None]
) -> None:
    from services.account.flows.copies import settle_debts

    parts = parts_of(app)
    away = parts.redis
    redis_away()
    real = parts.redis
    sign_in(browser, admin)
    parts.redis = away
    require(app)
    parts.redis = real
    with app.app_context():
        settle_debts()
    assert roles_of(app, browser) == ([], "1")
