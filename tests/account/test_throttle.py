"""Guessing is stopped, and no stranger locks anybody out."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.guard.ratelimit import KEY_PREFIX, hashed_user
from libs.service import parts_of
from tests.account.conftest import Person, is_signed_in, rows, side_by_side, sign_in
from tests.account.password_tools import NEW_PASSWORD, mailed_link
from tests.account.test_login import counted
from tests.pages import Browser
from tests.round_trips import counted as round_trips

WRONG = "a wrong password, wholly"
FREE = 10
"""Failures at one account before the first wait."""


def guess(app: Flask, email: str, *, ip: str = "198.51.100.1", **headers: str) -> Browser:
    browser = Browser(app, ip=ip)
    browser.get("/login", headers=headers)
    return press(browser, email)


def press(browser: Browser, email: str, password: str = WRONG) -> Browser:
    browser.fill(email=email, password=password)
    return browser


def fail(browser: Browser, email: str) -> int:
    """A wrong password on a browser that may be signed in already."""
    browser.get("/login?another=yes")
    return press(browser, email).status


def spellings(email: str) -> list[str]:
    return [email, email.upper(), f" {email}", email.replace("a", "\uff41"), email.title()]


def redis_of(app: Flask) -> Any:
    return parts_of(app).redis


def delays_of(app: Flask, email: str) -> str:
    account = hashed_user(parts_of(app).settings, email)
    return f"{KEY_PREFIX}/rl:login:user:{account}:delays"


def wait_is_over(app: Flask, email: str) -> None:
    redis_of(app).hset(delays_of(app, email), "until", "0")


def device_keys(app: Flask, email: str) -> list[str]:
    account = hashed_user(parts_of(app).settings, email)
    return sorted(redis_of(app).scan_iter(match=f"*rl:login:user:{account}:device:*"))


def assert_stopped(statuses: list[int], free: int = FREE) -> None:
    """All the free tries were admitted, and soon after them one was not: the first waits are short."""
    assert statuses[:free] == [422] * free
    assert 429 in statuses[free : free + 4]


# -- strangers -------------------------------------------------------------------------------------------------


def test_two_hundred_guesses_from_fifty_addresses_stop_the_guesser_and_nobody_else(
    app: Flask, browser: Browser, make_person: Callable[..., Person], hashes: list[str]
) -> None:
    person = make_person()
    sign_in(browser, person)
    forgetful = sign_in(Browser(app), person)  # signed out again, on a browser that is known
    forgetful.fill("/logout", button="sign-out")
    hashes.clear()
    began = time.monotonic()
    guessers = [Browser(app, ip=f"203.0.113.{number + 1}") for number in range(50)]
    for guesser in guessers:
        guesser.get("/login")
    statuses = [
        press(guessers[number % 50], spellings(person.email)[number % 5]).status for number in range(200)
    ]
    assert statuses[:FREE] == [422] * FREE
    assert set(statuses) == {422, 429}
    # Each wait is twice the one before, so that time alone admits a handful more.
    most = FREE + int(time.monotonic() - began + 1).bit_length()
    assert statuses.count(422) == len(hashes) <= most
    assert is_signed_in(browser)
    sign_in(forgetful, person)
    assert is_signed_in(forgetful)
    # The mailed link proves the mailbox, whatever strangers try at the sign-in page.
    reset = Browser(app, ip="203.0.113.7")
    reset.fill(mailed_link(app, person.email), password=NEW_PASSWORD)
    assert reset.status == 303
    assert is_signed_in(reset)


def test_a_hundred_failures_from_a_hundred_addresses_are_throttled(app: Flask, person: Person) -> None:
    browsers = [guess(app, person.email, ip=f"198.51.{number}.7") for number in range(100)]
    assert_stopped([browser.status for browser in browsers])
    refused = [browser for browser in browsers if browser.status == 429]
    assert len(refused) > 80
    assert int(refused[-1].page.headers["Retry-After"]) > 0
    assert "If it was not you who tried" in refused[-1].text


def test_the_wait_doubles_with_each_failure_up_to_a_quarter_of_an_hour(app: Flask, person: Person) -> None:
    for _ in range(FREE - 1):
        assert guess(app, person.email).status == 422
    waits = []
    for _ in range(12):
        seconds, _ = redis_of(app).time()
        assert guess(app, person.email).status == 422
        waits.append(float(redis_of(app).hget(delays_of(app, person.email), "until")) / 1000 - seconds)
        if len(waits) < 12:
            wait_is_over(app, person.email)
    wanted = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert all(want <= wait < want + 5 for wait, want in zip(waits, wanted, strict=True)), waits
    refused = guess(app, person.email)
    assert refused.status == 429
    assert 890 <= int(refused.page.headers["Retry-After"]) <= 900
    assert "Wait 15 minutes" in refused.text


def test_being_refused_does_not_lengthen_the_wait(app: Flask, person: Person) -> None:
    far = str(int(time.time() + 600) * 1000)
    redis_of(app).hset(delays_of(app, person.email), mapping={"tries": "20", "until": far})
    for _ in range(3):
        assert guess(app, person.email).status == 429
    assert redis_of(app).hgetall(delays_of(app, person.email)) == {"tries": "20", "until": far}


def test_a_day_after_the_first_failure_all_are_forgotten(app: Flask, person: Person) -> None:
    for _ in range(FREE):
        guess(app, person.email)
    key = delays_of(app, person.email)
    assert 86_000 < redis_of(app).ttl(key) <= 86_400
    redis_of(app).expire(key, 0)
    assert guess(app, person.email).status == 422


def test_guesses_side_by_side_are_no_more_than_the_allowance(
    app: Flask, person: Person, hashes: list[str]
) -> None:
    from services.account.flows.factors import find_standing
    from services.account.flows.throttle import Throttled, admit
    from services.account.flows.visitor import Visitor
    from services.account.models import User

    with app.app_context():
        standing = find_standing(User.sub == person.sub, visitor=Visitor())

    def ask(number: int) -> str:
        with app.test_request_context():
            visitor = Visitor(ip=f"192.0.{number}.9")
            try:
                admit("old_password", visitor=visitor, standing=standing)
            except Throttled:
                return "refused"
            return "admitted"

    answers = side_by_side(*(lambda number=number: ask(number) for number in range(40)))
    assert sorted(answers) == ["admitted"] * 5 + ["refused"] * 35
    hashes.clear()
    began = time.monotonic()
    browsers = side_by_side(
        *(lambda number=number: guess(app, person.email, ip=f"192.0.2.{number}") for number in range(16))
    )
    most = FREE + int(time.monotonic() - began + 1).bit_length()
    assert len(hashes) <= most
    assert {browser.status for browser in browsers} <= {422, 429, 503}
    assert [browser.status for browser in browsers].count(429) >= 16 - most


def test_what_a_proxy_is_said_to_have_seen_changes_nothing(app: Flask, person: Person) -> None:
    garbage = ("1.2.3.4", "1.2.3.4, 5.6.7.8", "not an address", ",,,", "\u00e9", "::1", "x" * 5000)
    statuses = []
    for number in range(FREE + 3):
        headers = {"X-Forwarded-For": garbage[number % len(garbage)], "X-Real-IP": f"10.0.0.{number}"}
        statuses.append(guess(app, person.email, **headers).status)
    assert_stopped(statuses)
    keys = list(redis_of(app).scan_iter(match="*rl:login:ip:*"))
    assert keys == [f"{KEY_PREFIX}/rl:login:ip:198.51.100.1:window"]


@pytest.mark.parametrize(
    ("window", "count", "ip", "elsewhere"),
    [
        ("ip:203.0.113.7:", 60, "203.0.113.7", "203.0.113.77"),
        ("net:203.0.113.0/24:", 240, "203.0.113.200", "203.0.114.200"),
        # Whoever has one address of IPv6 has its /64, and most likely the /48 around it.
        ("ip:2001:db8:1:2::/64:", 60, "2001:db8:1:2:aaaa::1", "2001:db8:1:3::1"),
        ("net:2001:db8:1::/48:", 240, "2001:db8:1:9::1", "2001:db8:2:9::1"),
        ("all:", 3000, "203.0.113.1", None),
    ],
)
def test_an_address_a_network_and_all_together_have_an_allowance(
    app: Flask, window: str, count: int, ip: str, elsewhere: str | None
) -> None:
    redis_of(app).set(f"{KEY_PREFIX}/rl:login:{window}window", count - 1, ex=50)
    before = counted(app, "id_rate_limit_triggered_total", scope="login")
    assert guess(app, "somebody@people.test", ip=ip).status == 422
    refused = guess(app, "somebody-else@people.test", ip=ip)
    assert refused.status == 429
    assert 1 <= int(refused.page.headers["Retry-After"]) <= 50
    assert counted(app, "id_rate_limit_triggered_total", scope="login") == before + 1
    if elsewhere:
        assert guess(app, "somebody-else@people.test", ip=elsewhere).status == 422


def test_a_refusal_is_written_down_and_costs_no_hash(app: Flask, person: Person, hashes: list[str]) -> None:
    for email in (person.email, "nobody-here@people.test"):
        guess(app, email)
        far = str(int(time.time() + 600) * 1000)
        redis_of(app).hset(delays_of(app, email), mapping={"tries": "20", "until": far})
        hashes.clear()
        before = counted(app, "id_auth_login_failure_reason_total", reason="throttled")
        with round_trips() as trips:
            refused = guess(app, email)
        assert refused.status == 429
        assert not hashes
        assert trips.postgres <= 2
        assert counted(app, "id_auth_login_failure_reason_total", reason="throttled") == before + 1
        [event] = rows(
            app,
            "SELECT e.success, e.failure_reason, e.method, host(e.ip) AS ip, u.sub, e.typed_hash FROM login_events e"
            " LEFT JOIN users u ON u.id = e.user_id ORDER BY e.id DESC LIMIT 1",
        )
        assert (event.success, event.failure_reason, event.method) == (False, "throttled", "password")
        assert (str(event.sub) == person.sub) == (email == person.email)
        assert (event.typed_hash is None) == (email == person.email)


def test_a_flood_is_counted_and_fills_no_table(app: Flask) -> None:
    redis_of(app).set(f"{KEY_PREFIX}/rl:login:ip:203.0.113.7:window", 119, ex=50)
    count = "SELECT count(*) FROM login_events WHERE ip = '203.0.113.7'"
    assert guess(app, "somebody@people.test", ip="203.0.113.7").status == 429
    [(before,)] = rows(app, count)
    metric = counted(app, "id_auth_login_failure_total")
    assert guess(app, "somebody@people.test", ip="203.0.113.7").status == 429
    assert rows(app, count) == [(before,)]
    assert counted(app, "id_auth_login_failure_total") == metric + 1


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["guess", "wait", "forget"]), min_size=3, max_size=8))
def test_known_and_unknown_accounts_get_the_same_answer_at_every_count(
    app: Flask, make_person: Callable[..., Person], steps: list[str]
) -> None:
    known = make_person().email
    unknown = known.replace("ann-", "eve-")
    csrf, number = re.compile(r'name="csrf_token" value="[^"]+"'), re.compile(r"Wait \d+")
    # Most of the way is the same for all examples.
    for step in ["guess"] * (FREE - 1) + steps:
        answers = []
        for email in (known, unknown):
            if step == "wait":
                wait_is_over(app, email)
            elif step == "forget":
                redis_of(app).delete(delays_of(app, email))
            browser = guess(app, email, ip="2001:db8:7::1" if email == known else "2001:db8:8::1")
            text = number.sub("Wait", csrf.sub("", browser.text.replace(email, "EMAIL")))
            names = sorted(name for name, _ in browser.page.headers)
            answers.append((browser.status, text, names))
            redis_of(app).delete(*redis_of(app).scan_iter(match="*rl:login:[ina]*"))
        if answers[0][0] != answers[1][0]:
            # A wait of a second may end between the two; never more than that.
            assert int(redis_of(app).hget(delays_of(app, known), "tries")) <= FREE + 2
            return
        assert answers[0] == answers[1]


# -- the person ------------------------------------------------------------------------------------------------


def test_a_known_device_has_waits_of_its_own_that_reach_nobody_else(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    assert_stopped([fail(browser, person.email) for _ in range(FREE + 3)])
    assert device_keys(app, person.email)
    assert not redis_of(app).exists(delays_of(app, person.email))
    sign_in(Browser(app, ip="198.51.100.3"), person)


def test_a_success_on_a_known_device_forgives_all_its_failures(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    browser.get("/login?another=yes")
    for _ in range(FREE - 1):
        press(browser, person.email)
    sign_in(browser, person, "/login?another=yes")
    assert [key for key in device_keys(app, person.email) if key.endswith("delays")] == []


def test_a_success_on_a_new_device_takes_back_its_own_try_alone(app: Flask, person: Person) -> None:
    sign_in(Browser(app), person)
    assert not redis_of(app).exists(delays_of(app, person.email))
    for _ in range(FREE - 1):
        guess(app, person.email)
    sign_in(Browser(app), person)
    assert redis_of(app).hgetall(delays_of(app, person.email)) == {"tries": str(FREE - 1)}
    assert_stopped([guess(app, person.email).status for _ in range(4)], free=1)


def test_a_device_is_trusted_for_its_own_persons_alone(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    ann, eve = make_person(), make_person()
    sign_in(browser, eve)
    assert_stopped([fail(browser, ann.email) for _ in range(FREE + 3)])
    assert not device_keys(app, ann.email)


def test_whoever_used_a_shared_computer_first_holds_no_device_of_those_who_sign_in_there_later(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    ann, eve = make_person(), make_person()
    sign_in(browser, eve)
    left_behind = browser.cookie("id_device") or ""
    sign_in(browser, ann, "/login?another=yes")
    for person in (ann, eve):
        thief = Browser(app)
        thief.set_cookie("id_device", left_behind)
        thief.get("/login")
        press(thief, person.email)
        assert not device_keys(app, person.email), "a strange browser"
        fail(browser, person.email)
        assert device_keys(app, person.email), "the one that both have signed in at is still theirs"


def test_whoever_signs_in_again_keeps_their_device(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    device = browser.cookie("id_device")
    sign_in(browser, person, "/login?another=yes")
    assert browser.cookie("id_device") == device


def test_neither_neighbours_nor_the_whole_hold_up_a_known_device(
    app: Flask, browser: Browser, person: Person
) -> None:
    sign_in(browser, person)
    for window in ("ip:127.0.0.1:", "net:127.0.0.0/24:", "all:"):
        redis_of(app).set(f"{KEY_PREFIX}/rl:login:{window}window", 1_000_000, ex=60)
    assert press_anew(app, person).status == 429
    sign_in(browser, person, "/login?another=yes")


def press_anew(app: Flask, person: Person) -> Browser:
    browser = Browser(app)
    browser.get("/login")
    return press(browser, person.email, person.password)


def test_a_known_device_does_not_sign_in_without_end(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.get("/login?another=yes")
    press(browser, person.email, person.password)
    [window] = [key for key in device_keys(app, person.email) if key.endswith("window")]
    redis_of(app).set(window, 30, ex=60)
    browser.get("/login?another=yes")
    assert press(browser, person.email, person.password).status == 429


def test_a_password_that_was_not_hashed_is_not_counted(app: Flask, person: Person) -> None:
    passwords = app.extensions["passwords"]
    turns, passwords._wait_s = passwords._turns._initial_value, 0.05
    for _ in range(turns):
        passwords._turns.acquire()
    try:
        assert [guess(app, person.email).status for _ in range(FREE + 2)] == [503] * (FREE + 2)
    finally:
        passwords._wait_s = 1.0
        for _ in range(turns):
            passwords._turns.release()
    assert press_anew(app, person).status == 303
