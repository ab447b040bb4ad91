"""Enrolling: a ticket becomes an account with a password, once."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask

from libs.messaging.events import AccountOpened, ApplicantActivated, UserChanged
from tests.account.conftest import (
    PASSWORD,
    Person,
    copy_of,
    execute,
    is_signed_in,
    rows,
    side_by_side,
    sign_in,
)
from tests.conftest import receive, recorded
from tests.pages import Browser, token_of


def enter(browser: Browser, ticket: str) -> Browser:
    browser.get("/enrol", query_string={"ticket": ticket})
    assert (browser.status, browser.location) == (303, "/enrol"), browser.text
    browser.get("/enrol")
    return browser


def test_an_applicant_sets_a_password_and_lands_where_they_wanted(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id, email = str(uuid.uuid4()), f"Nora.{uuid.uuid4().hex[:8]}@people.test"
    ticket = enrol_ticket(
        application_id=application_id,
        email=email,
        locale="ru",
        roles=["reviewer"],
        **{"continue": "/demo?x=1"},
    )
    enter(browser, ticket)
    assert email in browser.text
    assert "Nora New" in browser.text
    browser.fill(password=PASSWORD)
    assert (browser.status, browser.location) == (303, "/demo?x=1")
    assert is_signed_in(browser)
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == ["reviewer"]
    assert shared.claims["email_verified"] is True
    [opened] = [event for event in recorded(app, AccountOpened) if event.application_id == application_id]
    assert opened.sub == shared.sub
    [changed] = [event for event in recorded(app, UserChanged) if event.sub == shared.sub]
    assert (changed.version, changed.status, changed.locale) == (1, "active", "ru")
    assert changed.claims == shared.claims
    again = Browser(app)
    sign_in(again, Person(sub=shared.sub, email=email.lower()))


def test_the_ticket_leaves_the_address_and_looking_opens_nothing(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(application_id=application_id)
    enter(browser, ticket)
    assert ticket not in browser.text
    assert ticket not in (browser.cookie("id_browser") or "")
    assert not rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)


def test_the_continue_of_a_ticket_stays_ours(browser: Browser, enrol_ticket: Callable[..., str]) -> None:
    enter(browser, enrol_ticket(**{"continue": "//evil.test"}))
    browser.fill(password=PASSWORD)
    assert browser.location == "/account"


@pytest.mark.parametrize("ticket", ["", "x", "abc:def", ":"])
def test_a_mangled_ticket_gets_a_page_that_says_what_to_do(browser: Browser, ticket: str) -> None:
    browser.get("/enrol", query_string={"ticket": ticket})
    assert browser.status == 410
    assert "open the link in your mail again" in browser.text


def test_an_expired_ticket_is_refused(
    browser: Browser, enrol_ticket: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from libs.people import handover

    monkeypatch.setattr(handover, "TICKET_LIFETIME", timedelta(seconds=-1))
    browser.get("/enrol", query_string={"ticket": enrol_ticket()})
    assert browser.status == 410


def test_the_page_without_a_ticket_opens_nothing(browser: Browser) -> None:
    browser.get("/enrol")
    assert browser.status == 410
    browser.get("/login")
    browser.post("/enrol", {"csrf_token": token_of(browser), "password": PASSWORD})
    assert browser.status == 410


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "at least 15"),
        ("short", "at least 15"),
        ("x" * 1001, "at most 1000"),
        ("aaaaaaaaaaaaaaaaaaaa", "easy to guess"),
        ("passwordpassword1", "easy to guess"),
        ("Nora New 12345678", "easy to guess"),
        ("UpdSpace ID 2026 !!", "easy to guess"),
    ],
)
def test_a_password_that_breaks_a_rule_is_refused_beside_its_field(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str], password: str, words: str
) -> None:
    application_id = str(uuid.uuid4())
    enter(browser, enrol_ticket(application_id=application_id))
    browser.fill(password=password)
    assert browser.status == 422
    assert words in browser.text
    assert 'id="password-error"' in browser.text
    assert not rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)
    browser.fill(password=PASSWORD)
    assert browser.status == 303


def test_what_the_form_sends_beside_the_password_counts_for_nothing(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    enter(browser, enrol_ticket())
    data = {"csrf_token": token_of(browser), "password": PASSWORD, "roles": "admin", "email": "x@evil.test"}
    browser.post("/enrol", data)
    assert browser.status == 303
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.roles == []
    assert shared.claims["email"] != "x@evil.test"


def test_enrolling_needs_the_forms_token(browser: Browser, enrol_ticket: Callable[..., str]) -> None:
    enter(browser, enrol_ticket())
    browser.post("/enrol", {"password": PASSWORD})
    assert browser.status == 400


def test_two_browsers_at_once_open_one_account(app: Flask, enrol_ticket: Callable[..., str]) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(application_id=application_id)
    browsers = [enter(Browser(app), ticket) for _ in range(4)]
    passwords = [f"green kettle on windowsill {number}" for number in "abcd"]
    side_by_side(*(lambda b=b, p=p: b.fill(password=p) for b, p in zip(browsers, passwords, strict=True)))
    assert sorted(browser.status for browser in browsers) == [303, 409, 409, 409]
    assert len(rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)) == 1
    opened = [event for event in recorded(app, AccountOpened) if event.application_id == application_id]
    assert len(opened) == 1
    loser = next(browser for browser in browsers if browser.status == 409)
    assert "already activated" in loser.text
    assert not is_signed_in(loser)


def test_the_same_answer_repeated_signs_in_again_and_changes_nothing(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(application_id=application_id)
    browsers = [enter(Browser(app), ticket) for _ in range(3)]
    side_by_side(*(lambda b=b: b.fill(password=PASSWORD) for b in browsers))
    assert [browser.status for browser in browsers] == [303, 303, 303]
    assert all(is_signed_in(browser) for browser in browsers)
    assert len(rows(app, "SELECT 1 FROM users WHERE application_id = :id", id=application_id)) == 1


def test_a_second_visitor_is_told_to_sign_in(app: Flask, enrol_ticket: Callable[..., str]) -> None:
    ticket = enrol_ticket()
    enter(Browser(app), ticket).fill(password=PASSWORD)
    second = enter(Browser(app), ticket)
    assert second.status == 409
    assert "already activated" in second.text
    assert "/login?login_hint=" in second.text
    assert not is_signed_in(second)


def test_guessing_the_password_through_the_page_is_throttled(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    ticket = enrol_ticket()
    late = enter(Browser(app), ticket)
    enter(Browser(app), ticket).fill(password=PASSWORD)
    data = {"csrf_token": token_of(late), "password": "a wrong password, wholly"}
    statuses = [late.post("/enrol", data).status_code for _ in range(22)]
    assert statuses[0] == 409
    assert statuses[-1] == 429


def test_guesses_through_the_page_count_and_are_written_down_as_at_the_sign_in_page(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(application_id=application_id)
    late = enter(Browser(app), ticket)
    enter(Browser(app), ticket).fill(password=PASSWORD)
    data = {"csrf_token": token_of(late), "password": "a wrong password, wholly"}
    statuses = [late.post("/enrol", data).status_code for _ in range(14)]
    assert statuses[:10] == [409] * 10
    assert 429 in statuses[10:], "the growing waits hold here too"
    query = (
        "SELECT failure_reason FROM login_events JOIN users ON users.id = user_id"
        " WHERE application_id = :id AND method = 'enrolment' AND NOT success"
    )
    reasons = [row.failure_reason for row in rows(app, query, id=application_id)]
    assert reasons.count("bad_password") >= 10
    assert "throttled" in reasons


def test_an_address_that_has_an_account_is_told_to_sign_in_there(
    app: Flask, browser: Browser, person: Person, enrol_ticket: Callable[..., str]
) -> None:
    enter(browser, enrol_ticket(email=person.email.upper()))
    browser.fill(password="another good long phrase")
    assert browser.status == 409
    assert "already an account with this address" in browser.text
    sign_in(browser, person)


def test_the_application_of_a_proven_address_becomes_the_account_it_has_which_stays_as_it_is(
    app: Flask, browser: Browser, person: Person, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(
        application_id=application_id, email=person.email, name="Somebody Else", roles=["admin"]
    )
    before = rows(
        app, "SELECT name, roles, version, email_verified_at FROM users WHERE sub = :s", s=person.sub
    )
    for _ in range(2):
        enter(browser, ticket)
        if browser.status == 200:
            browser.fill(password="another good long phrase")
        assert browser.status == 409
        assert not is_signed_in(browser)
    opened = [event for event in recorded(app, AccountOpened) if event.application_id == application_id]
    assert {event.sub for event in opened} == {person.sub}
    after = rows(
        app, "SELECT name, roles, version, email_verified_at FROM users WHERE sub = :s", s=person.sub
    )
    assert after == before
    sign_in(browser, person)


def test_a_second_application_of_a_member_is_closed_too(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    email = f"twice-{uuid.uuid4().hex[:8]}@people.test"
    enter(browser, enrol_ticket(email=email)).fill(password=PASSWORD)
    assert browser.status == 303
    second = str(uuid.uuid4())
    enter(Browser(app), enrol_ticket(application_id=second, email=email)).fill(password=PASSWORD)
    [opened] = [event for event in recorded(app, AccountOpened) if event.application_id == second]
    assert rows(app, "SELECT 1 FROM users WHERE sub = :sub AND email = :email", sub=opened.sub, email=email)


def test_an_unproven_address_closes_nothing_of_anothers(
    app: Flask, browser: Browser, person: Person, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    enter(
        browser, enrol_ticket(application_id=application_id, email=person.email, email_verified=False)
    ).fill(password="another good long phrase")
    assert browser.status == 409
    assert not [event for event in recorded(app, AccountOpened) if event.application_id == application_id]


def test_a_stranger_who_uses_up_the_tries_at_sign_in_keeps_nobody_from_enrolling(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    email = f"wanted-{uuid.uuid4().hex[:8]}@people.test"
    statuses = []
    for number in range(15):
        stranger = Browser(app, ip=f"192.0.2.{number}")
        stranger.fill("/login", email=email, password="a wrong password, wholly")
        statuses.append(stranger.status)
    assert 429 in statuses
    mine = enter(Browser(app), enrol_ticket(email=email))
    mine.fill(password=PASSWORD)
    assert mine.status == 303


def test_the_longest_name_and_way_on_fit_into_address_and_cookie(
    browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    ticket = enrol_ticket(
        email="a" * 64 + "@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + ".test",
        name="\U0001f6f6" * 100,
        **{"continue": "/" + "x" * 499},
    )
    assert len(f"GET /enrol?ticket={ticket} HTTP/1.1") < 4094  # what gunicorn takes of a request line
    browser.get("/enrol", query_string={"ticket": ticket})
    assert all(len(cookie) < 4096 for cookie in browser.page.headers.getlist("Set-Cookie"))


def test_whoever_was_activated_directly_may_still_use_the_activation_link(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    application_id, email = str(uuid.uuid4()), f"direct-{uuid.uuid4().hex[:8]}@people.test"
    event = ApplicantActivated(
        application_id=application_id, email=email, name="Dina Direct", locale="en", roles=[], reason="known"
    )
    assert receive(app, event, "onboarding") == "handled"
    enter(browser, enrol_ticket(application_id=application_id, email=email))
    browser.fill(password=PASSWORD)
    assert browser.status == 303
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.claims["email_verified"] is True
    versions = [event.version for event in recorded(app, UserChanged) if event.sub == shared.sub]
    assert versions == [1, 2]
    assert not rows(
        app,
        "SELECT 1 FROM password_links l JOIN users u ON u.id = user_id WHERE sub = :sub AND used_at IS NULL",
        sub=shared.sub,
    )


def test_a_disabled_account_is_not_entered_by_its_old_ticket(
    app: Flask, enrol_ticket: Callable[..., str]
) -> None:
    application_id = str(uuid.uuid4())
    ticket = enrol_ticket(application_id=application_id)
    late = enter(Browser(app), ticket)
    enter(Browser(app), ticket).fill(password=PASSWORD)
    execute(app, "UPDATE users SET status = 'disabled' WHERE application_id = :id", id=application_id)
    late.fill(password=PASSWORD)
    assert late.status == 409
    assert not is_signed_in(late)


def test_enrolling_beside_an_account_already_open_adds_it_in_front(
    app: Flask, browser: Browser, person: Person, enrol_ticket: Callable[..., str]
) -> None:
    sign_in(browser, person)
    enter(browser, enrol_ticket(name="Second Self"))
    browser.fill(password=PASSWORD)
    text = browser.get("/account").text
    assert "Second Self" in text
    assert person.email in text


def test_enrolling_goes_on_without_redis(
    browser: Browser, enrol_ticket: Callable[..., str], redis_away: Callable[[], None]
) -> None:
    enter(browser, enrol_ticket())
    browser.fill(password=PASSWORD)
    assert browser.status == 303
    assert is_signed_in(browser)


def test_no_log_line_holds_the_ticket_the_password_or_the_address(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str], log_text: Callable[[], str]
) -> None:
    email = f"quiet-{uuid.uuid4().hex[:8]}@people.test"
    ticket = enrol_ticket(email=email)
    enter(browser, ticket)
    browser.fill(password="short-marked-secret"[:14])
    browser.fill(password=PASSWORD)
    assert browser.status == 303
    text = log_text()
    assert "/enrol" in text
    for secret in (ticket, PASSWORD, "short-marked-s", email, browser.cookie("id_session") or "none"):
        assert secret not in text


def test_a_link_that_staff_handed_over_does_not_prove_the_address(
    app: Flask, browser: Browser, enrol_ticket: Callable[..., str]
) -> None:
    """The mailbox was never asked: apps must not hear that the address is the person's."""
    enter(browser, enrol_ticket(application_id=str(uuid.uuid4()), email_verified=False))
    browser.fill(password=PASSWORD)
    shared = copy_of(app, browser)
    assert shared is not None
    assert shared.claims["email_verified"] is False
