"""/account/erase: leaving after a time of grace, thinking better of it, and what is gone then."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked, MailRequested, SignInThreatened, UserErased
from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from services.account.flows.passwords import Passwords
from tests.account.authenticator import Passkey
from tests.account.conftest import Person, cookie_of, execute, is_signed_in, rows, side_by_side, sign_in
from tests.account.second_factors import person_with_app
from tests.account.test_data_download import run_task
from tests.conftest import receive, recorded, run_command
from tests.pages import Browser, token_of


@pytest.fixture
def proven(make_person: Callable[..., Person]) -> Person:
    return make_person(is_email_verified=True)


def leave(browser: Browser, person: Person) -> Browser:
    browser.fill("/account/erase", button="erase-account", email=person.email)
    return browser


def mails(app: Flask, person: Person) -> list[str]:
    return [mail.template for mail in recorded(app, MailRequested) if mail.recipient == person.email]


def erased(app: Flask, person: Person) -> list[UserErased]:
    return [event for event in recorded(app, UserErased) if event.sub == person.sub]


def erase_at(app: Flask, person: Person) -> Any:
    return rows(app, "SELECT erase_at FROM users WHERE sub = :sub", sub=person.sub)[0][0]


def exists(app: Flask, person: Person) -> bool:
    return bool(rows(app, "SELECT 1 FROM users WHERE sub = :sub", sub=person.sub))


def sign_ins_of(app: Flask, person: Person) -> int:
    query = "SELECT 1 FROM login_events e JOIN users u ON u.id = e.user_id WHERE sub = :sub AND success"
    return len(rows(app, query, sub=person.sub))


def let_time_pass(app: Flask, person: Person) -> None:
    execute(app, "UPDATE users SET erase_at = now() - interval '1 second' WHERE sub = :sub", sub=person.sub)


def test_leaving_signs_out_everywhere_at_once_and_says_how_to_come_back(
    app: Flask, browser: Browser, proven: Person
) -> None:
    elsewhere = sign_in(Browser(app), proven)
    secret = cookie_of(elsewhere)
    leave(sign_in(browser, proven), proven)
    assert (browser.status, browser.location) == (303, "/account/erase/scheduled")
    text = browser.get(browser.location).text
    assert "You are signed out everywhere" in text
    assert "Your account will be erased on" in text
    assert cookie_of(browser) == ""
    assert not is_signed_in(elsewhere)
    assert parts_of(app).redis.get(copy_key(secret_digest(secret))) is None
    assert parts_of(app).redis.get(f"revoked:sub:{proven.sub}")
    revoked = [event for event in recorded(app, AccessRevoked) if event.sub == proven.sub]
    assert [(event.cause, event.sids) for event in revoked] == [("erased", None)]
    assert mails(app, proven) == ["erasure_scheduled"]
    assert erase_at(app, proven) is not None
    assert erased(app, proven) == []


def test_whoever_signs_in_again_can_keep_the_account(app: Flask, browser: Browser, proven: Person) -> None:
    leave(sign_in(browser, proven), proven)
    sign_in(browser, proven, path="/login?continue=/account/sessions")
    assert browser.location == "/account/erase?continue=%2Faccount%2Fsessions"
    browser.get(browser.location)
    assert 'id="leaving"' in browser.text
    assert 'href="/account/sessions"' in browser.text
    assert 'id="keep-account"' in browser.get("/account").text, "the overview says it, too"
    browser.fill("/account/erase?continue=/account/sessions", button="keep-account")
    assert (browser.status, browser.location) == (303, "/account/sessions")
    assert erase_at(app, proven) is None
    assert mails(app, proven) == ["erasure_scheduled", "account_kept"]
    run_task(app, "erase_due")
    assert is_signed_in(browser)
    sign_in(Browser(app), proven)
    assert 'id="leaving"' not in browser.get("/account").text


def test_the_way_on_leads_nowhere_else(browser: Browser, proven: Person) -> None:
    leave(sign_in(browser, proven), proven)
    sign_in(browser, proven)
    for target in ("https://elsewhere.test/", "//elsewhere.test", "/\\elsewhere.test"):
        assert (
            "elsewhere.test"
            not in browser.get("/account/erase", query_string={"continue": target})
            .text.split("<main")[1]
            .split("</main>")[0]
        )


@pytest.mark.parametrize("typed", ["", "somebody@else.test", "yes", "x" * 3000])
def test_nobody_leaves_by_a_slip(app: Flask, browser: Browser, proven: Person, typed: str) -> None:
    sign_in(browser, proven)
    browser.fill("/account/erase", button="erase-account", email=typed)
    assert browser.status == 422
    assert 'id="email-error"' in browser.text
    assert erase_at(app, proven) is None


def test_leaving_wants_a_fresh_sign_in_and_a_form_of_ours(
    app: Flask, browser: Browser, proven: Person
) -> None:
    from libs.people.access import declared_access

    for endpoint in ("show", "erase"):
        access = declared_access(app, f"erasure.{endpoint}")
        assert access is not None
        assert access.needs_fresh
    sign_in(browser, proven)
    browser.get("/account/erase")
    data = {"email": proven.email}
    assert browser.post("/account/erase", data).status_code == 400
    data["csrf_token"] = token_of(browser)
    elsewhere = {"Origin": "https://elsewhere.test"}
    assert browser.post("/account/erase", data, headers=elsewhere).status_code == 403
    assert erase_at(app, proven) is None


def test_asking_twice_does_not_move_the_day(app: Flask, browser: Browser, proven: Person) -> None:
    leave(sign_in(browser, proven), proven)
    day = erase_at(app, proven)
    done = run_command(app, "users", "erase", proven.email, "--yes")
    assert done.exit_code == 0, done.output
    assert erase_at(app, proven) == day
    assert mails(app, proven) == ["erasure_scheduled"]


def traces(app: Flask, *words: str) -> dict[str, int]:
    """In which tables of account's one of the words stands. What waits in the outbox goes by itself in a week."""
    found = {}
    with app.app_context():
        names = list(parts_of(app).db.metadata.tables)
    for table in names:
        if table.startswith("outbox"):
            continue
        for word in words:
            [(count,)] = rows(
                app, f"SELECT count(*) FROM {table} AS t WHERE t::text ILIKE :like", like=f"%{word}%"
            )
            if count:
                found[f"{table}: {word}"] = count
    return found


