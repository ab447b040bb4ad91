"""Changing a password from within a session, and setting one where there is none."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from libs.guard.ratelimit import hashed_user
from libs.messaging.events import AccessRevoked
from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    link_in,
    mails_to,
    rows,
    side_by_side,
    sign_in,
)
from tests.account.password_tools import NEW_PASSWORD, add_passkey, add_totp, answer, ask, without_password
from tests.conftest import recorded, run_command
from tests.pages import Browser


@pytest.fixture
def browser(app: Flask, person: Person) -> Browser:
    return sign_in(Browser(app), person)


def change(browser: Browser, old: str, new: str, **options: str) -> Browser:
    browser.fill("/account/password", old_password=old, new_password=new, **options)
    return browser


def make_old(app: Flask, browser: Browser) -> None:
    """Make the browser's sign-in one of an hour ago."""
    shared = copy_of(app, browser)
    assert shared is not None
    execute(
        app,
        "UPDATE sign_in_sessions SET auth_time = auth_time - interval '1 hour' WHERE id = :sid",
        sid=shared.sid,
    )
    parts_of(app).redis.flushdb()


def test_password_managers_find_the_page(browser: Browser, app: Flask) -> None:
    for visitor in (browser, Browser(app)):
        visitor.get("/.well-known/change-password")
        assert (visitor.status, visitor.location) == (302, "/account/password")
    assert 'href="/account/password"' in browser.get("/account").text
    text = browser.get("/account/password").text
    assert 'autocomplete="current-password"' in text
    assert 'autocomplete="new-password"' in text
    assert 'autocomplete="username"' in text


