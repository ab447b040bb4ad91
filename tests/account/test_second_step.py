"""/login/second-factor: the second step of signing in, and those who guess at it."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask

from libs.people.access import declared_access
from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.account.second_factors import (
    App,
    full_sign_in,
    half_sign_in,
    set_up_app,
    unspend,
)
from tests.account.test_login import counted
from tests.account.test_second_factor import events
from tests.conftest import run_command
from tests.pages import Browser, token_of


def test_signing_in_takes_a_code_after_the_password(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person, "/login?continue=%2Faccount%2Fsessions")
    assert not cookie_of(browser)
    page = browser.get(browser.location).text
    assert re.search(
        r'<input id="code" name="code" type="text" value="" autocomplete="one-time-code" inputmode="numeric"',
        page,
    )
    assert 'id="verify"' in page
    browser.fill(code=f" {phone.code()[:3]} {phone.code()[3:]} ")
    assert browser.status == 303
    assert browser.location == "/account/sessions"
    shared = copy_of(app, browser)
    assert shared is not None
    assert (shared.amr, shared.acr) == (["pwd", "otp", "mfa"], "2")
    assert events(app, person)[0] == ("totp", None)
    assert "One-time code" in browser.get("/account/sessions").text


def test_a_code_works_once(app: Flask, person: Person, phone: App) -> None:
    code = phone.code()
    browser = half_sign_in(Browser(app), person)
    browser.fill(browser.location, code=code)
    assert browser.status == 303
    again = half_sign_in(Browser(app), person)
    again.fill(again.location, code=code)
    assert again.status == 422
    assert events(app, person)[0] == ("totp", "bad_second_factor")


def test_a_code_used_side_by_side_signs_in_once(app: Flask, person: Person, phone: App) -> None:
    browsers = [half_sign_in(Browser(app), person) for _ in range(4)]
    for browser in browsers:
        browser.get(browser.location)
    code = phone.code()
    side_by_side(*(lambda browser=browser: browser.fill(code=code) for browser in browsers))
    assert sorted(browser.status for browser in browsers) == [303, 422, 422, 422]


def test_the_codes_just_before_and_after_count_and_no_others(app: Flask, person: Person, phone: App) -> None:
    for steps, status in ((-3, 422), (3, 422), (1, 303), (-1, 303)):
        unspend(app, person)
        browser = half_sign_in(Browser(app), person)
        browser.fill(browser.location, code=phone.code(steps=steps))
        assert browser.status == status, steps


def test_an_older_code_does_not_work_after_a_newer_one(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    browser.fill(browser.location, code=phone.code(steps=1))
    assert browser.status == 303
    browser = half_sign_in(Browser(app), person)
    browser.fill(browser.location, code=phone.code())
    assert browser.status == 422


@pytest.mark.parametrize("code", ["", " ", "12345", "1234567", "０" * 6, "x" * 5000, "'; --", "\x00"])
def test_what_is_no_code_is_refused(app: Flask, person: Person, phone: App, code: str) -> None:
    browser = half_sign_in(Browser(app), person)
    browser.fill(browser.location, code=code)
    assert browser.status == 422
    assert not cookie_of(browser)


def test_a_step_sent_first_or_by_another_browser_fails_closed(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    stranger = Browser(app)
    for path in ("", "/other", "/lost"):
        stranger.get(f"/login/second-factor{path}?continue=%2Fdemo")
        assert stranger.location == "/login?continue=%2Fdemo"
    assert "Please sign in again." in stranger.get(stranger.location).text
    for path in ("", "/cancel", "/lost"):
        stranger.get("/login")
        stranger.post(f"/login/second-factor{path}", {"csrf_token": token_of(stranger), "code": phone.code()})
        assert stranger.location == "/login"
    assert not cookie_of(stranger)


def test_a_finished_attempt_cannot_be_finished_again(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    page = browser.location
    browser.get(page)
    token, cookies = token_of(browser), browser.cookie("id_browser")
    browser.fill(code=phone.code())
    assert browser.status == 303
    replay = Browser(app)
    replay.set_cookie("id_browser", cookies or "")
    replay.post(page, {"csrf_token": token, "code": phone.code(steps=1)})
    assert replay.location.startswith("/login")
    assert not cookie_of(replay)


def test_an_attempt_ends_with_the_password_that_began_it(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    execute(
        app,
        "UPDATE password_credentials SET hash = hash || ' ' FROM users WHERE users.id = user_id AND sub = :sub",
        sub=person.sub,
    )
    browser.fill(browser.location, code=phone.code())
    assert browser.location.startswith("/login?")
    assert not cookie_of(browser)


def test_whoever_closes_the_account_meanwhile_is_not_in_each_others_way(
    app: Flask, person: Person, phone: App
) -> None:
    browser = half_sign_in(Browser(app), person)
    browser.get(browser.location)
    values = {"sub": person.sub}
    with app.app_context():
        engine = parts_of(app).db.engine
    with engine.connect() as closing, ThreadPoolExecutor(1) as pool:
        closing.execute(sa.text("SELECT id FROM users WHERE sub = :sub FOR NO KEY UPDATE"), values)
        step = pool.submit(browser.fill, code=phone.code())
        wait_until_blocked(app)
        ending = (
            "UPDATE sign_in_attempts SET finished_at = now() FROM users"
            " WHERE users.id = user_id AND sub = :sub AND finished_at IS NULL"
        )
        assert closing.execute(sa.text(ending), values).rowcount == 1
        closing.commit()
        step.result()
    assert browser.status == 303
    assert browser.location.startswith("/login")
    assert not cookie_of(browser)


def wait_until_blocked(app: Flask) -> None:
    """Until somebody in account's database waits for a lock of another."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    deadline = time.monotonic() + 10
    while not rows(app, query):
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)


