"""Limits of programs: by address and by proven client or person, in one key space, at a quarter without Redis."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from libs.guard.ratelimit import describe, find_keys, reset
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.models import AccessToken
from services.oidc.protocol import limits
from services.oidc.protocol.limits import ahead
from tests.oidc.relying_party import RelyingParty, basic, error_of, http
from tests.pages import ORIGIN, Browser
from tests.round_trips import counted

Make = Callable[..., RelyingParty]
FORM = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}


@pytest.fixture
def allow(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets allowances for this test; whatever was counted before is forgotten."""
    parts = parts_of(app)

    def change(**allowances: str) -> None:
        monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, **allowances))

    clear(parts.redis)
    yield change
    clear(parts.redis)


def clear(client: redis.Redis) -> None:
    limits.forget()
    for key in client.scan_iter(match="*rl:oidc_*"):
        client.delete(key)


def described(app: Flask, ip: str) -> list[dict[str, Any]]:
    """What Redis holds of an address's limits."""
    parts = parts_of(app)
    return describe(parts.redis, list(find_keys(parts.redis, parts.settings, ip=ip)))


def triggered(app: Flask, scope: str) -> float:
    found = parts_of(app).metrics.registry.get_sample_value("id_rate_limit_triggered_total", {"scope": scope})
    return found or 0.0


def is_told_to_wait(response: TestResponse) -> bool:
    return (
        error_of(response) == (429, "temporarily_unavailable")
        and 0 < int(response.headers["Retry-After"]) <= 120
        and response.headers["Cache-Control"] == "no-store"
    )


def introspect_wrongly(client: RelyingParty) -> TestResponse:
    return client.post(
        "/oauth2/introspect", FORM, headers={"Authorization": basic(client.client_id, "wrong")}
    )


def test_a_crowd_is_told_to_wait(app: Flask, client: RelyingParty, allow: Callable[..., None]) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="3 per minute", TOKEN_REQUESTS_PER_ADDRESS="2 per minute")
    before = triggered(app, "oidc_token")
    assert client.refresh("x").status_code == 400
    assert client.introspect("x") == {"active": False}
    assert client.post("/oauth2/revoke", {"token": "x"}).status_code == 200
    for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"):
        assert is_told_to_wait(client.post(path, FORM)), "these endpoints count together"
    assert triggered(app, "oidc_token") == before + 3


def test_strangers_use_up_their_address_and_no_client(
    app: Flask, client: RelyingParty, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="10 per minute", TOKEN_REQUESTS_PER_ADDRESS="3 per minute")
    for _ in range(3):
        assert introspect_wrongly(client).status_code == 401
    assert is_told_to_wait(introspect_wrongly(client))
    assert client.introspect("x") == {"active": False}, "whoever proves to be the client goes on"
    user_keys = list(parts_of(app).redis.scan_iter(match="*rl:oidc_token:user:*"))
    counts = [int(parts_of(app).redis.get(key) or 0) for key in user_keys]  # type: ignore[arg-type]
    assert counts == [1], "a failed attempt is not the client's"


def test_naming_a_public_client_proves_nothing(
    app: Flask, public_client: RelyingParty, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="10 per minute", TOKEN_REQUESTS_PER_ADDRESS="2 per minute")
    for _ in range(2):
        assert public_client.refresh("x").status_code == 400
    assert is_told_to_wait(public_client.refresh("x"))
    assert not list(parts_of(app).redis.scan_iter(match="*rl:oidc_token:user:*"))


@pytest.mark.parametrize("body", ["malformed", "no token", "unknown grant"])
def test_what_is_malformed_counts_too(
    app: Flask, client: RelyingParty, allow: Callable[..., None], body: str
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="2 per minute", TOKEN_REQUESTS_PER_ADDRESS="2 per minute")
    send = {
        "malformed": lambda: http(app).post("/oauth2/token", base_url=ORIGIN, data="{}", content_type="x/y"),
        "no token": lambda: client.post("/oauth2/introspect", {}),
        "unknown grant": lambda: client.post("/oauth2/token", {"grant_type": "password"}),
    }[body]
    assert [send().status_code for _ in range(2)] == [400, 400]
    assert is_told_to_wait(send())


