"""Signing keys take turns by themselves: next, current, previous, retired."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from libs.guard.keyring import KeyRing
from libs.messaging.events import KeysChanged
from libs.observe.health import Check
from libs.people.bearer.tokens import REGISTRIES
from libs.people.sessions import Session
from libs.schema import migrations_of, revisions
from libs.service import parts_of
from services.oidc.flows.keys import ensure_algorithms
from services.oidc.protocol.keys import keys
from tests.conftest import recorded, run_command
from tests.oidc.conftest import start_process
from tests.oidc.key_tools import (
    DAY,
    beat,
    ensure,
    execute,
    header_of,
    jwks,
    kid_of,
    kids,
    look_again,
    pass_time,
    rows,
    sign,
    states,
)
from tests.oidc.relying_party import RelyingParty
from tests.pages import ORIGIN, Browser

pytestmark = pytest.mark.usefixtures("no_keys")


def test_a_first_start_makes_keys_that_sign_and_the_ones_after_them(app: Flask) -> None:
    published = jwks(app)
    assert len(published) == 4
    assert {key["alg"] for key in published[:2]} == {"ES256", "RS256"}, "those that sign come first"
    for alg in ("ES256", "RS256"):
        assert sorted(states(app, alg).values()) == ["current", "next"]
        assert header_of(sign(app, alg))["kid"] == kid_of(app, alg, "current")


def test_a_key_that_another_process_made_just_now_is_published_before_anybody_sees_what_it_signs(
    app: Flask,
) -> None:
    jwks(app)
    known = keys._set
    with app.app_context():
        ensure_algorithms(["PS256"])
        # As this process saw it a moment ago, and takes it for fresh.
        keys._set, keys._looked_at = known, time.monotonic()
        signed_by = keys.signing_key("PS256").kid
    answer = Browser(app).get("/.well-known/jwks.json")
    assert signed_by in {key["kid"] for key in answer.json["keys"]}


def test_a_process_that_comes_before_its_migrations_makes_no_key(app: Flask, no_keys: Check) -> None:
    """Those of the release before serve on, and make theirs."""
    execute(app, "DELETE FROM outbox_events")
    needed = revisions(migrations_of(app))[-1]
    execute(app, "UPDATE alembic_version SET version_num = '0001'")
    try:
        assert (no_keys().status, no_keys().details) == ("unhealthy", {"reason": "migrations"})
        assert Browser(app).get("/.well-known/jwks.json").status_code == 503
        assert not rows(app)
        with app.app_context():
            assert parts_of(app).outbox.waiting() == 0
    finally:
        execute(app, f"UPDATE alembic_version SET version_num = '{needed}'")
    assert (no_keys().status, no_keys().details) == ("healthy", {"key_count": 4})


def test_keys_are_made_once_however_many_processes_start(app: Flask) -> None:
    barrier = threading.Barrier(5)

    def start(_: int) -> int:
        barrier.wait()
        return ensure(app)

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(start, range(5))) == [0, 0, 0, 0, 4]


def test_before_its_time_nothing_changes(app: Flask) -> None:
    before = jwks(app)
    pass_time(app, 90 * DAY - timedelta(minutes=1))
    beat(app)
    assert jwks(app) == before


def test_after_ninety_days_the_next_key_signs_and_the_one_before_verifies_until_its_last_token_has_expired(
    app: Flask,
) -> None:
    old, coming = kid_of_first(app, "current"), kid_of(app, "RS256", "next")
    pass_time(app, 90 * DAY)
    beat(app)
    assert states(app, "RS256")[old] == "previous"
    assert states(app, "RS256")[coming] == "current"
    assert len(states(app, "RS256")) == 3, "another one is next"
    assert header_of(sign(app, "RS256"))["kid"] == coming
    pass_time(app, timedelta(hours=1))
    beat(app)
    assert old in kids(app), (
        "an ID token that it signed last is still alive for somebody whose clock is behind"
    )
    pass_time(app, timedelta(minutes=6))
    beat(app)
    assert states(app, "RS256")[old] == "retired"
    assert old not in kids(app)


def kid_of_first(app: Flask, state: str) -> str:
    ensure(app)
    return kid_of(app, "RS256", state)


def test_private_halves_go_when_keys_stop_signing(app: Flask) -> None:
    ensure(app)
    for _ in range(2):
        pass_time(app, 90 * DAY)
        beat(app)
    found = {row.state: row.private_key_sealed for row in rows(app)}
    assert set(found) == {"next", "current", "previous", "retired"}
    assert found["retired"] is None
    assert found["previous"] is None
    assert all(found[state].startswith("data1:") for state in ("next", "current"))
    assert '"d"' not in str([row.public_jwk for row in rows(app)])


def test_beat_that_comes_twice_side_by_side_rotates_once(app: Flask) -> None:
    ensure(app)
    told = len(recorded(app, KeysChanged))
    pass_time(app, 90 * DAY)
    barrier = threading.Barrier(4)

    def tick(_: int) -> None:
        barrier.wait()
        beat(app)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tick, range(4)))
    for alg in ("ES256", "RS256"):
        assert sorted(states(app, alg).values()) == ["current", "next", "previous"]
    assert len(recorded(app, KeysChanged)) == told + 1


def test_a_key_that_came_late_is_published_for_as_long_as_its_absence_can_be_cached(app: Flask) -> None:
    ensure(app)
    pass_time(app, 100 * DAY)
    execute(app, "DELETE FROM signing_keys WHERE state = 'next'")
    beat(app)
    late = kid_of(app, "RS256", "next")
    settings = parts_of(app).settings
    pass_time(app, settings.JWKS_MAX_AGE + timedelta(minutes=5))
    beat(app)
    assert states(app, "RS256")[late] == "next", "the old one signs on meanwhile"
    pass_time(app, timedelta(seconds=2))
    beat(app)
    assert states(app, "RS256")[late] == "current"


def test_every_step_is_audited_and_told_to_the_services_in_the_order_of_the_steps(app: Flask) -> None:
    ensure(app)
    before = len(recorded(app, KeysChanged))
    pass_time(app, 90 * DAY)
    beat(app)
    pass_time(app, timedelta(hours=2))
    beat(app)
    news = recorded(app, KeysChanged)[before:]
    assert [len(event.jwks["keys"]) for event in news] == [6, 4]
    assert news[1].version == news[0].version + 1
    assert news[1].jwks["keys"] == jwks(app)
    old = next(row.kid for row in rows(app) if row.state == "retired")
    with app.app_context():
        actions = [entry.action for entry in parts_of(app).audit.entries(target=f"key:{old}")]
    assert actions == ["key.retired", "key.replaced", "key.created"]


# -- in the middle of flows ----------------------------------------------------------------------------------------


def test_a_code_from_before_a_rotation_is_redeemed_after_it(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    known = KeySet.import_key_set({"keys": jwks(app)})
    before = client.tokens(browser, scope="openid offline_access", prompt="consent")
    code = client.code(browser, id_token_hint=before["id_token"])
    assert run_command(app, "keys", "rotate").exit_code == 0
    look_again()
    after = client.redeem(code).json
    assert header_of(after["id_token"])["kid"] != header_of(before["id_token"])["kid"]
    for tokens in (before, after):
        jwt.decode(tokens["id_token"], known, registry=REGISTRIES["RS256"])
        jwt.decode(tokens["access_token"], known, registry=REGISTRIES["ES256"])
        assert client.userinfo(tokens["access_token"]).status_code == 200
        assert client.introspect(tokens["access_token"])["active"] is True
    assert client.refresh(before["refresh_token"]).status_code == 200


def test_an_id_token_is_a_hint_long_after_its_key_was_retired(
    app: Flask, browser: Browser, person: Session, client: RelyingParty
) -> None:
    hint = client.tokens(browser)["id_token"]
    pass_time(app, 90 * DAY)
    beat(app)
    pass_time(app, DAY)
    beat(app)
    assert header_of(hint)["kid"] not in kids(app)
    answer = client.answer(browser, prompt="none", id_token_hint=hint)
    assert "code" in answer, answer
    assert client.userinfo(hint).status_code == 401
    pass_time(app, 180 * DAY)
    assert client.answer(browser, prompt="none", id_token_hint=hint).get("error"), "not for ever"


# -- watching ----------------------------------------------------------------------------------------------------


def health(app: Flask) -> Any:
    from services.oidc.observing import keys_health
    from services.oidc.protocol.keys import keys

    look_again()
    with app.app_context():
        return keys_health(keys.load())


def test_health_says_how_many_keys_are_published_and_what_is_wrong_with_them(app: Flask) -> None:
    ensure(app)
    assert (health(app).status, health(app).details) == ("healthy", {"key_count": 4})
    pass_time(app, 90 * DAY + timedelta(minutes=1))
    assert health(app).status == "healthy", "beat has a few minutes"
    pass_time(app, timedelta(minutes=15))
    assert (health(app).status, health(app).details["reason"]) == ("degraded", "rotation is overdue")
    assert sign(app, "RS256"), "an old key signs on rather than stop"
    beat(app)
    assert (health(app).status, health(app).details) == ("healthy", {"key_count": 6})
    execute(app, "DELETE FROM signing_keys WHERE state = 'next' AND alg = 'ES256'")
    assert (health(app).status, health(app).details["reason"]) == ("degraded", "no next key")
    execute(app, "DELETE FROM signing_keys WHERE state = 'current' AND alg = 'RS256'")
    assert (health(app).status, health(app).details["reason"]) == ("unhealthy", "no current key")
    assert [row.state for row in rows(app)].count("current") == 1, "looking changes nothing"


def test_a_key_that_cannot_be_opened_verifies_on_and_costs_nobody_a_code(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATA_ENCRYPTION_KEYS has lost the key that sealed it; what was asked for meanwhile is answered afterwards."""
    from services.oidc.protocol.tokens import read_id_token_hint

    tokens = client.tokens(browser)
    code = client.code(browser)
    with monkeypatch.context() as lost:
        lost.setattr(parts_of(app), "data_keys", KeyRing({"other": os.urandom(32)}))
        start_process()
        assert (health(app).status, health(app).details["reason"]) == (
            "unhealthy",
            "DATA_ENCRYPTION_KEYS does not open a key",
        )
        assert len(jwks(app)) == 4
        with app.app_context():
            assert read_id_token_hint(tokens["id_token"], issuer=ORIGIN)
        for answer in (client.redeem(code), client.refresh(tokens["refresh_token"])):
            assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
            assert answer.headers["Retry-After"]
    start_process()
    assert health(app).status == "healthy"
    assert client.redeem(code).status_code == 200
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_a_next_key_that_another_process_sealed_otherwise_stops_nobody(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the processes have new DATA_ENCRYPTION_KEYS already, and one of those has made keys."""
    ensure(app)
    signs = header_of(sign(app, "RS256"))["kid"]
    with monkeypatch.context() as newer:
        newer.setattr(parts_of(app), "data_keys", KeyRing({"newer": os.urandom(32)}))
        assert run_command(app, "keys", "retire", kid_of(app, "RS256", "next")).exit_code == 0
    look_again()
    assert header_of(sign(app, "RS256"))["kid"] == signs
    assert kid_of(app, "RS256", "next") in kids(app)
    assert (health(app).status, health(app).details["reason"]) == (
        "degraded",
        "DATA_ENCRYPTION_KEYS does not open a key",
    )


def test_metrics_say_when_there_is_no_next_key(app: Flask) -> None:
    ensure(app)
    pass_time(app, 90 * DAY)
    beat(app)
    pass_time(app, timedelta(minutes=10))
    execute(app, "DELETE FROM signing_keys WHERE state = 'next' AND alg = 'ES256'")
    source = parts_of(app).gauges
    assert source is not None
    with app.app_context():
        found = {(name, *labels.values()): value for name, _, labels, value in source()}
    assert found["id_oidc_next_key_missing", "ES256"] == 1
    assert found["id_oidc_next_key_missing", "RS256"] == 0
    assert found["id_oidc_keys", "ES256", "next"] == 0
    assert found["id_oidc_keys", "ES256", "current"] == 1
    assert found["id_oidc_keys", "RS256", "previous"] == 1
    assert found["id_oidc_keys", "RS256", "retired"] == 0
    assert 600 <= found["id_oidc_current_key_age_seconds", "RS256"] < 660


def test_what_pairwise_subjects_hang_on_is_not_touched_by_any_of_it(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(subject_type="pairwise")
    sub = client.userinfo(client.tokens(browser)["access_token"]).json["sub"]
    for command in (["keys", "rotate"], ["keys", "rotate", "--emergency"]):
        assert run_command(app, *command).exit_code == 0
        look_again()
        assert client.userinfo(client.tokens(browser)["access_token"]).json["sub"] == sub
