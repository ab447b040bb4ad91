"""Signing out: the question, several accounts, and the way that the issuer sends people."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from libs.messaging.events import AccessRevoked
from libs.people.handover import open_ticket, seal_ticket
from libs.people.sessions import copy_key, secret_digest
from libs.service import parts_of
from tests.account.conftest import Person, cookie_of, copy_of, is_signed_in, sign_in
from tests.conftest import recorded
from tests.pages import Browser


@pytest.fixture
def ticket(app: Flask) -> Callable[..., str]:
    def make(**values: object) -> str:
        content = {"sid": None, "return_to": "/oauth2/logout/done?state=1", "client_id": "demo", **values}
        return seal_ticket(parts_of(app).settings, purpose="logout", audience="account", content=content)

    return make


BACK = "/oauth2/logout/done?state=1&ended="


def told(app: Flask, browser: Browser) -> dict[str, Any]:
    """What the issuer's last page reads from the ticket that the browser takes there."""
    assert browser.status == 303
    assert urlsplit(browser.location).path == "/oauth2/logout/done"
    ticket = browser.query()["ended"]
    return open_ticket(parts_of(app).settings, ticket, purpose="logout-ended", audience="oidc")


def test_signing_out_asks_then_ends_row_and_copy(app: Flask, browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    old, shared = cookie_of(browser), copy_of(app, browser)
    assert shared is not None
    browser.get("/logout")
    assert 'id="sign-out"' in browser.text
    assert is_signed_in(browser)
    browser.fill("/logout", button="sign-out")
    assert told(app, browser) == {"sessions": [{"sub": person.sub, "sid": shared.sid}], "return_to": None}
    assert "Signed out" in browser.get("/logout").text
    assert browser.cookie("id_session") is None
    assert parts_of(app).redis.get(copy_key(secret_digest(old))) is None
    thief = Browser(app)
    thief.set_cookie("id_session", old)
    assert not is_signed_in(thief)
    [event] = [event for event in recorded(app, AccessRevoked) if event.sub == person.sub]
    assert (event.sids, event.cause) == ([shared.sid], "sign_out")


def test_signing_out_needs_the_forms_token(browser: Browser, person: Person) -> None:
    sign_in(browser, person)
    browser.post("/logout")
    assert browser.status == 400
    assert is_signed_in(browser)


def test_signing_out_when_nobody_is_signed_in_says_so(browser: Browser) -> None:
    browser.get("/logout")
    assert browser.status == 200
    assert "Signed out" in browser.text


def test_signing_out_ends_every_account_of_the_browser_or_the_current_one(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    ann, bob, eve = make_person(), make_person(), make_person()
    for person in (ann, bob, eve):
        sign_in(browser, person, "/login?another=yes")
    browser.fill("/logout", button="only")
    assert told(app, browser)["return_to"] == "/account"
    assert [one["sub"] for one in told(app, browser)["sessions"]] == [eve.sub]
    browser.get("/account")
    assert f"You signed out of {eve.email}." in browser.text
    assert bob.email in browser.text
    browser.fill("/logout", button="sign-out")
    assert {one["sub"] for one in told(app, browser)["sessions"]} == {ann.sub, bob.sub}
    assert "Signed out" in browser.get("/logout").text
    subs = [event.sub for event in recorded(app, AccessRevoked)]
    assert {ann.sub, bob.sub, eve.sub} <= set(subs)


def test_the_issuers_ticket_ends_its_session_and_sends_the_browser_back(
    app: Flask, browser: Browser, person: Person, ticket: Callable[..., str]
) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    path = f"/logout?ticket={ticket(sid=shared.sid)}"
    browser.get(path)
    assert browser.location.startswith(BACK)
    assert [one["sid"] for one in told(app, browser)["sessions"]] == [shared.sid]
    assert browser.page.headers["Referrer-Policy"] == "no-referrer"
    assert browser.cookie("id_session") is None
    browser.get(path)
    assert (browser.status, browser.location) == (303, "/oauth2/logout/done?state=1")
    assert len([event for event in recorded(app, AccessRevoked) if event.sub == person.sub]) == 1


def test_a_ticket_ends_no_session_of_another_browser(
    app: Flask, browser: Browser, make_person: Callable[..., Person], ticket: Callable[..., str]
) -> None:
    ann, eve = make_person(), make_person()
    hers, his = sign_in(browser, ann), sign_in(Browser(app), eve)
    shared = copy_of(app, hers)
    assert shared is not None
    his.get(f"/logout?ticket={ticket(sid=shared.sid)}")
    assert his.status == 303
    assert is_signed_in(hers)
    assert is_signed_in(his)


def test_a_ticket_without_a_session_asks_first_and_then_goes_back(
    browser: Browser, person: Person, ticket: Callable[..., str]
) -> None:
    sign_in(browser, person)
    browser.get(f"/logout?ticket={ticket()}")
    assert browser.status == 200
    assert is_signed_in(browser)
    browser.fill(f"/logout?ticket={ticket()}", button="sign-out")
    assert browser.location.startswith(BACK)
    assert not is_signed_in(browser)
    browser.get(f"/logout?ticket={ticket()}")
    assert (browser.status, browser.location) == (303, "/oauth2/logout/done?state=1")


def test_a_ticket_that_is_foreign_mangled_or_leads_away_is_no_ticket(
    app: Flask, browser: Browser, person: Person, ticket: Callable[..., str], enrol_ticket: Callable[..., str]
) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    good = ticket(sid=shared.sid)
    for bad in ("x", good[:-2], good + "A", enrol_ticket(), ":", "a:b"):
        assert browser.get("/logout", query_string={"ticket": bad}).status_code == 200
        assert is_signed_in(browser)
    browser.get(f"/logout?ticket={ticket(sid=shared.sid, return_to='https://evil.test/')}")
    assert told(app, browser)["sessions"], "the session ends, and the way back is ours"


def test_a_ticket_whose_session_nobody_has_looked_for_asks_where_it_is_not_here(
    app: Flask, browser: Browser, person: Person, ticket: Callable[..., str]
) -> None:
    sign_in(browser, person)
    shared = copy_of(app, browser)
    assert shared is not None
    browser.get(f"/logout?ticket={ticket(sid='an earlier one', is_hint=True)}")
    assert 'id="sign-out"' in browser.text
    browser.get(f"/logout?ticket={ticket(sid=shared.sid, is_hint=True)}")
    assert browser.location.startswith(BACK)


def test_an_unknown_cookie_is_cleared_on_the_way(browser: Browser) -> None:
    browser.set_cookie("id_session", "D" * 43)
    browser.get("/logout")
    assert "Signed out" in browser.text
    assert browser.cookie("id_session") is None


def test_signing_out_works_without_redis(
    browser: Browser, person: Person, redis_away: Callable[[], None]
) -> None:
    sign_in(browser, person)
    browser.fill("/logout", button="sign-out")
    assert "Signed out" in browser.get("/logout").text
    assert not is_signed_in(browser)
