"""Issuing a code: at the first request where nothing is left to ask, in one statement, and never past a revocation."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import receive, sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty, error_of
from tests.oidc.test_revoking import revoked
from tests.pages import Browser
from tests.round_trips import counted

Make = Callable[..., RelyingParty]


@pytest.fixture
def known(app: Flask, browser: Browser, client: RelyingParty) -> Session:
    """Somebody who signed in a minute ago, has allowed the app everything asked for, and is known to the issuer."""
    person = sign_in_copy(browser, app, auth_time=int(time.time()) - 60)
    client.code(browser)
    return person


def interactions_of(app: Flask) -> int:
    return sum(1 for _ in parts_of(app).redis.scan_iter(match="interaction:*"))


def test_where_nothing_is_left_to_ask_the_first_answer_is_the_code(
    app: Flask, browser: Browser, known: Session, client: RelyingParty
) -> None:
    before = interactions_of(app)
    page = client.send(browser)
    assert page.status_code == 303
    assert browser.location.startswith(REDIRECT_URI)
    assert page.headers["Cache-Control"] == "no-store"
    assert interactions_of(app) == before, "nothing is kept"
    assert client.redeem(browser.query()["code"]).status_code == 200


def test_it_costs_two_round_trips_to_each_store(
    browser: Browser, known: Session, client: RelyingParty
) -> None:
    """PostgreSQL: what was allowed, and the code. Redis: the limit, and the session."""
    client.send(browser)
    with counted() as trips:
        client.send(browser)
    assert "code" in browser.query()
    assert (trips.postgres, trips.redis) == (2, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "login"},
        {"prompt": "consent"},
        {"prompt": "select_account"},
        {"prompt": "create"},
        {"max_age": "10"},
        {"acr_values": "2"},
        {"scope": "openid phone"},
        {"claims": '{"userinfo": {"phone_number": null}}'},
        {"claims": '{"id_token": {"sub": {"value": "x"}}}'},
    ],
    ids=str,
)
def test_whoever_has_to_be_asked_anything_goes_by_way_of_the_interaction(
    browser: Browser, known: Session, client: RelyingParty, changes: dict[str, str]
) -> None:
    client.send(browser, **changes)
    assert browser.location.startswith("/oauth2/authorize/")


def test_a_post_always_does(app: Flask, browser: Browser, known: Session, client: RelyingParty) -> None:
    browser.post("/oauth2/authorize", client.parameters(), headers={"Origin": "https://rp.test"})
    assert browser.location.startswith("/oauth2/authorize/")
    browser.get(browser.location)
    assert "code" in browser.query()


def test_a_head_request_gives_nothing_away(
    app: Flask, browser: Browser, known: Session, client: RelyingParty
) -> None:
    browser.open("/oauth2/authorize", method="HEAD", query_string=client.parameters())
    assert "code=" not in browser.location


def test_a_sign_in_that_was_revoked_goes_to_sign_in_from_there_too(
    app: Flask, browser: Browser, known: Session, client: RelyingParty
) -> None:
    before = int(time.time()) - 30
    receive(app, revoked(known, cause="sessions_revoked", sids=None, not_before=before), "account")
    client.ask(browser)
    assert urlsplit(browser.location).path == "/login"
    assert browser.query()["fresh_after"] == str(before)
    client.ask(browser, prompt="none")
    assert browser.query()["error"] == "login_required"


def test_a_database_that_fails_at_that_moment_costs_nobody_their_way_back(
    app: Flask,
    browser: Browser,
    known: Session,
    client: RelyingParty,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from services.oidc.routes import authorize

    def broken(*_: Any) -> str:
        raise sa.exc.OperationalError("INSERT", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(authorize, "issue_code", broken)
        client.send(browser)
        path = browser.location
        assert path.startswith("/oauth2/authorize/")
        assert browser.get(path).status_code == 503
    browser.get(path)
    assert "code" in browser.query()


@pytest.mark.parametrize("change", [{"version": 0}, {"status": "disabled"}])
def test_what_the_session_knows_better_is_taken_over_first(
    app: Flask, browser: Browser, known: Session, client: RelyingParty, change: dict[str, Any]
) -> None:
    """The slow way: a person of whom less is known than the session says, or who may not sign in."""
    from services.oidc.extensions import db
    from services.oidc.models import Subject

    with app.app_context(), db.transaction() as session:
        session.execute(sa.update(Subject).where(Subject.sub == known.sub).values(claims={}, **change))
    tokens = client.redeem(client.code(browser))
    if "status" in change:
        assert error_of(tokens) == (400, "invalid_grant"), "a code that nobody can redeem, as before"
        return
    assert client.userinfo(tokens.json["access_token"]).json["name"] == "Test Person"


# -- races -------------------------------------------------------------------------------------------------------------


def wait_for_waiting(app: Flask, count: int) -> None:
    """Until so many connections wait for a lock."""
    look = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    end = time.monotonic() + 4
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        while time.monotonic() < end:
            if connection.scalar(look) == count:
                return
            connection.rollback()
            time.sleep(0.01)
    raise AssertionError(f"nobody waits, or not {count}")


@contextmanager
def holding(app: Flask, statement: str, **values: Any) -> Iterator[sa.Connection]:
    """What the statement locks stays locked until the block ends or commits."""
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        connection.execute(sa.text(statement), values)
        yield connection


def asks(browser: Browser, client: RelyingParty) -> str:
    """Where the first request ends, with its answer."""
    client.ask(browser)
    return browser.location


def withdraw(app: Flask, sub: str, client_id: str) -> None:
    from services.oidc.flows.apps import withdraw as flow

    with app.app_context():
        flow(sub=sub, client_id=client_id)


@pytest.mark.parametrize("cause", ["sessions_revoked", "consent_withdrawn"])
def test_whoever_ends_access_waits_for_a_code_being_stored_and_finds_it(
    app: Flask, browser: Browser, known: Session, client: RelyingParty, cause: str
) -> None:
    event = revoked(known, cause="sessions_revoked", sids=None)
    lock_client = "SELECT 1 FROM clients WHERE client_id = :id FOR UPDATE"
    with ThreadPoolExecutor(2) as pool:
        # The new row refers to its client's: so the statement stops at its very end, everything done and locked.
        with holding(app, lock_client, id=client.client_id):
            code: Future[str] = pool.submit(asks, browser, client)
            wait_for_waiting(app, 1)
            if cause == "sessions_revoked":
                end: Future[Any] = pool.submit(receive, app, event, "account")
            else:
                end = pool.submit(withdraw, app, known.sub, client.client_id)
            wait_for_waiting(app, 2)
        end.result(timeout=10)
        assert code.result(timeout=10).startswith(REDIRECT_URI)
    assert error_of(client.redeem(browser.query()["code"])) == (400, "invalid_grant")


def test_a_code_waits_for_whoever_ends_access_and_is_refused(
    app: Flask, browser: Browser, known: Session, client: RelyingParty
) -> None:
    before = int(time.time()) - 30
    end = "UPDATE subjects SET revoked_before = :before WHERE sub = :sub"
    with ThreadPoolExecutor(1) as pool, holding(app, end, before=before, sub=known.sub) as connection:
        answer = pool.submit(asks, browser, client)
        wait_for_waiting(app, 1)
        connection.commit()
        assert urlsplit(answer.result(timeout=10)).path == "/login"


def test_of_many_codes_beside_the_end_of_all_access_none_is_left(
    app: Flask, browser: Browser, known: Session, client: RelyingParty
) -> None:
    event = revoked(known, cause="sessions_revoked", sids=None, not_before=int(time.time()) - 30)
    others = []
    for _ in range(6):
        others.append(Browser(app))
        sign_in_copy(others[-1], app, sub=known.sub, auth_time=known.auth_time)
    start = threading.Barrier(len(others) + 1)

    def ask(one: Browser) -> str:
        start.wait()
        return asks(one, client)

    def end() -> str:
        start.wait()
        return receive(app, event, "account")

    with ThreadPoolExecutor(len(others) + 1) as pool:
        answers = [pool.submit(ask, one) for one in others]
        assert pool.submit(end).result(timeout=20) == "handled"
        places = [answer.result(timeout=20) for answer in answers]
    for one, place in zip(others, places, strict=True):
        if place.startswith(REDIRECT_URI):
            assert error_of(client.redeem(one.query()["code"])) == (400, "invalid_grant")
        else:
            assert urlsplit(place).path == "/login"
