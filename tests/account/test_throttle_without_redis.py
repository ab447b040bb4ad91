"""While Redis is away, full or hung, each process counts guesses by itself."""

import time
from collections.abc import Callable

import pytest
from flask import Flask

from libs.guard.ratelimit import KEY_PREFIX
from libs.service import parts_of
from tests.account.conftest import Person, is_signed_in, sign_in
from tests.account.test_throttle import assert_stopped, delays_of, guess, redis_of
from tests.pages import Browser


def test_without_redis_a_quarter_is_counted_here(
    app: Flask, browser: Browser, person: Person, redis_away: Callable[[], None]
) -> None:
    sign_in(browser, person)
    assert_stopped([guess(app, person.email).status for _ in range(5)], free=2)
    # A device that is known has a quarter of its own.
    sign_in(browser, person, "/login?another=yes")
    for number in range(20):
        last = guess(app, f"n{number}@people.test", ip="203.0.113.9")
    assert last.status == 429
    assert is_signed_in(browser)


def test_once_redis_is_back_it_counts_again(
    app: Flask, person: Person, redis_away: Callable[[], None]
) -> None:
    for _ in range(3):
        guess(app, person.email)
    redis_away()
    app.extensions["throttle"]._ask_again_at = 0.0  # the second has passed
    assert guess(app, person.email).status == 422
    assert redis_of(app).hget(delays_of(app, person.email), "tries") == "1"


def test_a_full_redis_counts_here_too(app: Flask, browser: Browser, person: Person, redis_full: None) -> None:
    sign_in(browser, person)
    assert_stopped([guess(app, person.email).status for _ in range(5)], free=2)
    sign_in(browser, person, "/login?another=yes")


def test_a_hung_redis_costs_a_timeout_a_second_and_not_one_each(
    app: Flask, person: Person, redis_hung: None
) -> None:
    timeout = parts_of(app).settings.REDIS_TIMEOUT_MS / 1000
    began = time.monotonic()
    statuses = [guess(app, person.email).status for _ in range(12)]
    took = time.monotonic() - began
    assert_stopped(statuses, free=2)
    assert took < 12 * timeout / 2


def test_a_hung_redis_keeps_nobody_out(
    app: Flask, browser: Browser, person: Person, redis_hung: None
) -> None:
    began = time.monotonic()
    sign_in(browser, person)
    assert is_signed_in(browser)
    assert time.monotonic() - began < 3


def test_what_is_counted_here_is_bounded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.account.flows.throttle import counting
    from services.account.flows.throttle.scopes import buckets_of
    from services.account.flows.visitor import Visitor

    monkeypatch.setattr(counting, "MOST_KEYS_HERE", 50)
    here = counting.CountsHere()
    for number in range(200):
        visitor = Visitor(ip=f"10.{number}.0.1")
        here.admit(
            buckets_of("login", visitor=visitor, account=str(number), is_known_device=False, overall=3000)
        )
    assert len(here._kept) == 50
    assert here._kept[f"{KEY_PREFIX}/rl:login:all:window"].tries == 200
