"""Front-channel logout: the last page visits the apps of the session that ended, and nothing else."""

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from libs.messaging.events import AccessRevoked
from libs.people import sessions
from libs.people.handover import open_ticket, seal_ticket
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.protocol import frontchannel_logout
from tests.conftest import receive, sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.oidc.test_logout import GOODBYE, leave
from tests.pages import Browser

Make = Callable[..., RelyingParty]
ADDRESS = "https://rp.test/front"


@pytest.fixture
def make(make_client: Make) -> Make:
    """Registers a client that is told through the browser."""

    def make(**settings: Any) -> RelyingParty:
        return make_client(**{"frontchannel_logout_uri": ADDRESS, **settings})

    return make


def sealed(app: Flask, *ended: Session, return_to: str | None = None) -> str:
    """What account seals once these sessions have ended."""
    content = {"sessions": [{"sub": one.sub, "sid": one.sid} for one in ended], "return_to": return_to}
    return seal_ticket(parts_of(app).settings, purpose="logout-ended", audience="oidc", content=content)


def come_back(app: Flask, browser: Browser, person: Session) -> None:
    """Do account's part, whose event comes first for once, and return."""
    ticket = parts_of(app).settings, browser.query()["ticket"]
    return_to = open_ticket(*ticket, purpose="logout", audience="account")["return_to"]
    browser.client.delete_cookie(sessions.cookie_name(parts_of(app).settings), domain="localhost")
    receive(app, AccessRevoked(sub=person.sub, sids=[person.sid], cause="sign_out", not_before=0), "account")
    separator = "&" if "?" in return_to else "?"
    browser.get(f"{return_to}{separator}ended={sealed(app, person)}")


def frames(browser: Browser) -> list[str]:
    return [unescape(src) for src in re.findall(r'<iframe src="([^"]+)"', browser.text)]


def test_the_apps_of_the_session_are_visited_before_the_way_goes_back(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    client = make(post_logout_redirect_uris=[GOODBYE])
    other = make(
        redirect_uris=["https://other.test:8443/cb"],
        frontchannel_logout_uri="https://other.test:8443/bye?tenant=7",
    )
    elsewhere = Browser(app)
    sign_in_copy(elsewhere, app, sub=person.sub)
    make(redirect_uris=["https://x.test/cb"], frontchannel_logout_uri="https://x.test/bye").tokens(elsewhere)
    tokens = client.tokens(browser)
    other.tokens(browser)
    leave(browser, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE, state="a&b")
    come_back(app, browser, person)
    assert browser.status == 200
    assert "Signed out" in browser.text
    issuer = parts_of(app).settings.PUBLIC_URL
    assert {address.partition("?")[0] for address in frames(browser)} == {
        ADDRESS,
        "https://other.test:8443/bye",
    }
    for address in frames(browser):
        asked = dict(parse_qsl(urlsplit(address).query))
        assert (asked.pop("iss"), asked.pop("sid")) == (issuer, person.sid)
        assert asked in ({}, {"tenant": "7"})
    target = f"{GOODBYE}?state=a%26b"
    assert f'<a class="button" id="continue" href="{target}">' in browser.text
    assert f'<meta http-equiv="refresh" content="3;url={target}">' in browser.text


def test_the_page_may_frame_those_origins_and_is_as_closed_as_ever(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    make().tokens(browser)
    browser.get("/account/apps")
    usual = browser.page.headers["Content-Security-Policy"]
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person)}")
    assert browser.page.headers["Content-Security-Policy"] == f"{usual}; frame-src https://rp.test"
    assert browser.page.headers["X-Frame-Options"] == "DENY"
    assert browser.page.headers["Referrer-Policy"] == "no-referrer"
    assert browser.page.headers["Cache-Control"] == "no-store"
    assert "<script" not in browser.text
    assert 'sandbox="allow-scripts allow-same-origin"' in browser.text


def test_an_origin_that_means_something_in_a_policy_is_not_framed(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    evil = "https://rp.test;script-src.evil.test"
    make(redirect_uris=[f"{evil}/cb"], frontchannel_logout_uri=f"{evil}/bye").tokens(browser)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person)}")
    assert "evil" not in browser.page.headers["Content-Security-Policy"]
    assert frames(browser) == []


def test_without_such_apps_the_way_back_is_a_redirect(
    app: Flask, browser: Browser, person: Session, make_client: Make
) -> None:
    client = make_client(post_logout_redirect_uris=[GOODBYE])
    tokens = client.tokens(browser)
    leave(browser, id_token_hint=tokens["id_token"], post_logout_redirect_uri=GOODBYE)
    come_back(app, browser, person)
    assert (browser.status, browser.location) == (303, GOODBYE)


def test_a_pairwise_client_gets_the_sid_that_it_knows(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    client = make(subject_type="pairwise")
    known = json.loads(extract_compact(client.tokens(browser)["id_token"].encode()).payload)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person)}")
    [address] = frames(browser)
    assert dict(parse_qsl(urlsplit(address).query))["sid"] == known["sid"] != person.sid


def test_signing_out_at_account_visits_them_too_and_goes_on_where_account_says(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    make().tokens(browser)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person, return_to='/account')}")
    assert len(frames(browser)) == 1
    assert 'id="continue" href="/account"' in browser.text
    nobody = sign_in_copy(Browser(app), app)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, nobody, return_to='/account')}")
    assert (browser.status, browser.location) == (303, "/account")
    browser.get(f"/oauth2/logout/done?ended={sealed(app, nobody)}")
    assert "Signed out" in browser.text, "somebody else is signed in here still, and asked for nothing"


def test_what_ended_is_believed_of_a_sealed_ticket_alone(
    app: Flask, browser: Browser, person: Session, make: Make
) -> None:
    make().tokens(browser)
    settings = parts_of(app).settings
    content = {"sessions": [{"sub": person.sub, "sid": person.sid}], "return_to": "https://evil.test/"}
    other = seal_ticket(settings, purpose="logout-done", audience="oidc", content=content)
    for ticket in ("", "x", "a:b", other, sealed(app, person)[:-2]):
        browser.get("/oauth2/logout/done", query_string={"ended": ticket})
        assert (browser.status, browser.location) == (303, "/logout"), "nobody has signed out"
    own = seal_ticket(settings, purpose="logout-ended", audience="oidc", content=content)
    browser.get("/oauth2/logout/done", query_string={"ended": own})
    assert "evil" not in browser.text


def test_a_browser_is_made_to_visit_the_newest_few(
    app: Flask, browser: Browser, person: Session, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontchannel_logout, "MOST_FRAMES", 2)
    for number in range(3):
        make(frontchannel_logout_uri=f"https://rp.test/front/{number}").tokens(browser)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person)}")
    assert [urlsplit(address).path for address in frames(browser)] == ["/front/2", "/front/1"]


def test_a_disabled_client_is_not_visited(app: Flask, browser: Browser, person: Session, make: Make) -> None:
    from services.oidc.flows.clients import update_client

    client = make()
    client.tokens(browser)
    with app.app_context():
        update_client(client.client_id, is_enabled=False)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person)}")
    assert browser.status == 200
    assert frames(browser) == []


def test_a_database_that_is_away_holds_up_nobody_who_signed_out(
    app: Flask, browser: Browser, person: Session, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(redirect_uris=[REDIRECT_URI]).tokens(browser)

    def away(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(db, "fetch_all", away)
    browser.get(f"/oauth2/logout/done?ended={sealed(app, person, return_to='/account')}")
    assert (browser.status, browser.location) == (303, "/account")
