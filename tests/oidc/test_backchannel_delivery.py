"""Back-channel logout: whatever clients answer and whichever worker dies, it arrives in the end."""

import threading
import time
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.database import utcnow
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows import logouts
from services.oidc.models import LogoutDelivery
from services.oidc.protocol import backchannel_logout
from tests.account.conftest import side_by_side
from tests.oidc.listeners import Listeners, read
from tests.oidc.logout_steps import Make, deliveries, delivery, end, make_due, send, update
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser

# ---- what clients answer -------------------------------------------------------------------------------------


@pytest.fixture
def ended(app: Flask, browser: Browser, person: Session, make_listener: Make) -> RelyingParty:
    """A client of a session that has just ended."""
    client = make_listener("app")
    client.tokens(browser)
    end(app, person, "sign_out", sids=[person.sid])
    return client


@pytest.mark.parametrize("answer", [200, 204, "huge"])
def test_a_client_that_did_it_is_left_alone(
    app: Flask, ended: RelyingParty, apps: Listeners, answer: Any
) -> None:
    apps.answers["app"] = answer
    send(app)
    assert delivery(app).state == "delivered"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {}, b'{"error":"invalid_request","error_description":"<b>Ann</b>"}'), "status 400 invalid_request"),
        ((400, {}, b'{"error":"ann@people.test"}'), "status 400"),
        ((403, {}, b"[" * 5000), "status 403"),
        ((302, {"Location": "/elsewhere"}, b""), "redirect"),
    ],
    ids=["an error code", "something else", "nonsense", "redirect"],
)  # fmt: skip
def test_a_client_that_says_no_is_asked_some_times_and_then_parked(
    app: Flask, ended: RelyingParty, apps: Listeners, answer: Any, error: str
) -> None:
    apps.answers["app"] = answer
    for attempt in range(1, 9):
        make_due(app)
        send(app)
        now = delivery(app)
        assert (now.attempts, now.last_error, now.holds_client) == (attempt, error, False)
        assert now.state == ("queued" if attempt < 8 else "parked")
    assert len({read(app, token, aud=ended.client_id)["jti"] for token in apps.tokens["app"]}) == 1
    assert apps.tokens["redirected"] == []
    make_due(app)
    assert send(app) == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [(500, "status 500"), ("hang", "no answer in time"), ("drop", "not reached"), (None, "not reached")],
    ids=["500", "hangs", "drops", "dead"],
)
def test_a_client_in_trouble_is_told_later_and_parked_after_a_day(
    app: Flask,
    ended: RelyingParty,
    apps: Listeners,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    error: str,
) -> None:
    monkeypatch.setattr(backchannel_logout, "ANSWER_TIMEOUT_S", 0.4)
    if answer is None:
        from services.oidc.flows.clients import update_client

        with app.app_context():
            update_client(ended.client_id, backchannel_logout_uri="http://127.0.0.1:1/app")
    apps.answers["app"] = answer
    began = time.monotonic()
    send(app)
    assert time.monotonic() - began < 3
    waiting = delivery(app)
    assert (waiting.state, waiting.last_error, waiting.holds_client) == ("queued", error, True)
    assert timedelta(seconds=3) < waiting.next_attempt_at - utcnow() < timedelta(seconds=7)
    assert send(app) == 0, "it is not due"
    update(app, attempts=30, next_attempt_at=utcnow() - timedelta(seconds=1))
    send(app)
    waiting = delivery(app)
    assert waiting.state == "queued", "however often: what counts is the time"
    assert timedelta(minutes=20) < waiting.next_attempt_at - utcnow() < timedelta(minutes=40)
    update(app, next_attempt_at=utcnow() - timedelta(seconds=1), give_up_at=utcnow() + timedelta(minutes=5))
    send(app)
    assert (delivery(app).state, delivery(app).last_error) == ("parked", error)


def test_a_client_that_names_a_time_is_left_alone_for_it(
    app: Flask, ended: RelyingParty, apps: Listeners
) -> None:
    for wish, least, most in (("120", 110, 121), ("999999999", 3500, 3601), ("soon", 3, 7)):
        update(app, attempts=0)
        make_due(app)
        apps.answers["app"] = (503, {"Retry-After": wish}, b"")
        send(app)
        assert least < (delivery(app).next_attempt_at - utcnow()).total_seconds() < most


def test_addresses_of_our_own_network_are_not_visited(
    app: Flask, ended: RelyingParty, apps: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.flows.clients import update_client

    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=()))
    send(app)
    assert delivery(app).last_error == "we do not go there: http is not https"
    with app.app_context():
        update_client(ended.client_id, backchannel_logout_uri="https://127.0.0.1/app")
    make_due(app)
    send(app)
    assert delivery(app).last_error == "we do not go there: not a public address"
    assert apps.forms == []


# ---- many of them --------------------------------------------------------------------------------------------


def record(app: Flask, client: RelyingParty, count: int, **values: Any) -> None:
    """So many people signed out of this client."""
    now = utcnow()
    with app.app_context(), db.transaction() as session:
        for _ in range(count):
            usual = {"sub": str(uuid.uuid4()), "cause": "sign_out", "next_attempt_at": now}
            session.add(LogoutDelivery(client_id=client.client_id, **{**usual, **values}))


