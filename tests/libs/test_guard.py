"""Keys, tickets, tokens, limits."""

import os
import time
from datetime import timedelta

import pytest
from flask import Flask

from libs.guard import ratelimit, single_use
from libs.guard.keyring import CannotOpen, KeyRing
from libs.people import handover
from libs.service import parts_of
from tests.libs import sample
from tests.pages import Browser


def ring(*kids: str) -> KeyRing:
    return KeyRing({kid: os.urandom(32) for kid in kids})


def test_sealed_content_opens_only_where_it_belongs() -> None:
    keys = ring("a")
    sealed = keys.seal(b"seed", "users.seed:1")
    assert keys.open(sealed, "users.seed:1") == b"seed"
    with pytest.raises(CannotOpen):
        keys.open(sealed, "users.seed:2")


def test_the_first_key_seals_and_old_ones_open() -> None:
    old = ring("a")
    sealed = old.seal(b"seed", "x")
    both = KeyRing({"b": os.urandom(32), **old.keys})
    assert both.open(sealed, "x") == b"seed"
    assert both.seal(b"seed", "x").startswith("b:")


@pytest.mark.parametrize("damage", ["", "a:", "a:!!!!", "zz:AAAA", "a:" + "A" * 80, "no colon"])
def test_damaged_text_never_opens(damage: str) -> None:
    with pytest.raises(CannotOpen):
        ring("a").open(damage, "x")


def test_a_ticket_is_for_one_purpose_and_one_service(sample_settings: sample.SampleSettings) -> None:
    ticket = handover.seal_ticket(sample_settings, purpose="enrol", audience="account", content={"n": 1})
    assert handover.open_ticket(sample_settings, ticket, purpose="enrol", audience="account") == {"n": 1}
    for purpose, audience in (("logout", "account"), ("enrol", "oidc")):
        with pytest.raises(handover.InvalidTicket):
            handover.open_ticket(sample_settings, ticket, purpose=purpose, audience=audience)


def test_a_ticket_ends_after_ten_minutes(
    sample_settings: sample.SampleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = handover.seal_ticket(sample_settings, purpose="enrol", audience="account", content={})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 601)
    with pytest.raises(handover.InvalidTicket):
        handover.open_ticket(sample_settings, ticket, purpose="enrol", audience="account")


def test_tokens_are_long_random_and_stored_as_hashes() -> None:
    token, stored = single_use.make()
    assert len(token) == 43
    assert token not in stored
    assert single_use.digest(token) == stored
    assert single_use.make()[0] != token


def test_the_fourth_try_is_refused_with_retry_after(sample_app: Flask) -> None:
    browser = Browser(sample_app, ip="203.0.113.9")
    token = csrf_of(browser)
    statuses = [browser.post("/limited", {"csrf_token": token}).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert 1 <= int(browser.page.headers["Retry-After"]) <= 61  # type: ignore[union-attr]
    assert 'scope="login"' in Browser(sample_app).get("/metrics").text


def test_limits_are_found_and_reset_for_one_address(sample_app: Flask) -> None:
    parts = parts_of(sample_app)
    for ip in ("10.0.0.1", "10.0.0.11"):
        browser = Browser(sample_app, ip=ip)
        browser.post("/limited", {"csrf_token": csrf_of(browser)})
    found = list(ratelimit.find_keys(parts.redis, parts.settings, ip="10.0.0.1"))
    assert found
    assert all("rl:login:ip:10.0.0.1:" in key for key in found)
    ratelimit.reset(parts.redis, parts.settings, ip="10.0.0.1")
    assert not list(ratelimit.find_keys(parts.redis, parts.settings, ip="10.0.0.1"))
    assert list(ratelimit.find_keys(parts.redis, parts.settings, ip="10.0.0.11"))


def test_the_wait_is_the_one_of_the_limit_that_was_met(sample_app: Flask) -> None:
    browser = Browser(sample_app, ip="203.0.113.10")
    token = csrf_of(browser)
    for _ in range(2):
        browser.post("/limited-by-the-hour", {"csrf_token": token})
    assert browser.status == 429
    assert 60 < int(browser.page.headers["Retry-After"]) <= 3601


def test_addresses_of_ipv6_count_together_by_64(sample_app: Flask) -> None:
    statuses = []
    for ip in (
        "2001:db8:1:2::1",
        "2001:db8:1:2:ffff::9",
        "2001:db8:1:2::3",
        "2001:db8:1:2::4",
        "2001:db8:1:3::1",
    ):
        browser = Browser(sample_app, ip=ip)
        statuses.append(browser.post("/limited", {"csrf_token": csrf_of(browser)}).status_code)
    assert statuses == [200, 200, 200, 429, 200]
    parts = parts_of(sample_app)
    [found] = ratelimit.find_keys(parts.redis, parts.settings, ip="2001:db8:1:2::7")
    assert "rl:login:ip:2001:db8:1:2::/64:" in found


@pytest.mark.parametrize(
    ("ip", "counted", "network"),
    [
        ("10.1.2.3", "10.1.2.3", "10.1.2.0/24"),
        ("0.0.0.0", "0.0.0.0", "0.0.0.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ],
)
def test_an_address_has_a_form_in_which_it_counts_and_a_network(ip: str, counted: str, network: str) -> None:
    assert (ratelimit.counted_address(ip), ratelimit.neighbourhood(ip)) == (counted, network)


def test_enhanced_mode_leaves_a_quarter_of_what_it_tightens_and_ends(sample_app: Flask) -> None:
    mode = parts_of(sample_app).enhanced
    assert mode.ends_at() is None
    ends_at = mode.begin(timedelta(minutes=5))
    assert mode.ends_at() == ends_at
    try:
        browser = Browser(sample_app, ip="203.0.113.20")
        token = csrf_of(browser)
        assert [browser.post("/limited", {"csrf_token": token}).status_code for _ in range(2)] == [200, 429]
    finally:
        assert mode.end()
    assert not mode.end()
    assert browser.post("/limited", {"csrf_token": token}).status_code == 200


def test_waits_are_told_in_seconds_and_minutes(sample_app: Flask) -> None:
    with sample_app.test_request_context():
        words = [ratelimit.wait_in_words(seconds) for seconds in (1, 90, 91, 900)]
    assert words == [
        "Wait 1 second, then try again.",
        "Wait 90 seconds, then try again.",
        "Wait 2 minutes, then try again.",
        "Wait 15 minutes, then try again.",
    ]


@pytest.mark.parametrize("allowance", ["10/minute", "5 per minute; 20 per hour", "many per minute", ""])
def test_an_allowance_that_cannot_be_quartered_is_refused_when_it_is_declared(allowance: str) -> None:
    with pytest.raises(AssertionError):
        sample.limiter.limit("login", allowance)


def csrf_of(browser: Browser) -> str:
    """A CSRF token of this browser, from the page that a form without one gets."""
    browser.post("/limited", {})
    from tests.pages import forms_of

    return dict(forms_of(browser.text)[0].fields)["csrf_token"]
