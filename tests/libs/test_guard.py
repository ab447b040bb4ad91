"""Keys, tickets, tokens, limits."""

import os
import time

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


@pytest.mark.parametrize("allowance", ["10/minute", "5 per minute; 20 per hour", "many per minute", ""])
def test_an_allowance_that_cannot_be_quartered_is_refused_when_it_is_declared(allowance: str) -> None:
    with pytest.raises(AssertionError):
        sample.limiter.limit("login", allowance)


def csrf_of(browser: Browser) -> str:
    """A CSRF token of this browser, from the page that a form without one gets."""
    browser.post("/limited", {})
    from tests.pages import forms_of

    return dict(forms_of(browser.text)[0].fields)["csrf_token"]