def test_userinfo_counts_by_address_and_by_person(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, allow: Callable[..., None]
) -> None:
    token = client.tokens(browser)["access_token"]
    allow(USERINFO_REQUESTS_PER_PERSON="2 per minute", USERINFO_REQUESTS_PER_ADDRESS="4 per minute")
    for _ in range(2):
        assert client.userinfo(token).status_code == 200
    assert is_told_to_wait(client.userinfo(token))
    for _ in range(2):
        assert client.userinfo("x.y.z").status_code == 401, "the address has its own count"
    assert is_told_to_wait(client.userinfo("x.y.z"))
    assert triggered(app, "oidc_userinfo") >= 2


def test_fifty_at_once_are_no_more_than_the_allowance(
    client: RelyingParty, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="20 per minute")
    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(lambda _: client.refresh("x").status_code, range(50)))
    assert sorted(statuses) == [400] * 20 + [429] * 30


def test_the_window_slides(app: Flask, client: RelyingParty, allow: Callable[..., None]) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="4 per 2 second", TOKEN_REQUESTS_PER_ADDRESS="4 per 2 second")
    for _ in range(4):
        assert client.refresh("x").status_code == 400
    refused = client.refresh("x")
    assert refused.status_code == 429
    deadline = time.monotonic() + 10
    while client.refresh("x").status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_key_ends_by_itself(app: Flask, client: RelyingParty, allow: Callable[..., None]) -> None:
    client.refresh("x")
    keys = list(parts_of(app).redis.scan_iter(match="*rl:oidc_token:*"))
    assert len(keys) == 2
    assert all(0 < parts_of(app).redis.pttl(key) <= 120_000 for key in keys)  # type: ignore[operator]


def test_commands_list_and_reset_them(app: Flask, client: RelyingParty, allow: Callable[..., None]) -> None:
    parts = parts_of(app)
    allow(TOKEN_REQUESTS_PER_CLIENT="2 per minute")
    for _ in range(3):
        client.refresh("x")
    keys = list(find_keys(parts.redis, parts.settings, user=client.client_id))
    assert [row["count"] for row in describe(parts.redis, keys)] == [2]
    assert list(find_keys(parts.redis, parts.settings, ip="0.0.0.0"))
    reset(parts.redis, parts.settings, user=client.client_id)
    deadline = time.monotonic() + 5
    while client.refresh("x").status_code == 429:  # a process remembers a refusal for a second
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_enhanced_mode_leaves_a_quarter_of_the_token_endpoints(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, allow: Callable[..., None]
) -> None:
    from datetime import timedelta

    parts = parts_of(app)
    token = client.tokens(browser)["access_token"]
    clear(parts.redis)
    allow(TOKEN_REQUESTS_PER_CLIENT="8 per minute", USERINFO_REQUESTS_PER_PERSON="8 per minute")
    parts.enhanced.begin(timedelta(minutes=5))
    try:
        statuses = [client.refresh("x").status_code for _ in range(3)]
        assert statuses == [400, 400, 429]
        assert [client.userinfo(token).status_code for _ in range(3)] == [200] * 3
    finally:
        parts.enhanced.end()


def test_a_refused_flood_asks_no_store(app: Flask, client: RelyingParty, allow: Callable[..., None]) -> None:
    from tests.round_trips import counted

    allow(TOKEN_REQUESTS_PER_ADDRESS="1 per minute", USERINFO_REQUESTS_PER_ADDRESS="1 per minute")
    introspect_wrongly(client)
    introspect_wrongly(client)
    client.userinfo("opaque")
    client.userinfo("opaque")
    with counted() as trips:
        assert is_told_to_wait(introspect_wrongly(client))
        assert is_told_to_wait(client.userinfo("opaque"))
    assert (trips.postgres, trips.redis) == (0, 0)


def test_a_full_redis_counts_in_the_process_and_its_denials_hold(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, allow: Callable[..., None]
) -> None:
    from libs.people.denials import deny

    parts = parts_of(app)
    store: Any = parts.redis
    token = client.tokens(browser)["access_token"]
    deny(store, parts.settings, subs=[person.sub])
    allow(TOKEN_REQUESTS_PER_CLIENT="8 per minute")
    before = store.config_get("maxmemory")["maxmemory"]
    store.config_set("maxmemory", 1)
    try:
        limits.forget()
        assert client.userinfo(token).status_code == 401
        assert [client.refresh("x").status_code for _ in range(3)] == [400, 400, 429]
    finally:
        store.config_set("maxmemory", before)