def test_once_the_time_has_come_nothing_is_left_but_the_sub_in_the_audit(
    app: Flask, browser: Browser, proven: Person
) -> None:
    from tests.account.test_data_download import answer, ask, requests
    from tests.account.test_email_change import ask as ask_for
    from tests.account.test_email_change import confirm, link, new_address

    sign_in(browser, proven)
    browser.fill(
        "/account/profile", button="save-profile", nickname="Countess Marked", phone_number="+442079460123"
    )
    ask(browser)
    answer(app, requests(app, proven)[0])
    old, proven.email = proven.email, new_address()
    confirm(ask_for(browser, proven.email), link(app, proven.email))
    Browser(app).fill("/login", email=proven.email, password="wrong")
    run_command(app, "ratelimits", "reset", "--user", proven.email)
    user_id = str(rows(app, "SELECT id FROM users WHERE sub = :sub", sub=proven.sub)[0][0])
    leave(browser, proven)
    sign_in(browser, proven)  # and lets it be
    secret = cookie_of(browser)
    run_task(app, "erase_due")
    assert exists(app, proven), "not before its time"
    let_time_pass(app, proven)
    run_task(app, "erase_due")
    assert not exists(app, proven)
    assert not is_signed_in(browser)
    assert parts_of(app).redis.get(copy_key(secret_digest(secret))) is None
    assert traces(app, old, proven.email, user_id, "Countess Marked", "+442079460123") == {}
    assert set(traces(app, proven.sub)) == {f"audit_entries: {proven.sub}"}
    [event] = erased(app, proven)
    assert set(event.emails) == {proven.email, proven.email.lower(), old}
    assert mails(app, proven)[-1] == "account_erased"
    # The address is free, and whoever uses it now is somebody new.
    refused = Browser(app)
    refused.fill("/login", email=proven.email, password=proven.password)
    assert refused.status == 422


