"""Back-channel logout: who is told of what end, with which token, and that it arrives in the end."""

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from libs.database import utcnow
from libs.messaging.events import AccessRevoked, UserErased
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows import logouts
from services.oidc.models import LogoutDelivery
from services.oidc.protocol import backchannel_logout
from tests.account.conftest import side_by_side
from tests.conftest import receive, run_command, sign_in_copy
from tests.oidc.listeners import Listeners, listening, read
from tests.oidc.relying_party import RelyingParty, error_of
from tests.oidc.test_apps import rows
from tests.pages import Browser

BOUND, OFFLINE = "openid email", "openid email offline_access"
SESSION_CAUSES = ("sign_out", "session_ended")
PERSON_CAUSES = (
    "sessions_revoked",
    "disabled",
    "erased",
    "password_changed",
    "taken_over",
    "second_factor_required",
)
Make = Callable[..., RelyingParty]


@pytest.fixture
def apps(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listeners]:
    """The relying parties that listen; we may go to loopback for them."""
    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",)))
    with app.app_context(), db.transaction() as session:
        session.execute(sa.delete(LogoutDelivery))
    with listening() as listeners:
        yield listeners


@pytest.fixture
def make(make_client: Make, apps: Listeners) -> Make:
    """Registers a client that is told at /NAME."""

    def make(name: str, **settings: Any) -> RelyingParty:
        return make_client(name=name, backchannel_logout_uri=apps.address(name), **settings)

    return make


def end(app: Flask, person: Session, cause: str, *, sids: list[str] | None = None, since: int = 0) -> None:
    """What account's event does here."""
    event = AccessRevoked(sub=person.sub, sids=sids, cause=cause, not_before=since or int(time.time()))
    assert receive(app, event, "account") == "handled"


def send(app: Flask) -> int:
    with app.app_context():
        return backchannel_logout.send_due()


def deliveries(app: Flask) -> list[LogoutDelivery]:
    with app.app_context():
        found = list(db.session.scalars(sa.select(LogoutDelivery).order_by(LogoutDelivery.id)))
        db.session.expunge_all()
    return found


def delivery(app: Flask) -> LogoutDelivery:
    [only] = deliveries(app)
    return only


def update(app: Flask, **values: Any) -> None:
    """Move the clock of the deliveries."""
    with app.app_context(), db.transaction() as session:
        session.execute(sa.update(LogoutDelivery).values(**values))


def make_due(app: Flask) -> None:
    update(app, next_attempt_at=utcnow() - timedelta(seconds=1))


def told(app: Flask, apps: Listeners, client: RelyingParty, name: str) -> list[tuple[str, str | None]]:
    """Sub and sid of each logout that arrived."""
    found = [read(app, token, aud=client.client_id) for token in apps.tokens[name]]
    return [(claims["sub"], claims.get("sid")) for claims in found]


# ---- the token -----------------------------------------------------------------------------------------------