def test_a_new_password_ends_all_other_sessions_and_grants_and_keeps_this_one(
    app: Flask, browser: Browser, person: Person
) -> None:
    elsewhere = sign_in(Browser(app), person)
    before = copy_of(app, browser)
    change(browser, person.password, NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")
    assert "Your password is set" in browser.get("/account").text
    assert not is_signed_in(elsewhere)
    after = copy_of(app, browser)
    assert before is not None and after is not None
    assert (after.sid, after.auth_time, after.acr) == (before.sid, before.auth_time, before.acr)
    [event] = [e for e in recorded(app, AccessRevoked) if e.sub == person.sub]
    assert (event.sids, event.cause) == (None, "password_changed")
    [mail] = mails_to(app, person.email, "password_changed")
    assert "not-me?token=" in mail.context["not_me"]
    sign_in(Browser(app), Person(sub=person.sub, email=person.email, password=NEW_PASSWORD))


def test_the_session_goes_on_under_a_new_secret(app: Flask, browser: Browser, person: Person) -> None:
    thief = Browser(app)
    thief.set_cookie("id_session", cookie_of(browser))
    assert is_signed_in(thief)
    old = cookie_of(browser)
    change(browser, person.password, NEW_PASSWORD)
    assert cookie_of(browser) != old
    assert is_signed_in(browser)
    assert not is_signed_in(thief)
    assert not rows(
        app,
        "SELECT 1 FROM sign_in_sessions WHERE secret_digest = encode(sha256(convert_to(:secret, 'UTF8')), 'hex')",
        secret=old,
    )


def test_another_account_of_the_browser_stays_signed_in(
    app: Flask, browser: Browser, person: Person, make_person: Callable[..., Person]
) -> None:
    sign_in(browser, make_person(), "/login?another=yes")
    sign_in(browser, person, "/login?another=yes")
    change(browser, person.password, NEW_PASSWORD)
    assert len(cookie_of(browser).split(".")) == 2
    assert is_signed_in(browser)


def test_the_second_factor_is_kept(app: Flask, browser: Browser, person: Person) -> None:
    add_totp(app, person)
    change(browser, person.password, NEW_PASSWORD)
    other = Browser(app)
    other.fill("/login", email=person.email, password=NEW_PASSWORD)
    assert other.location.startswith("/login/second-factor")


def test_a_wrong_old_password_changes_nothing(app: Flask, browser: Browser, person: Person) -> None:
    for old in ("", "a wrong password, wholly", NEW_PASSWORD, "x" * 100_000):
        change(browser, old, NEW_PASSWORD)
        assert browser.status == 422
        assert "not your present password" in browser.text
        assert NEW_PASSWORD not in browser.text
    assert not mails_to(app, person.email)
    sign_in(Browser(app), person)


def test_guessing_the_old_password_is_throttled_like_a_sign_in_and_no_stranger_can_use_that_up(
    app: Flask, browser: Browser, person: Person
) -> None:
    for number in range(12):
        stranger = Browser(app, ip=f"198.51.100.{number}")
        stranger.fill("/login", email=person.email, password="a wrong password, wholly")
    browser.get("/account/password")
    statuses = []
    for _ in range(8):
        browser.fill("/account/password", old_password="a wrong password", new_password=NEW_PASSWORD)
        statuses.append(browser.status)
    assert statuses[:5] == [422] * 5
    assert 429 in statuses[5:]
    assert is_signed_in(browser)


def test_a_wait_for_the_old_password_is_told_beside_the_field(
    app: Flask, browser: Browser, person: Person
) -> None:
    account = hashed_user(parts_of(app).settings, person.email)
    until = str(int(time.time() + 600) * 1000)
    key = f"id-limits/rl:old_password:user:{account}:delays"
    parts_of(app).redis.hset(key, mapping={"tries": "14", "until": until})
    browser.fill("/account/password", old_password=person.password, new_password=NEW_PASSWORD)
    assert browser.status == 429
    assert 590 <= int(browser.page.headers["Retry-After"]) <= 600
    assert "Wait 10 minutes" in browser.text
    run_command(app, "ratelimits", "reset", "--user", person.email)
    browser.fill("/account/password", old_password=person.password, new_password=NEW_PASSWORD)
    assert browser.status == 303


@pytest.mark.parametrize(
    ("password", "words"),
    [("short", "at least 15"), ("qwertyuiopasdfgh", "easy to guess"), ("x" * 1001, "at most 1000")],
)
def test_the_new_one_is_held_to_the_same_rules(
    browser: Browser, person: Person, password: str, words: str
) -> None:
    change(browser, person.password, password)
    assert browser.status == 422
    assert words in browser.text
    assert f'value="{password}' not in browser.text


def test_the_present_password_is_no_new_one(browser: Browser, person: Person) -> None:
    change(browser, person.password, person.password)
    assert browser.status == 422
    assert "you have already" in browser.text


def test_an_open_reset_link_ends(app: Flask, browser: Browser, person: Person) -> None:
    ask(app, person.email)
    [mail] = mails_to(app, person.email)
    change(browser, person.password, NEW_PASSWORD)
    assert Browser(app).get(link_in(mail)).status_code == 410


def test_two_changes_side_by_side_leave_one_password(app: Flask, person: Person) -> None:
    browsers = [sign_in(Browser(app), person) for _ in range(3)]
    words = ("one", "two", "red")
    for browser in browsers:
        browser.get("/account/password")
    side_by_side(
        *(
            lambda b=b, w=w: b.fill(
                old_password=person.password, new_password=f"yellow umbrella by the river {w}"
            )
            for b, w in zip(browsers, words, strict=True)
        )
    )
    works = []
    for word in words:
        browser = Browser(app)
        browser.fill("/login", email=person.email, password=f"yellow umbrella by the river {word}")
        works.append(browser.status == 303)
    assert sum(works) == 1
    assert sum(is_signed_in(browser) for browser in browsers) == 1
    assert len(mails_to(app, person.email, "password_changed")) == 1


def test_a_session_that_ends_meanwhile_sets_nothing(
    app: Flask, browser: Browser, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.flows.revoking import revoke_access

    passwords = app.extensions["passwords"]
    hash_ = passwords.hash

    def slowly(password: str) -> str:
        with app.app_context():
            revoke_access(sub=person.sub, cause="sessions_revoked")
        hashed: str = hash_(password)
        return hashed

    browser.get("/account/password")
    monkeypatch.setattr(passwords, "hash", slowly)
    browser.fill(old_password=person.password, new_password=NEW_PASSWORD)
    assert browser.status == 303
    monkeypatch.undo()
    assert not is_signed_in(browser)
    assert not mails_to(app, person.email)
    sign_in(Browser(app), person)


def test_nobody_signed_in_is_asked_to_sign_in_first(app: Flask) -> None:
    nobody = Browser(app)
    nobody.get("/account/password")
    assert nobody.location == "/login?continue=%2Faccount%2Fpassword"
    nobody.get("/account/password/new")
    assert nobody.status == 303
    assert nobody.location.startswith("/login?")


def test_a_person_with_a_passkey_alone_sets_a_password_after_a_fresh_sign_in(
    app: Flask, browser: Browser, person: Person
) -> None:
    add_passkey(app, person)
    without_password(app, person)
    browser.get("/account/password")
    assert browser.location == "/account/password/new"
    browser.get("/account/password/new")
    assert "old_password" not in browser.text
    make_old(app, browser)
    browser.fill(new_password=NEW_PASSWORD)
    assert browser.status == 403
    browser.get("/account/password/new")
    assert "fresh_after=" in browser.location
    execute(app, "UPDATE sign_in_sessions SET auth_time = now() WHERE ended_at IS NULL")
    parts_of(app).redis.flushdb()
    browser.fill("/account/password/new", new_password=NEW_PASSWORD)
    assert (browser.status, browser.location) == (303, "/account")
    assert is_signed_in(browser)
    [mail] = mails_to(app, person.email, "password_changed")
    assert mail
    assert browser.get("/account/password/new").status_code == 303


def test_the_door_without_an_old_password_is_shut_for_whoever_has_one(
    browser: Browser, person: Person
) -> None:
    browser.get("/account/password")
    form, _ = browser.find_form("change-password", {})
    browser.post("/account/password/new", {**dict(form.fields), "new_password": NEW_PASSWORD})
    assert (browser.status, browser.location) == (303, "/account/password")
    other = Browser(browser.client.application)
    other.fill("/login", email=person.email, password=NEW_PASSWORD)
    assert other.status == 422


def test_with_all_turns_to_hash_taken_forms_get_a_prompt_503_while_pages_answer(
    app: Flask, browser: Browser, person: Person
) -> None:
    passwords = app.extensions["passwords"]
    turns = passwords._turns._initial_value
    browser.get("/account/password")
    for _ in range(turns):
        passwords._turns.acquire()
    try:
        began = time.monotonic()
        browser.fill(old_password=person.password, new_password=NEW_PASSWORD)
        assert browser.status == 503
        assert int(browser.page.headers["Retry-After"]) >= 1
        signing_in = Browser(app)
        signing_in.fill("/login", email=person.email, password=person.password)
        assert signing_in.status == 503
        assert time.monotonic() - began < 6
        for path in ("/login", "/password/forgot", "/account", "/account/password"):
            began = time.monotonic()
            assert browser.get(path).status_code in (200, 303)
            assert time.monotonic() - began < 1
        # Neither asking for a link nor asking how strong a password is waits for a turn.
        began = time.monotonic()
        browser.fill("/account/password", button="check-strength", new_password=NEW_PASSWORD)
        assert browser.status == 200
        browser.fill("/password/forgot", email=person.email)
        assert browser.status == 303
        assert time.monotonic() - began < 1
    finally:
        for _ in range(turns):
            passwords._turns.release()
    answer(app)
    change(browser, person.password, NEW_PASSWORD)
    assert browser.status == 303