def test_the_audit_forgets_what_somebody_called_their_things(
    app: Flask, browser: Browser, person: Person, passkey: Passkey
) -> None:
    [(passkey_id,)] = rows(app, "SELECT p.id FROM passkeys p JOIN users u ON u.id = user_id WHERE sub = :sub",
                           sub=person.sub)  # fmt: skip
    browser.fill(f"/account/passkeys/{passkey_id}", name="Marked key of Ada")
    browser.fill(f"/account/passkeys/{passkey_id}/remove", button="remove-passkey")
    assert set(traces(app, "Marked key")) == {"audit_entries: Marked key"}
    assert run_command(app, "users", "erase", person.email, "--now", "--yes").exit_code == 0
    assert traces(app, "Marked key") == {}
    audit = run_command(app, "audit", "list", "--target", f"user:{person.sub}").output
    assert "passkey.renamed" in audit
    assert "passkey.removed" in audit


def test_erasing_twice_and_side_by_side_happens_once(app: Flask, browser: Browser, proven: Person) -> None:
    leave(sign_in(browser, proven), proven)
    let_time_pass(app, proven)
    assert side_by_side(*[lambda: run_task(app, "erase_due")] * 4) == [None] * 4
    assert len(erased(app, proven)) == 1
    assert mails(app, proven).count("account_erased") == 1


