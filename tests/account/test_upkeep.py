"""What the worker does by itself: folding uses, clearing what expired, settling debts; and limits by command."""

import json
import re
import time
from collections.abc import Callable

import sqlalchemy as sa
from flask import Flask

from libs.observe.metrics import World, exposition
from libs.observe.worker_health import sources_of
from libs.people.sessions import secret_digest
from libs.service import parts_of
from tests.account.conftest import Person, cookie_of, copy_of, execute, is_signed_in, rows, sign_in
from tests.conftest import run_command
from tests.pages import Browser


def run_task(app: Flask, name: str) -> None:
    with app.app_context():
        parts_of(app).tasks.functions[f"account.{name}"]()


def row_of(app: Flask, browser: Browser) -> list[object]:
    return rows(
        app,
        "SELECT id, last_seen_at FROM sign_in_sessions WHERE secret_digest = :digest",
        digest=secret_digest(cookie_of(browser)),
    )


def test_accounts_tasks_are_declared_and_run(app: Flask) -> None:
    for name in ("settle_redis_debts", "fold_seen_sessions", "clear_expired_sessions"):
        run_task(app, name)


def test_uses_are_folded_into_rows_once(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    later = int(time.time()) + 60
    redis = parts_of(app).redis
    redis.set(f"seen:{shared.sid}", later)
    redis.set("seen:not-a-sid", "nonsense")
    run_task(app, "fold_seen_sessions")
    [(_, last_seen_at)] = row_of(app, browser)
    assert int(last_seen_at.timestamp()) == later
    assert not list(redis.scan_iter("seen:*"))
    redis.set(f"seen:{shared.sid}", later - 3600)
    run_task(app, "fold_seen_sessions")
    [(_, last_seen_at)] = row_of(app, browser)
    assert int(last_seen_at.timestamp()) == later


def test_folding_waits_for_nobody_who_is_just_ending_a_session(app: Flask, person: Person) -> None:
    ending, other = sign_in(Browser(app), person), sign_in(Browser(app), person)
    later = int(time.time()) + 60
    for browser in (ending, other):
        [(sid, _)] = row_of(app, browser)
        parts_of(app).redis.set(f"seen:{sid}", later)
    with app.app_context():
        engine = parts_of(app).db.engine
    with engine.connect() as holder:
        values = {"digest": secret_digest(cookie_of(ending))}
        holder.execute(
            sa.text("UPDATE sign_in_sessions SET ended_at = now() WHERE secret_digest = :digest"), values
        )
        run_task(app, "fold_seen_sessions")
        holder.commit()
    [(_, last_seen_at)] = row_of(app, other)
    assert int(last_seen_at.timestamp()) == later


def test_clearing_deletes_what_expired_and_nothing_else(
    app: Flask, make_person: Callable[..., Person]
) -> None:
    person = make_person()
    idle, over, ended, long_ended, used, live = browsers = [sign_in(Browser(app), person) for _ in range(6)]
    changes = {
        idle: "last_seen_at = now() - interval '20 days'",
        over: "absolute_end = now() - interval '1 second'",
        ended: "ended_at = now()",
        long_ended: "ended_at = now() - interval '40 days'",
        used: "last_seen_at = now() - interval '20 days'",
    }
    redis = parts_of(app).redis
    for key in redis.scan_iter("seen:*"):
        redis.delete(key)
    for browser, change in changes.items():
        execute(
            app,
            f"UPDATE sign_in_sessions SET {change} WHERE secret_digest = :digest",
            digest=secret_digest(cookie_of(browser)),
        )
    used_copy = copy_of(app, used)
    assert used_copy is not None
    redis.set(f"seen:{used_copy.sid}", int(time.time()))  # used on other services all the time
    result = run_command(app, "sessions", "clear-expired", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["deleted"] >= 3
    assert [bool(row_of(app, browser)) for browser in browsers] == [False, False, True, False, True, True]
    assert is_signed_in(live)


def test_with_redis_away_idle_sessions_are_not_judged(
    app: Flask, browser: Browser, person: Person, redis_away: Callable[[], None]
) -> None:
    sign_in(browser, person)
    digest = secret_digest(cookie_of(browser))
    execute(
        app,
        "UPDATE sign_in_sessions SET last_seen_at = now() - interval '20 days' WHERE secret_digest = :digest",
        digest=digest,
    )
    run_task(app, "clear_expired_sessions")
    assert row_of(app, browser)
    redis_away()
    run_task(app, "clear_expired_sessions")
    assert not row_of(app, browser)


def test_the_cleanups_time_is_a_gauge(app: Flask) -> None:
    run_task(app, "clear_expired_sessions")
    found = exposition([], World(sources_of(app))).decode()
    line = re.search(
        r'^id_cleanup_last_success_seconds\{job="account.clear_expired_sessions"\} (.+)$', found, re.M
    )
    assert line
    assert abs(float(line[1]) - time.time()) < 60


def test_a_late_denial_does_not_hit_newer_tokens(app: Flask, person: Person) -> None:
    execute(
        app,
        "INSERT INTO redis_debts (id, kind, subject, created_at)"
        " VALUES (gen_random_uuid(), 'deny_sub', :sub, now() - interval '12 minutes')",
        sub=person.sub,
    )
    run_task(app, "settle_redis_debts")
    assert parts_of(app).redis.get(f"revoked:sub:{person.sub}") is None
    assert not rows(app, "SELECT 1 FROM redis_debts")