def test_a_sign_out_reaches_the_app_of_that_session(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    client.tokens(browser)
    before = parts_of(app).redis.llen("oidc")
    end(app, person, "sign_out", sids=[person.sid])
    assert parts_of(app).redis.llen("oidc") > before, "a task is queued after the commit"
    assert send(app) == 1
    [form] = apps.forms
    assert set(form) == {"type", "logout_token"}
    assert form["type"] == "application/x-www-form-urlencoded"
    claims = read(app, form["logout_token"], aud=client.client_id)
    assert (claims["sub"], claims["sid"]) == (person.sub, person.sid)
    sent = delivery(app)
    assert claims["jti"] == str(sent.id)
    assert (sent.state, sent.attempts, sent.last_error) == ("delivered", 1, None)
    assert send(app) == 0


def test_the_token_is_signed_and_names_people_as_the_client_knows_them(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app", subject_type="pairwise", id_token_signed_response_alg="ES256")
    body = client.tokens(browser)["id_token"].split(".")[1]
    known = json.loads(base64.urlsafe_b64decode(body + "=="))
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    [token] = apps.tokens["app"]
    assert extract_compact(token.encode()).headers()["alg"] == "ES256"
    assert told(app, apps, client, "app") == [(known["sub"], known["sid"])]
    assert person.sub not in (known["sub"], delivery(app).sub)
    assert person.sid not in (known["sid"], delivery(app).sid)


def test_a_logout_token_is_no_other_kind_of_token(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    client.tokens(browser)
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    [token] = apps.tokens["app"]
    assert client.userinfo(token).status_code == 401
    assert client.introspect(token) == {"active": False}
    assert error_of(client.refresh(token)) == (400, "invalid_grant")
    fresh = Browser(app)
    sign_in_copy(fresh, app, sub=person.sub)
    fresh.get("/oauth2/logout", query_string={"id_token_hint": token})
    fresh.get(fresh.location)
    assert 'id="sign-out"' in fresh.text, "it proves nothing as a hint"


# ---- how far each cause goes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", SESSION_CAUSES)
def test_the_end_of_a_session_is_told_to_its_clients_alone(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners, cause: str
) -> None:
    bound, offline, elsewhere, unredeemed = (make(name) for name in ("bound", "offline", "other", "code"))
    bound.tokens(browser, scope=BOUND)
    offline.tokens(browser, scope=OFFLINE)
    second = Browser(app)
    sign_in_copy(second, app, sub=person.sub)
    elsewhere.tokens(second)
    unredeemed.code(browser)
    with app.app_context(), db.transaction() as session:
        past = {"past": utcnow() - timedelta(seconds=1), "client_id": unredeemed.client_id}
        session.execute(
            sa.text("UPDATE grants SET code_expires_at = :past WHERE client_id = :client_id"), past
        )
    end(app, person, cause, sids=[person.sid])
    send(app)
    assert told(app, apps, bound, "bound") == [(person.sub, person.sid)]
    assert told(app, apps, offline, "offline") == [(person.sub, person.sid)]
    assert set(apps.tokens) == {"bound", "offline"}
    assert {one.cause for one in deliveries(app)} == {cause}


@pytest.mark.parametrize("cause", PERSON_CAUSES)
def test_the_end_of_all_access_is_told_to_every_client(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners, cause: str
) -> None:
    plain, strict = make("plain"), make("strict", backchannel_logout_session_required=True)
    second = Browser(app)
    other = sign_in_copy(second, app, sub=person.sub)
    for where in (browser, second):
        plain.tokens(where, scope=OFFLINE)
        strict.tokens(where)
    stranger = Browser(app)
    sign_in_copy(stranger, app)
    make("stranger").tokens(stranger)
    end(app, person, cause)
    send(app)
    assert told(app, apps, plain, "plain") == [(person.sub, None)]
    assert sorted(told(app, apps, strict, "strict")) == sorted(
        [(person.sub, person.sid), (person.sub, other.sid)]
    )
    assert "stranger" not in apps.tokens


def test_all_other_sessions_are_told_and_the_one_that_stays_is_not(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    client.tokens(browser, scope=OFFLINE)
    second = Browser(app)
    other = sign_in_copy(second, app, sub=person.sub)
    client.tokens(second)
    end(app, person, "password_changed", sids=[other.sid])
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, other.sid)]


def test_withdrawn_consent_is_told_to_that_client(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client, other = make("app"), make("other")
    client.tokens(browser)
    other.tokens(browser)
    browser.get("/account/apps")
    browser.fill(button=client.client_id)
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, None)]
    assert "other" not in apps.tokens


def test_tokens_revoked_by_command_are_told_to_every_client(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    client.tokens(browser, scope=OFFLINE)
    assert run_command(app, "tokens", "revoke", "--user", person.claims["email"]).exit_code == 0
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, None)]
    assert delivery(app).cause == "tokens_revoked"


def test_a_stolen_refresh_token_is_no_logout(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    first = client.tokens(browser)["refresh_token"]
    second = client.refresh(first).json["refresh_token"]
    client.refresh(second)
    assert error_of(client.refresh(first)) == (400, "invalid_grant")
    assert deliveries(app) == []
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, person.sid)], "its end is, later"


def test_an_erased_person_is_told_of_before_everything_is_forgotten(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client, pairwise = make("app"), make("pairwise", subject_type="pairwise")
    client.tokens(browser)
    pairwise.tokens(browser)
    assert receive(app, UserErased(sub=person.sub, emails=[]), "account") == "handled"
    assert rows(app, "SELECT 1 FROM grants WHERE sub = :sub", sub=person.sub) == []
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, None)]
    assert len(told(app, apps, pairwise, "pairwise")) == 1
    kept = rows(app, "SELECT logout_deliveries::text FROM logout_deliveries")
    assert not [row for row in kept if person.claims["email"] in row[0] or person.sid in row[0]]


