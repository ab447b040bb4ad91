"""Back-channel logout: who is told of what end, and with which token."""

import base64
import json
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from libs.database import utcnow
from libs.messaging.events import UserErased
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows import logouts
from tests.conftest import receive, run_command, sign_in_copy
from tests.oidc.listeners import Listeners, read
from tests.oidc.logout_steps import Make, deliveries, delivery, end, send, told
from tests.oidc.relying_party import error_of
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


# ---- the token -----------------------------------------------------------------------------------------------


def test_a_sign_out_reaches_the_app_of_that_session(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app", subject_type="pairwise", id_token_signed_response_alg="ES256")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners, cause: str
) -> None:
    bound, offline, elsewhere, unredeemed = (
        make_listener(name) for name in ("bound", "offline", "other", "code")
    )
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners, cause: str
) -> None:
    plain, strict = make_listener("plain"), make_listener("strict", backchannel_logout_session_required=True)
    second = Browser(app)
    other = sign_in_copy(second, app, sub=person.sub)
    for where in (browser, second):
        plain.tokens(where, scope=OFFLINE)
        strict.tokens(where)
    stranger = Browser(app)
    sign_in_copy(stranger, app)
    make_listener("stranger").tokens(stranger)
    end(app, person, cause)
    send(app)
    assert told(app, apps, plain, "plain") == [(person.sub, None)]
    assert sorted(told(app, apps, strict, "strict")) == sorted(
        [(person.sub, person.sid), (person.sub, other.sid)]
    )
    assert "stranger" not in apps.tokens


def test_all_other_sessions_are_told_and_the_one_that_stays_is_not(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
    client.tokens(browser, scope=OFFLINE)
    second = Browser(app)
    other = sign_in_copy(second, app, sub=person.sub)
    client.tokens(second)
    end(app, person, "password_changed", sids=[other.sid])
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, other.sid)]


def test_withdrawn_consent_is_told_to_that_client(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client, other = make_listener("app"), make_listener("other")
    client.tokens(browser)
    other.tokens(browser)
    browser.get("/account/apps")
    browser.fill(button=client.client_id)
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, None)]
    assert "other" not in apps.tokens


def test_tokens_revoked_by_command_are_told_to_every_client(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
    client.tokens(browser, scope=OFFLINE)
    assert run_command(app, "tokens", "revoke", "--user", person.claims["email"]).exit_code == 0
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, None)]
    assert delivery(app).cause == "tokens_revoked"


def test_a_stolen_refresh_token_is_no_logout(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
    first = client.tokens(browser)["refresh_token"]
    second = client.refresh(first).json["refresh_token"]
    client.refresh(second)
    assert error_of(client.refresh(first)) == (400, "invalid_grant")
    assert deliveries(app) == []
    end(app, person, "sign_out", sids=[person.sid])
    send(app)
    assert told(app, apps, client, "app") == [(person.sub, person.sid)], "its end is, later"


def test_an_erased_person_is_told_of_before_everything_is_forgotten(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client, pairwise = make_listener("app"), make_listener("pairwise", subject_type="pairwise")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    make_listener("app").tokens(browser)
    end(app, person, "erased")
    receive(app, UserErased(sub=person.sub, emails=[]), "account")
    send(app)
    assert len(apps.tokens["app"]) == 1


# ---- which sign-ins count ------------------------------------------------------------------------------------


def test_a_client_whose_tokens_are_long_dead_is_told_while_the_session_lasts(
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    bound, offline = make_listener("bound"), make_listener("offline")
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
    app: Flask, browser: Browser, make_listener: Make, apps: Listeners
) -> None:
    client = make_listener("app")
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
    app: Flask, browser: Browser, person: Session, make_listener: Make, apps: Listeners
) -> None:
    from services.oidc.flows.revoking import end_access

    make_listener("app").tokens(browser)
    with app.app_context(), pytest.raises(RuntimeError), db.transaction():
        end_access(sub=person.sub, sids=[person.sid], cause="sign_out", not_before=int(time.time()))
        raise RuntimeError
    assert deliveries(app) == []
    end(app, person, "sign_out", sids=[person.sid])
    assert len(deliveries(app)) == 1


def test_a_client_that_is_disabled_or_has_no_address_is_sent_nothing(
    app: Flask, browser: Browser, person: Session, make_listener: Make, make_client: Make, apps: Listeners
) -> None:
    from services.oidc.flows.clients import delete_client, update_client

    silent, off, later, gone = (
        make_client(),
        make_listener("off"),
        make_listener("later"),
        make_listener("gone"),
    )
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
