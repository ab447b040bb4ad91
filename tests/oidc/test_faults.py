"""Redis or PostgreSQL away: what goes on goes on, what cannot says so at once, and nothing is lost."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from libs.people.sessions import Session
from libs.service import connect_redis, parts_of
from tests.oidc.faults import database_away
from tests.oidc.relying_party import RelyingParty, error_of
from tests.oidc.signing_party import SigningParty
from tests.pages import Browser
from tests.round_trips import counted


@pytest.fixture(params=["refused", "hung"])
def no_redis(app: Flask, request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Takes Redis away, for sessions, interactions, denials and limits alike."""
    parts = parts_of(app)
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    if request.param == "refused":
        listener.close()
    from services.oidc.protocol import limits as limits_of_programs

    storage: Any = parts.limiter.limiter._storage
    scripts = [script for name, script in vars(storage).items() if name.startswith("lua_")]
    before = (parts.redis, storage.storage)
    broken = connect_redis(replace(parts.settings, REDIS_URL=address))
    limits = redis.Redis.from_url(address, socket_timeout=0.25, socket_connect_timeout=0.25, retry=None)

    def take() -> None:
        parts.redis, storage.storage = broken, limits
        for script in scripts:
            script.registered_client = limits

    yield take
    parts.redis, storage.storage = before
    for script in scripts:
        script.registered_client = before[1]
    parts.limiter.limiter._storage_dead = False
    parts.limiter.limiter._fallback_storage.reset()
    limits_of_programs.forget()
    listener.close()


def test_what_is_signed_in_goes_on_from_postgresql(
    no_redis: Callable[[], None], browser: Browser, person: Session, client: RelyingParty
) -> None:
    tokens = client.tokens(browser)
    no_redis()
    assert client.userinfo(tokens["access_token"]).status_code == 200
    assert client.introspect(tokens["access_token"])["active"] is True
    refreshed = client.refresh(tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert client.post("/oauth2/revoke", {"token": refreshed.json["refresh_token"]}).status_code == 200
    assert error_of(client.refresh(refreshed.json["refresh_token"])) == (400, "invalid_grant")


def test_redis_is_asked_once_and_then_left_alone_for_a_while(
    no_redis: Callable[[], None],
    browser: Browser,
    person: Session,
    make_client: Callable[..., RelyingParty],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from services.oidc.protocol import limits as limits_of_programs

    client = make_client(grants=["authorization_code", "refresh_token", "client_credentials"])
    tokens = client.tokens(browser)
    monkeypatch.setattr(limits_of_programs, "AWAY_INTERVAL_S", 60)
    no_redis()
    began = time.monotonic()
    assert client.userinfo(tokens["access_token"]).status_code == 200
    assert time.monotonic() - began < 3
    with counted() as trips:
        assert client.userinfo(tokens["access_token"]).status_code == 200
        assert client.introspect(tokens["access_token"])["active"] is True
        assert client.refresh(tokens["refresh_token"]).status_code == 200
        assert client.post("/oauth2/token", {"grant_type": "client_credentials"}).status_code == 200
    assert trips.redis == 0


def test_new_authorizations_get_a_prompt_503(
    no_redis: Callable[[], None], browser: Browser, person: Session, client: RelyingParty
) -> None:
    client.send(browser)
    waiting = browser.location
    no_redis()
    for path in (waiting, waiting.replace("/authorize/", "/consent/")):
        began = time.monotonic()
        assert browser.get(path).status_code == 503
        assert int(browser.page.headers["Retry-After"]) > 0
        assert time.monotonic() - began < 3
    began = time.monotonic()
    assert client.send(browser).status_code == 503
    assert time.monotonic() - began < 3


def test_signing_out_goes_on_too(
    no_redis: Callable[[], None], browser: Browser, person: Session, client: RelyingParty
) -> None:
    id_token = client.tokens(browser)["id_token"]
    no_redis()
    browser.get("/oauth2/logout", query_string={"id_token_hint": id_token})
    browser.get(browser.location)
    assert browser.location.startswith("/logout?ticket=")


def test_limits_still_hold_at_a_quarter(
    no_redis: Callable[[], None], client: RelyingParty, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(app)
    monkeypatch.setattr(parts, "settings", replace(parts.settings, TOKEN_REQUESTS_PER_CLIENT="12 per minute"))
    monkeypatch.setattr(
        parts, "settings", replace(parts.settings, TOKEN_REQUESTS_PER_ADDRESS="12 per minute")
    )
    no_redis()
    statuses = [client.refresh("x").status_code for _ in range(5)]
    assert statuses.count(429) >= 1
    assert statuses[0] == 400


def test_an_interaction_survives_a_database_that_fails(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.oidc.routes import authorize

    def broken(*_: Any) -> str:
        raise sa.exc.OperationalError("INSERT", {}, Exception("gone"))

    client.ask(browser)
    with monkeypatch.context() as patch:
        patch.setattr(authorize, "issue_code", broken)
        browser.fill(button="allow")
        assert browser.status == 503
    client_page = browser.get(browser.url)
    assert client_page.status_code == 200
    browser.fill(button="allow")
    assert "code" in browser.query()


def test_with_the_database_away_clients_get_json_and_retry_after(
    app: Flask, browser: Browser, person: Session, client: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = client.tokens(browser)
    with database_away(app):
        began = time.monotonic()
        refused = client.refresh(tokens["refresh_token"])
        assert error_of(refused) == (503, "temporarily_unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        assert error_of(client.userinfo(tokens["access_token"])) == (503, "temporarily_unavailable")
        assert time.monotonic() - began < 3
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_what_must_not_be_replayed_gets_a_prompt_503(
    no_redis: Callable[[], None], signer: SigningParty, client: RelyingParty, browser: Browser
) -> None:
    """Pushed requests, and assertions: whether one was used before, nobody can say."""
    request_uri = client.post("/oauth2/par", client.parameters()).json["request_uri"]
    no_redis()
    for path in ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par"):
        began = time.monotonic()
        answer = signer.post(path, {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"})
        assert error_of(answer) == (503, "temporarily_unavailable"), path
        assert int(answer.headers["Retry-After"]) > 0
        assert time.monotonic() - began < 3
    assert error_of(client.post("/oauth2/par", client.parameters())) == (503, "temporarily_unavailable")
    began = time.monotonic()
    client.send(browser, request_uri=request_uri)
    assert browser.status == 503
    assert time.monotonic() - began < 3