def test_a_password_that_is_hashed_again_does_not_end_the_attempt_that_it_began(
    app: Flask, person: Person, phone: App
) -> None:
    execute(
        app,
        "UPDATE password_credentials SET hash = :hash FROM users WHERE users.id = user_id AND sub = :sub",
        hash=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(person.password),
        sub=person.sub,
    )
    assert is_signed_in(full_sign_in(Browser(app), person, phone))
    query = "SELECT hash FROM password_credentials JOIN users ON id = user_id WHERE sub = :sub"
    assert "m=64," not in rows(app, query, sub=person.sub)[0].hash


def test_an_attempt_ends_with_its_time_and_is_written_down(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app, ip="198.51.100.20"), person)
    page = browser.location
    browser.get(page)
    execute(app, "UPDATE sign_in_attempts SET expires_at = now() - interval '1 second'")
    browser.fill(code=phone.code())
    assert browser.location.startswith("/login")
    from services.account.flows.attempts import expire_attempts

    with app.app_context():
        results = side_by_side(*[lambda: _in_context(app, expire_attempts)] * 3)
        assert sum(results) >= 1
        assert expire_attempts() == 0
    assert events(app, person)[0] == ("password", "expired")
    assert events(app, person).count(("password", "expired")) == 1
    query = (
        "SELECT host(ip) AS ip FROM login_events JOIN users ON users.id = user_id"
        " WHERE sub = :sub AND failure_reason = 'expired'"
    )
    assert [row.ip for row in rows(app, query, sub=person.sub)] == ["198.51.100.20"]


def _in_context(app: Flask, action: Callable[[], int]) -> int:
    with app.app_context():
        return action()


