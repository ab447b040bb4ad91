"""Limits in staff's hands: listed, forgotten, and tightened for a while in all services."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from flask import Flask

from libs.guard.ratelimit import ENHANCED_KEY
from libs.service import parts_of
from tests.account.conftest import Person, sign_in
from tests.account.test_throttle import assert_stopped, guess
from tests.conftest import run_command
from tests.onboarding import steps
from tests.pages import Browser

ADDRESS = "198.51.100.9"


@pytest.fixture
def usual_afterwards(app: Flask) -> Any:
    yield
    parts_of(app).enhanced.end()


def actions(app: Flask) -> list[str]:
    return [entry["action"] for entry in json.loads(run_command(app, "audit", "list", "--json").output)]


def held_up(app: Flask, email: str, seconds: int = 600) -> None:
    """Somebody has guessed at this account until its waits grew long."""
    from tests.account.test_throttle import delays_of

    until = str(int(time.time() + seconds) * 1000)
    parts_of(app).redis.hset(delays_of(app, email), mapping={"tries": "19", "until": until})
    parts_of(app).redis.expire(delays_of(app, email), 3600)


def seen_within_a_second(app: Flask, is_on: bool = True) -> bool:
    """Whether another app, whose look was taken just before, has noticed."""
    deadline = time.monotonic() + 1
    while parts_of(app).enhanced.is_on() != is_on:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# -- listing and resetting -------------------------------------------------------------------------------------


def test_limits_are_listed_with_what_they_count_and_how_long_they_hold(app: Flask, person: Person) -> None:
    guess(app, person.email, ip=ADDRESS)
    held_up(app, person.email)
    listed = json.loads(run_command(app, "ratelimits", "list", "--ip", ADDRESS, "--json").output)
    assert [row["limit"].partition("/")[2] for row in listed] == [
        f"rl:login:ip:{ADDRESS}:window",
        "rl:login:net:198.51.100.0/24:window",
    ]
    assert [row["count"] for row in listed] == [1, 1]
    assert all(0 < row["seconds_left"] <= 60 for row in listed)
    [mine] = json.loads(run_command(app, "ratelimits", "list", "--user", person.email, "--json").output)
    assert mine["count"] == 19
    assert 590 <= mine["wait_seconds"] <= 600
    everything = run_command(app, "ratelimits", "list").output
    assert "rl:login:all:window" in everything
    assert person.email not in everything


def test_a_person_is_freed_on_every_device(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.get("/login?another=yes")
    for _ in range(10):
        browser.fill(email=person.email, password="a wrong password, wholly")
    held_up(app, person.email)
    assert guess(app, person.email).status == 429
    result = run_command(app, "ratelimits", "reset", "--user", f" {person.email.upper()}", "--json")
    assert json.loads(result.output) == {"reset": 3}  # of strangers; of the device: its waits and its window
    assert run_command(app, "ratelimits", "list", "--user", person.email).output == "No limit is counting.\n"
    sign_in(Browser(app), person)
    sign_in(browser, person, "/login?another=yes")
    assert actions(app)[0] == "ratelimits.reset"


def test_an_address_is_freed_with_its_network(app: Flask, person: Person) -> None:
    guess(app, person.email, ip=ADDRESS)
    guess(app, person.email, ip="198.51.100.99")
    parts_of(app).redis.set("id-limits/rl:login:net:198.51.100.0/24:window", 240, ex=60)
    assert guess(app, "other@people.test", ip=ADDRESS).status == 429
    result = run_command(app, "ratelimits", "reset", "--ip", ADDRESS)
    assert "Forgot 2 count(s)." in result.output
    assert guess(app, "other@people.test", ip=ADDRESS).status == 422
    assert json.loads(run_command(app, "ratelimits", "list", "--ip", "198.51.100.99", "--json").output)


def test_an_address_of_ipv6_is_freed_with_its_64(app: Flask) -> None:
    guess(app, "other@people.test", ip="2001:db8:1:2::7")
    listed = run_command(app, "ratelimits", "list", "--ip", "2001:db8:1:2:ffff::1").output
    assert "rl:login:ip:2001:db8:1:2::/64:" in listed
    assert "Forgot 2" in run_command(app, "ratelimits", "reset", "--ip", "2001:DB8:1:2::9").output


def test_resetting_names_one_address_or_person(app: Flask) -> None:
    assert run_command(app, "ratelimits", "reset").exit_code == 2
    assert run_command(app, "ratelimits", "reset", "--ip", "nonsense").exit_code == 2
    both = run_command(app, "ratelimits", "reset", "--ip", ADDRESS, "--user", "a@people.test")
    assert both.exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["list"], ["reset", "--ip", ADDRESS], ["enhance", "--for", "1h"], ["relax"]]
)
def test_with_redis_away_a_command_says_so(
    app: Flask, arguments: list[str], redis_away: Callable[[], None]
) -> None:
    before = actions(app)
    result = run_command(app, "ratelimits", *arguments)
    assert result.exit_code == 1
    assert "Redis did not answer" in result.output
    assert actions(app) == before


# -- enhanced mode ---------------------------------------------------------------------------------------------


def test_enhanced_mode_shows_in_health_gauge_list_and_audit_and_ends(
    app: Flask, usual_afterwards: None
) -> None:
    def health() -> dict[str, Any]:
        components = parts_of(app).probe.checks["ratelimits"]().to_json()
        assert components["status"] == "healthy"
        details: dict[str, Any] = components["details"]
        return details

    def gauge() -> float:
        with app.app_context():
            return {name: value for name, _, _, value in parts_of(app).gauges()}["id_rate_limit_enhanced"]

    assert health() == {"enhanced": False, "until": None}
    assert gauge() == 0
    result = run_command(app, "ratelimits", "enhance", "--for", "90m", "--json")
    until = datetime.fromisoformat(json.loads(result.output)["enhanced_until"])
    assert abs(until.timestamp() - time.time() - 5400) < 10
    assert health() == {"enhanced": True, "until": until.isoformat()}
    assert gauge() == 1
    assert "ratelimits" in {row["name"] for row in Browser(app).get("/health").json["components"]}
    assert f"Enhanced mode is on until {until.isoformat()}." in run_command(app, "ratelimits", "list").output
    assert 5300 < parts_of(app).redis.ttl(ENHANCED_KEY) <= 5400
    assert actions(app)[0] == "ratelimits.enhanced"
    assert run_command(app, "ratelimits", "relax").output == "Limits are as usual again.\n"
    assert health() == {"enhanced": False, "until": None}
    assert actions(app)[0] == "ratelimits.relaxed"
    assert run_command(app, "ratelimits", "relax").output == "Limits were not enhanced.\n"
    assert actions(app)[0] == "ratelimits.relaxed"
    assert actions(app)[1] == "ratelimits.enhanced"


def test_enhanced_mode_ends_by_itself(app: Flask, usual_afterwards: None) -> None:
    run_command(app, "ratelimits", "enhance")
    assert parts_of(app).enhanced.is_on()
    parts_of(app).redis.pexpire(ENHANCED_KEY, 1)
    assert seen_within_a_second(app, is_on=False)


@pytest.mark.parametrize("life", ["soon", "0s", "-1h", "8d", ""])
def test_enhanced_mode_lasts_a_length_of_time_of_a_week_at_most(app: Flask, life: str) -> None:
    assert run_command(app, "ratelimits", "enhance", "--for", life).exit_code == 2
    assert not parts_of(app).redis.exists(ENHANCED_KEY)


def test_enhanced_mode_leaves_a_quarter_of_the_free_failures(
    app: Flask, person: Person, enhanced: None
) -> None:
    assert_stopped([guess(app, person.email, ip=f"192.0.2.{number}").status for number in range(6)], free=2)


def test_and_a_quarter_for_an_address(app: Flask, enhanced: None) -> None:
    parts_of(app).redis.set(f"id-limits/rl:login:ip:{ADDRESS}:window", 15, ex=60)
    assert guess(app, "other@people.test", ip=ADDRESS).status == 429


def test_registration_is_tightened_within_a_second(
    app: Flask, onboarding_app: Flask, usual_afterwards: None
) -> None:
    assert not parts_of(onboarding_app).enhanced.is_on()
    run_command(app, "ratelimits", "enhance")
    assert seen_within_a_second(onboarding_app)
    browser = Browser(onboarding_app, ip="203.0.113.66")
    statuses = []
    for _ in range(6):
        browser.fill("/apply", email=steps.new_email(), name="Ada", why=steps.WHY)
        statuses.append(browser.status)
    assert statuses == [303] * 5 + [429]


def test_tokens_are_tightened_within_a_second(app: Flask, oidc_app: Flask, usual_afterwards: None) -> None:
    assert not parts_of(oidc_app).enhanced.is_on()
    run_command(app, "ratelimits", "enhance")
    assert seen_within_a_second(oidc_app)
    browser = Browser(oidc_app, ip="203.0.113.67")
    statuses = [
        browser.post("/oauth2/token", {"grant_type": "refresh_token"}).status_code for _ in range(301)
    ]
    # Where Redis answered too late it was asked again, and counted twice.
    assert 429 not in statuses[:295]
    assert statuses[300] == 429


def test_another_process_switches_it_on_for_this_one(app: Flask, usual_afterwards: None) -> None:
    assert not parts_of(app).enhanced.is_on()
    command = [
        sys.executable,
        "-m",
        "flask",
        "--app",
        "services.account",
        "ratelimits",
        "enhance",
        "--for",
        "1h",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Limits are enhanced until ")
    assert seen_within_a_second(app)


def test_what_was_seen_last_goes_on_while_redis_is_away(
    app: Flask, enhanced: None, redis_away: Callable[[], None]
) -> None:
    mode = parts_of(app).enhanced
    mode._look_again_at = 0.0
    assert mode.is_on()
    assert mode._look_again_at > time.monotonic() + 0.5  # and is not looked for at every request


def test_the_switch_itself_is_no_count(app: Flask, enhanced: None) -> None:
    assert run_command(app, "ratelimits", "list", "--json").output == "[]\n"