def states(app: Flask) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in deliveries(app):
        found[one.state] = found.get(one.state, 0) + 1
    return found


def test_a_client_that_is_away_costs_one_try_however_much_waits_for_it(
    app: Flask, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
    record(app, client, 20)
    apps.answers["app"] = 503
    send(app)
    assert len(apps.tokens["app"]) == 1
    send(app)
    assert len(apps.tokens["app"]) == 1
    update(app, next_attempt_at=utcnow() - timedelta(seconds=1))
    send(app)
    assert len(apps.tokens["app"]) == 2
    assert sorted(one.attempts for one in deliveries(app))[-1] == 2, "the one that found out is tried again"
    apps.answers["app"] = 200
    update(app, next_attempt_at=utcnow() - timedelta(seconds=1))
    send(app)
    assert states(app) == {"delivered": 20}


def test_after_a_day_everything_that_waited_for_a_dead_client_is_parked_at_once(
    app: Flask, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
    record(app, client, 20, give_up_at=utcnow())
    record(app, client, 2)
    apps.answers["app"] = 503
    send(app)
    assert states(app) == {"parked": 20, "queued": 2}
    assert {one.last_error for one in deliveries(app) if one.state == "parked"} == {"status 503"}
    assert len(apps.tokens["app"]) == 2, "the others have their day"


def test_slow_clients_hold_up_nobody_else(app: Flask, make_listener: Make, apps: Listeners) -> None:
    slow, quick = [make_listener(f"slow{number}") for number in range(3)], make_listener("quick")
    for number, client in enumerate(slow):
        apps.answers[f"slow{number}"] = "hang"
        record(app, client, 3)
    record(app, quick, 30)
    thread = threading.Thread(target=send, args=[app])
    thread.start()
    apps.wait_for("quick", 30, within_s=4)
    record(app, quick, 5)
    assert send(app) == 0, "the thread that is at it sees what is new"
    apps.wait_for("quick", 35, within_s=2)
    assert states(app)["sending"] >= 3
    apps.may_go_on.set()
    thread.join()
    assert [len(apps.tokens[f"slow{number}"]) for number in range(3)] == [1, 1, 1]
    assert states(app) == {"delivered": 35, "queued": 9}


def test_workers_side_by_side_send_each_once_and_to_a_client_one_at_a_time(
    app: Flask, make_listener: Make, apps: Listeners
) -> None:
    clients = {f"app{number}": make_listener(f"app{number}") for number in range(4)}
    for client in clients.values():
        record(app, client, 10)
    apps.pause_s = 0.005

    def worker() -> int:
        """A process of its own has a lock of its own."""
        with app.app_context():
            return backchannel_logout._run(time.monotonic() + 20)

    assert sum(side_by_side(*[worker] * 4)) == 40
    for name, client in clients.items():
        ids = {read(app, token, aud=client.client_id)["jti"] for token in apps.tokens[name]}
        assert len(ids) == len(apps.tokens[name]) == 10
        assert apps.most_at_once[name] == 1
    assert states(app) == {"delivered": 40}


# ---- workers that die ----------------------------------------------------------------------------------------


def test_a_worker_that_dies_before_it_sends_leaves_it_to_the_next(
    app: Flask, ended: RelyingParty, apps: Listeners
) -> None:
    with app.app_context():
        [held] = logouts.claim(10)
    assert send(app) == 0, "it is leased"
    make_due(app)
    send(app)
    assert (delivery(app).state, delivery(app).attempts) == ("delivered", 2)
    with app.app_context():
        assert logouts.settle(held, logouts.unanswered("late")) is None, (
            "whoever lost the lease moves nothing"
        )
    assert delivery(app).state == "delivered"


def test_a_worker_that_dies_after_it_sent_repeats_the_same_logout(
    app: Flask, ended: RelyingParty, apps: Listeners
) -> None:
    with app.app_context():
        [held] = logouts.claim(10)
        client = backchannel_logout.find_client(ended.client_id)
        assert client is not None
        token = backchannel_logout.make_logout_token(held, client, issuer="http://localhost:8000")
        backchannel_logout.post(apps.address("app"), token, settings=parts_of(app).settings)
    make_due(app)
    send(app)
    first, second = [read(app, token, aud=ended.client_id) for token in apps.tokens["app"]]
    assert first["jti"] == second["jti"] == str(held.id)


def test_an_answer_that_comes_after_the_lease_is_a_fact_all_the_same(
    app: Flask, ended: RelyingParty, apps: Listeners
) -> None:
    with app.app_context():
        [held] = logouts.claim(10)
        make_due(app)
        [again] = logouts.claim(10)
        assert logouts.settle(held, logouts.delivered()) == "delivered"
        assert logouts.settle(again, logouts.unanswered("not reached")) is None
    assert delivery(app).state == "delivered"


def test_a_fault_of_ours_waits_like_any_other(
    app: Flask, ended: RelyingParty, apps: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(backchannel_logout, "post", broken)
        send(app)
    waiting = delivery(app)
    assert (waiting.state, waiting.last_error) == ("queued", "a fault of ours: ZeroDivisionError")
    make_due(app)
    send(app)
    assert delivery(app).state == "delivered"