def test_many_attempts_expire_in_batches(
    app: Flask, person: Person, phone: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.account.flows import attempts

    monkeypatch.setattr(attempts, "ROWS_PER_BATCH", 2)
    for _ in range(5):
        half_sign_in(Browser(app), person)
    execute(app, "UPDATE sign_in_attempts SET expires_at = now() - interval '1 second'")
    with app.app_context():
        assert attempts.expire_attempts() >= 5
    assert not rows(app, "SELECT 1 FROM sign_in_attempts")


def test_thinking_better_of_it_ends_the_attempt(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    page = browser.location
    browser.fill(page, button="cancel")
    assert browser.location.startswith("/login?")
    assert events(app, person)[0] == ("password", "cancelled")
    assert browser.get(page).status_code == 303
    assert not cookie_of(browser)


def test_a_half_signed_in_browser_reaches_nothing(app: Flask, person: Person, phone: App) -> None:
    half, stranger = half_sign_in(Browser(app), person), Browser(app)
    own = "00000000-0000-0000-0000-000000000000"
    tried = 0
    for rule in app.url_map.iter_rules():
        access = declared_access(app, rule.endpoint)
        path = re.sub(r"<[^>]+>", own, rule.rule)
        if "GET" not in (rule.methods or ()) or path.startswith("/login/second-factor"):
            continue
        answers = [browser.get(path) for browser in (half, stranger)]
        assert answers[0].status_code == answers[1].status_code, path
        assert half.location == stranger.location, path
        assert person.email not in answers[0].text, path
        if access is not None and access.kind in ("signed_in", "staff"):
            assert answers[0].status_code == 303, path
            assert half.location.startswith("/login?"), path
            tried += 1
    assert tried > 5
    assert not cookie_of(half)


# -- guessing --------------------------------------------------------------------------------------------------


def test_guesses_are_counted_per_person_across_sessions_and_addresses(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    statuses = []
    before = counted(app, "id_rate_limit_triggered_total", scope="second_factor")
    for number in range(10):
        guesser = half_sign_in(Browser(app, ip=f"198.51.100.{number + 1}"), person)
        guesser.fill(guesser.location, code=f"{number:06}")
        statuses.append(guesser.status)
    assert statuses[:8] == [422] * 8
    assert statuses[8:] == [429] * 2
    assert int(guesser.page.headers["Retry-After"]) > 0
    assert events(app, person)[0] == ("totp", "throttled")
    assert counted(app, "id_rate_limit_triggered_total", scope="second_factor") == before + 2
    assert is_signed_in(browser), "whoever is signed in stays so"
    result = run_command(app, "ratelimits", "reset", "--user", person.email)
    assert result.exit_code == 0
    full_sign_in(Browser(app), person, phone)


def test_guesses_side_by_side_are_bounded_too(app: Flask, person: Person, phone: App) -> None:
    browsers = [half_sign_in(Browser(app), person) for _ in range(12)]
    for browser in browsers:
        browser.get(browser.location)
    side_by_side(*(lambda browser=browser: browser.fill(code="000000") for browser in browsers))
    assert sorted(browser.status for browser in browsers) == [422] * 8 + [429] * 4


def test_a_stranger_who_passed_no_first_factor_uses_up_nobodys_tries(
    app: Flask, person: Person, phone: App
) -> None:
    stranger = Browser(app, ip="203.0.113.9")
    for _ in range(12):
        stranger.get("/login")
        stranger.post("/login/second-factor", {"csrf_token": token_of(stranger), "code": "000000"})
    full_sign_in(Browser(app), person, phone)


def test_a_stranger_who_has_the_password_uses_up_no_tries_of_the_persons_own_browser(
    app: Flask, browser: Browser, person: Person, phone: App
) -> None:
    stranger = half_sign_in(Browser(app, ip="203.0.113.9"), person)
    page = stranger.location
    for number in range(9):
        stranger.fill(page, code=f"{number:06}")
    assert stranger.status == 429
    browser.fill("/logout", button="sign-out")
    full_sign_in(browser, person, phone)
    for number in range(9):
        half_sign_in(browser, person, "/login?another=yes")
        browser.fill(browser.location, code=f"{number:06}")
    assert browser.status == 429, "its own are as many"
    assert run_command(app, "ratelimits", "reset", "--user", person.email).exit_code == 0
    unspend(app, person)
    full_sign_in(browser, person, phone, "/login?another=yes")


def test_one_attempt_bears_ten_tries(app: Flask, person: Person, phone: App) -> None:
    browser = half_sign_in(Browser(app), person)
    page = browser.location
    for number in range(10):
        _forget_limits(app)
        browser.fill(page, code=f"{number:06}")
    assert browser.status == 303
    assert browser.location.startswith("/login?")
    _forget_limits(app)
    browser.get(page)
    assert browser.status == 303, "the password has to be entered again"


def _forget_limits(app: Flask) -> None:
    client = parts_of(app).redis
    for key in client.scan_iter(match="*rl:*", count=1000):
        client.delete(key)


def test_the_second_step_works_without_redis(
    app: Flask, person: Person, phone: App, redis_away: Callable[[], None]
) -> None:
    browser = full_sign_in(Browser(app), person, phone)
    assert is_signed_in(browser)


# -- stronger on demand ----------------------------------------------------------------------------------------


def test_a_stronger_sign_in_is_asked_of_whoever_has_a_second_factor(app: Flask, person: Person) -> None:
    browser, elsewhere = sign_in(Browser(app), person), Browser(app)
    browser.get("/login?acr=2&continue=%2Faccount%2Fsessions")
    assert browser.location == "/account/sessions", "nobody is asked for what they do not have"
    phone = set_up_app(app, sign_in(elsewhere, person), person)
    browser.get("/login?acr=2&continue=%2Faccount%2Fsessions")
    assert browser.status == 200
    full_sign_in(browser, person, phone, "/login?acr=2&continue=%2Faccount%2Fsessions")
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.acr == "2"
    browser.get("/login?acr=2&continue=%2Faccount%2Fsessions")
    assert browser.location == "/account/sessions"
