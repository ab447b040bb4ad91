"""/login/resume: a session's copy comes back from its row."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from tests.account.conftest import (
    Person,
    cookie_of,
    copy_of,
    delete_copy,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.pages import Browser

RESUME = "/login/resume?continue=%2Foauth2%2Fauthorize%2Fabc%3Fx%3D1"


def test_a_lost_copy_is_written_before_the_browser_is_sent_back(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    before = copy_of(app, browser)
    delete_copy(app, browser)
    browser.get(RESUME)
    assert (browser.status, browser.location) == (303, "/oauth2/authorize/abc?x=1")
    assert copy_of(app, browser) == before
    assert "Set-Cookie" not in browser.page.headers or "id_session" not in browser.page.headers["Set-Cookie"]
    life = parts_of(app).redis.ttl(copy_key(secret_digest(cookie_of(browser))))
    assert life == pytest.approx(parts_of(app).settings.SESSION_IDLE_LIFETIME.total_seconds(), abs=5)


def test_accounts_own_pages_answer_from_the_row(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    delete_copy(app, browser)
    assert is_signed_in(browser)


@pytest.mark.parametrize("cookie", ["B" * 43, "short", "..", "B" * 43 + "." + "C" * 43, "%00"])
def test_a_cookie_that_nobody_knows_is_cleared_first(browser: Browser, cookie: str) -> None:
    browser.set_cookie("id_session", cookie)
    browser.get(RESUME)
    assert (browser.status, browser.location) == (303, "/oauth2/authorize/abc?x=1")
    assert browser.cookie("id_session") is None


def test_without_a_cookie_the_browser_is_sent_back_to_be_asked_there(browser: Browser) -> None:
    browser.get(RESUME)
    assert (browser.status, browser.location) == (303, "/oauth2/authorize/abc?x=1")


def test_an_ended_idle_or_expired_session_does_not_come_back(app: Flask, person: Person) -> None:
    for change in (
        "ended_at = now(), end_cause = 'session_ended'",
        "last_seen_at = now() - interval '15 days'",
        "absolute_end = now() - interval '1 second'",
    ):
        browser = sign_in(Browser(app), person)
        delete_copy(app, browser)
        digest = secret_digest(cookie_of(browser))
        execute(app, f"UPDATE sign_in_sessions SET {change} WHERE secret_digest = :digest", digest=digest)
        browser.get(RESUME)
        assert browser.status == 303
        assert browser.cookie("id_session") is None
        assert parts_of(app).redis.get(copy_key(digest)) is None


def test_a_disabled_persons_session_does_not_come_back(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    delete_copy(app, browser)
    execute(app, "UPDATE users SET status = 'disabled' WHERE sub = :sub", sub=person.sub)
    assert not is_signed_in(browser)
    browser.get(RESUME)
    assert browser.cookie("id_session") is None


def test_when_the_current_account_has_ended_the_next_one_follows(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    ann, bob = make_person(), make_person()
    sign_in(browser, ann)
    sign_in(browser, bob, "/login?another=yes")
    delete_copy(app, browser)
    execute(
        app,
        "UPDATE sign_in_sessions s SET ended_at = now() FROM users u WHERE u.id = user_id AND sub = :sub",
        sub=bob.sub,
    )
    browser.get(RESUME)
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.sub == ann.sub
    assert len(cookie_of(browser).split(".")) == 1


def test_the_way_back_is_a_path_of_ours(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    for target in ("https://evil.test", "//evil.test", "/\\evil.test"):
        browser.get("/login/resume", query_string={"continue": target})
        assert browser.location == "/account"


def test_redis_away_or_full_is_a_prompt_503_and_the_cookie_stays(
    app: Flask,
    browser: Browser,
    person: Person,
    redis_away: Callable[[], None],
    request: pytest.FixtureRequest,
) -> None:
    sign_in(browser, person)
    cookie = cookie_of(browser)
    for _ in range(2):
        began = time.monotonic()
        browser.get(RESUME, headers={"Accept": "text/html"})
        assert browser.status == 503
        assert int(browser.page.headers["Retry-After"]) > 0
        assert time.monotonic() - began < 3
        assert cookie_of(browser) == cookie
        redis_away()
        request.getfixturevalue("redis_full")
    assert is_signed_in(browser)


def test_whoever_is_signed_in_is_not_sent_in_circles_while_redis_takes_no_copy(
    browser: Browser, person: Person, redis_full: None
) -> None:
    sign_in(browser, person)
    assert browser.get("/login?continue=%2Foauth2%2Fauthorize%2Fabc").status_code == 503
    assert browser.get("/login?continue=%2Faccount").status_code == 303


def test_a_revocation_beside_a_resume_always_wins(app: Flask, person: Person) -> None:
    from services.account.flows.revoking import revoke_access

    def revoke() -> None:
        with app.app_context():
            revoke_access(sub=person.sub, cause="sessions_revoked")

    for _ in range(8):
        browser = sign_in(Browser(app), person)
        digest = secret_digest(cookie_of(browser))
        delete_copy(app, browser)
        answers = side_by_side(lambda b=browser: b.get(RESUME), revoke, lambda b=browser: b.get("/account"))
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        assert parts_of(app).redis.get(copy_key(digest)) is None
        assert not is_signed_in(browser)


def test_restoring_as_a_stylesheet_works_like_any_visit(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    delete_copy(app, browser)
    browser.get("/login/resume?continue=/static/id.css%3Fv%3Dabc", headers={"Accept": "text/css"})
    assert browser.location == "/static/id.css?v=abc"
    assert copy_of(app, browser) is not None


def test_the_row_notes_uses_that_redis_cannot(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    delete_copy(app, browser)
    execute(app, "UPDATE sign_in_sessions SET last_seen_at = now() - interval '13 days'")
    assert is_signed_in(browser)
    [(is_recent,)] = rows(
        app,
        "SELECT last_seen_at > now() - interval '1 minute' FROM sign_in_sessions WHERE secret_digest = :digest",
        digest=secret_digest(cookie_of(browser)),
    )
    assert is_recent