def test_keeping_it_at_the_last_moment_and_erasing_it_never_both_happen(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    for _ in range(5):
        person = make_person(is_email_verified=True)
        browser = sign_in(leave(sign_in(Browser(app), person), person), person)
        browser.get("/account/erase")
        data = {"csrf_token": token_of(browser)}
        let_time_pass(app, person)
        status, _ = side_by_side(
            lambda browser=browser, data=data: browser.post("/account/erase/keep", data).status_code,
            lambda: run_task(app, "erase_due"),
        )
        is_there = exists(app, person)
        assert is_there == (erased(app, person) == [])
        assert is_there == ("account_kept" in mails(app, person))
        assert status in ((303,) if is_there else (303, 403, 404))


def test_signing_in_while_leaving_never_leaves_a_session_behind(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    person = make_person(is_email_verified=True)
    execute(app, "UPDATE users SET erase_at = now() - interval '1 second' WHERE sub = :sub", sub=person.sub)
    browsers = [Browser(app) for _ in range(4)]

    def enter(browser: Browser) -> Callable[[], Any]:
        return lambda: browser.fill("/login", email=person.email, password=person.password)

    side_by_side(*map(enter, browsers), lambda: run_task(app, "erase_due"))
    assert not exists(app, person)
    for browser in browsers:
        assert not is_signed_in(browser)


def test_an_account_under_attack_can_be_erased(app: Flask, proven: Person) -> None:
    execute(
        app,
        "INSERT INTO login_events (id, created_at, user_id, user_agent, method, success, failure_reason)"
        " SELECT gen_random_uuid(), now(), users.id, '', 'password', false, 'bad_password'"
        " FROM users, generate_series(1, 2500) WHERE sub = :sub",
        sub=proven.sub,
    )
    [(before,)] = rows(app, "SELECT count(*) FROM login_events")
    run_command(app, "users", "erase", proven.email, "--now", "--yes")
    assert not exists(app, proven)
    [(after,)] = rows(app, "SELECT count(*) FROM login_events")
    assert before - after == 2500


@pytest.mark.parametrize(("is_right", "has_second_step"), [(False, False), (True, False), (True, True)])
def test_whoever_is_erased_while_their_password_is_checked_is_nobody(
    app: Flask, proven: Person, monkeypatch: pytest.MonkeyPatch, is_right: bool, has_second_step: bool
) -> None:
    if has_second_step:
        person_with_app(app, Browser(app), proven)
    check, erase = Passwords.is_right, ("users", "erase", proven.email, "--now", "--yes")

    def erased_meanwhile(self: Passwords, password: str, stored: str | None) -> bool:
        if stored:
            # In a thread of its own: the request's database session is not to see it happen.
            [done] = side_by_side(lambda: run_command(app, *erase))
            assert done.exit_code == 0, done.output
        return check(self, password, stored)

    monkeypatch.setattr(Passwords, "is_right", erased_meanwhile)
    stranger = Browser(app)
    password = proven.password if is_right else "a wrong password, wholly"
    stranger.fill("/login", email=proven.email, password=password)
    assert stranger.status == 422
    assert not is_signed_in(stranger)


def test_the_command_schedules_or_erases_at_once_and_asks_first(app: Flask, proven: Person) -> None:
    assert run_command(app, "users", "erase", proven.email, input="n\n").exit_code == 1
    assert erase_at(app, proven) is None
    done = run_command(app, "users", "erase", proven.email, "--reason", "asked by letter", input="y\n")
    assert done.exit_code == 0
    assert "will be erased on" in done.output
    assert mails(app, proven) == ["erasure_scheduled"]
    done = run_command(
        app, "users", "erase", proven.email, "--now", "--yes", "--reason", "asked by letter", "--json"
    )
    assert json.loads(done.stdout)["erased"] is True
    assert not exists(app, proven)
    audit = run_command(app, "audit", "list", "--target", f"user:{proven.sub}").output
    assert "user.erased" in audit
    assert "asked by letter" in audit
    gone = run_command(app, "users", "erase", proven.email, "--now", "--yes")
    assert gone.exit_code == 1
    assert "No account has the address" in gone.output


@pytest.fixture
def only_two(app: Flask, make_person: Callable[..., Person]) -> tuple[Person, Person]:
    """Two administrators and no other."""
    execute(app, "UPDATE users SET roles = array_remove(roles, 'admin')")
    return make_person(roles=["admin"], is_email_verified=True), make_person(
        roles=["admin"], is_email_verified=True
    )


def test_the_last_administrator_stays(app: Flask, browser: Browser, only_two: tuple[Person, Person]) -> None:
    first, last = only_two
    sign_in(Browser(app), last)
    assert run_command(app, "users", "erase", first.email, "--now", "--yes").exit_code == 0
    refused = run_command(app, "users", "erase", last.email, "--now", "--yes")
    assert refused.exit_code == 1
    assert "Make somebody else an administrator first" in refused.output
    assert sign_ins_of(app, last) == 1, "what is refused destroys no record"
    leave(sign_in(browser, last), last)
    assert browser.status == 409
    assert "last administrator" in browser.text
    assert is_signed_in(browser)
    assert exists(app, last)


def test_of_two_administrators_who_leave_side_by_side_one_stays(
    app: Flask, only_two: tuple[Person, Person]
) -> None:
    from services.account.flows.erasure import erase_user
    from services.account.flows.users import LastAdministrator

    def go(person: Person, now: bool) -> Callable[[], Any]:
        def act() -> Any:
            with app.app_context():
                return erase_user(sub=person.sub, now=now)

        return act

    results = side_by_side(go(only_two[0], False), go(only_two[1], True))
    assert [isinstance(result, LastAdministrator) for result in results].count(True) == 1


def test_an_administrator_who_has_become_the_last_one_is_not_erased_when_the_day_comes(
    app: Flask, only_two: tuple[Person, Person]
) -> None:
    first, last = only_two
    run_command(app, "users", "erase", first.email, "--yes")
    refused = run_command(app, "users", "role", "remove", last.email, "admin")
    assert refused.exit_code == 1, "whoever is about to be erased does not count"
    execute(app, "UPDATE users SET roles = '{}' WHERE sub = :sub", sub=last.sub)
    sign_in(Browser(app), first)
    let_time_pass(app, first)
    run_task(app, "erase_due")
    assert exists(app, first)
    assert sign_ins_of(app, first) == 1


def test_what_others_say_of_somebody_who_is_gone_troubles_nobody(app: Flask, proven: Person) -> None:
    run_command(app, "users", "erase", proven.email, "--now", "--yes")
    late = SignInThreatened(sub=proven.sub, cause="refresh_token_theft")
    assert receive(app, late, "oidc") == "handled"


def test_other_accounts_in_the_browser_stay_signed_in(
    app: Flask, browser: Browser, proven: Person, make_person: Callable[..., Person]
) -> None:
    other = make_person()
    sign_in(browser, other)
    sign_in(browser, proven, path="/login?another=yes")
    leave(browser, proven)
    assert is_signed_in(browser)
    assert other.email in browser.text


def test_the_command_lets_an_account_stay(app: Flask, proven: Person) -> None:
    run_command(app, "users", "erase", proven.email, "--yes")
    assert f"{proven.email} stays." in run_command(app, "users", "keep", proven.email).output
    assert erase_at(app, proven) is None
    assert "was not to be erased" in run_command(app, "users", "keep", proven.email).output