def test_who_left_and_was_told_is_not_told_again_when_erased(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    make("app").tokens(browser)
    end(app, person, "erased")
    receive(app, UserErased(sub=person.sub, emails=[]), "account")
    send(app)
    assert len(apps.tokens["app"]) == 1


# ---- which sign-ins count ------------------------------------------------------------------------------------


def test_a_client_whose_tokens_are_long_dead_is_told_while_the_session_lasts(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    client = make("app")
    tokens = client.tokens(browser)
    client.post("/oauth2/revoke", {"token": tokens["refresh_token"]})
    assert not client.introspect(tokens["access_token"])["active"]
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.text(
                "UPDATE grants SET created_at = created_at - interval '20 days',"
                " code_expires_at = code_expires_at - interval '20 days',"
                " expires_at = now() - interval '1 day' WHERE sub = :sub"
            ),
            {"sub": person.sub},
        )
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, person.sid)]


def test_a_session_is_told_once_and_once_more_where_a_grant_lived_on(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    bound, offline = make("bound"), make("offline")
    for _ in range(3):
        bound.tokens(browser)
    offline.tokens(browser, scope=OFFLINE)
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    end(app, person, "sign_out", sids=[person.sid])
    end(app, person, "disabled")
    end(app, person, "disabled")
    send(app)
    assert told(app, apps, bound, "bound") == [(person.sub, person.sid)]
    assert (person.sub, None) in told(app, apps, offline, "offline")
    assert (person.sub, None) not in told(app, apps, offline, "offline")[:-1]


def test_an_event_that_comes_late_spares_a_newer_sign_in(
    app: Flask, browser: Browser, make: Make, apps: Listeners
) -> None:
    client = make("app")
    now = int(time.time())
    person = sign_in_copy(browser, app, auth_time=now - 60)
    client.tokens(browser)
    newer = Browser(app)
    sign_in_copy(newer, app, sub=person.sub)
    client.tokens(newer)
    with app.app_context(), db.transaction() as session:
        session.execute(
            sa.text("UPDATE grants SET created_at = created_at - interval '50 seconds' WHERE sid = :sid"),
            {"sid": person.sid},
        )
    end(app, person, "sessions_revoked", since=now - 30)
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, person.sid)], "and not all of the person's"


def test_nothing_is_recorded_of_what_was_rolled_back(
    app: Flask, browser: Browser, person: Session, make: Make, apps: Listeners
) -> None:
    from services.oidc.flows.revoking import end_access

    make("app").tokens(browser)
    with app.app_context(), pytest.raises(RuntimeError), db.transaction():
        end_access(sub=person.sub, sids=[person.sid], cause="sign_out", not_before=int(time.time()))
        raise RuntimeError
    assert deliveries(app) == []
    end(app, person, "sign_out", sids=[person.sid])
    assert len(deliveries(app)) == 1


def test_a_client_that_is_disabled_or_has_no_address_is_sent_nothing(
    app: Flask, browser: Browser, person: Session, make: Make, make_client: Make, apps: Listeners
) -> None:
    from services.oidc.flows.clients import delete_client, update_client

    silent, off, later, gone = make_client(), make("off"), make("later"), make("gone")
    for client in (silent, off, later, gone):
        client.tokens(browser)
    with app.app_context():
        update_client(off.client_id, is_enabled=False)
    end(app, person, "sign_out", sids=[person.sid])
    assert {one.client_id for one in deliveries(app)} == {later.client_id, gone.client_id}
    with app.app_context():
        update_client(later.client_id, is_enabled=False)
        delete_client(gone.client_id)
    send(app)
    assert apps.forms == []
    parked = delivery(app)
    assert (parked.state, parked.last_error) == ("parked", "the client is disabled or has no address for it")
    with app.app_context():
        update_client(later.client_id, is_enabled=True)
        logouts.retry(parked.id)
    send(app)
    assert len(apps.tokens["later"]) == 1


# ---- what clients answer -------------------------------------------------------------------------------------


@pytest.fixture
def ended(app: Flask, browser: Browser, person: Session, make: Make) -> RelyingParty:
    """A client of a session that has just ended."""
    client = make("app")
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
    app: Flask, make: Make, apps: Listeners
) -> None:
    client = make("app")
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
    app: Flask, make: Make, apps: Listeners
) -> None:
    client = make("app")
    record(app, client, 20, give_up_at=utcnow())
    record(app, client, 2)
    apps.answers["app"] = 503
    send(app)
    assert states(app) == {"parked": 20, "queued": 2}
    assert {one.last_error for one in deliveries(app) if one.state == "parked"} == {"status 503"}
    assert len(apps.tokens["app"]) == 2, "the others have their day"


def test_slow_clients_hold_up_nobody_else(app: Flask, make: Make, apps: Listeners) -> None:
    slow, quick = [make(f"slow{number}") for number in range(3)], make("quick")
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
    app: Flask, make: Make, apps: Listeners
) -> None:
    clients = {f"app{number}": make(f"app{number}") for number in range(4)}
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