def test_a_restarted_redis_learns_the_script_again(
    app: Flask, client: RelyingParty, allow: Callable[..., None]
) -> None:
    parts_of(app).redis.script_flush()
    assert client.refresh("x").status_code == 400
    assert list(parts_of(app).redis.scan_iter(match="*rl:oidc_token:user:*"))


def test_connections_that_were_cut_cost_nobody_an_error_and_are_counted_once(
    app: Flask, make_client: Make, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="3 per minute", TOKEN_REQUESTS_PER_ADDRESS="3 per minute")
    client = make_client(grants=["client_credentials"])
    form, statuses = {"grant_type": "client_credentials"}, []
    for _ in range(4):
        parts_of(app).redis.client_kill_filter(_type="normal", skipme=True)
        statuses.append(client.post("/oauth2/token", form).status_code)
    assert statuses == [200, 200, 200, 429]


def test_nothing_is_stored_for_a_client_that_is_told_to_wait(
    app: Flask, make_client: Make, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="2 per minute", TOKEN_REQUESTS_PER_ADDRESS="2 per minute")
    client = make_client(grants=["client_credentials"])
    statuses = [
        client.post("/oauth2/token", {"grant_type": "client_credentials"}).status_code for _ in range(4)
    ]
    assert statuses == [200, 200, 429, 429]
    with app.app_context(), db.single_statements() as session:
        rows = session.scalars(sa.select(AccessToken).where(AccessToken.client_id == client.client_id))
        assert len(rows.all()) == 2


def busy(app: Flask, client: RelyingParty, times: int) -> int:
    """How many of so many requests in a row are admitted."""
    from services.oidc.flows.clients.registered import find_client

    admitted = 0
    with app.test_request_context("/oauth2/token", environ_base={"REMOTE_ADDR": "192.0.2.9"}):
        registered = find_client(client.client_id)
        for _ in range(times):
            try:
                limits.admit("oidc_token", client=registered)
            except limits.TooManyRequests:
                continue
            admitted += 1
    return admitted


def test_a_busy_client_asks_redis_once_for_several_requests(
    app: Flask, client: RelyingParty, allow: Callable[..., None]
) -> None:
    allow(TOKEN_REQUESTS_PER_CLIENT="6000 per minute")
    busy(app, client, 1)
    with counted() as trips:
        assert busy(app, client, 100) == 100
    assert trips.redis < 50
    counts = [int(row["count"]) for row in described(app, "192.0.2.9")]
    assert counts
    assert min(counts) >= 101, "all of them are counted before they are used"


def test_what_is_counted_ahead_never_goes_beyond_the_allowance(
    app: Flask, client: RelyingParty, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, by turns."""
    allow(TOKEN_REQUESTS_PER_CLIENT="1200 per hour", TOKEN_REQUESTS_PER_ADDRESS="1 per hour")
    monkeypatch.setattr(limits, "REFUSAL_KEPT_S", 0)
    processes, admitted = (limits._Alone(), limits._Alone()), 0
    for turn in range(26):
        monkeypatch.setattr(limits, "_alone", processes[turn % 2])
        admitted += busy(app, client, 50)
    assert 1200 - 6 <= admitted <= 1200


def test_what_is_counted_ahead_is_used_at_once_or_never(
    app: Flask, client: RelyingParty, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that enhanced mode, which Redis tells, is seen within its second."""
    allow(TOKEN_REQUESTS_PER_CLIENT="6000 per minute")
    assert ahead.LIFE_S < 1
    monkeypatch.setattr(ahead, "LIFE_S", -1.0)
    busy(app, client, 1)
    with counted() as trips:
        busy(app, client, 20)
    assert trips.redis == 20


@pytest.mark.parametrize("allowance", ["", "many", "0 per minute", "10 per fortnight", "-1 per minute"])
def test_an_allowance_nobody_understands_stops_the_start(app: Flask, allowance: str) -> None:
    from libs.settings import SettingsError

    settings = dataclasses.replace(parts_of(app).settings, TOKEN_REQUESTS_PER_CLIENT=allowance)
    with pytest.raises(SettingsError, match="TOKEN_REQUESTS_PER_CLIENT"):
        settings.check()
