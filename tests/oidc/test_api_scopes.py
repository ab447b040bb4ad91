"""Scopes of our own APIs, and the public keys that the services with an API are told of."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jws import extract_compact

from libs.messaging.events import KeysChanged
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import receive, recorded, run_command, sign_in_copy
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN, Browser


def jwks(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = http(app).get("/.well-known/jwks.json", base_url=ORIGIN).json
    return found


def told(app: Flask) -> list[KeysChanged]:
    return [event for event in recorded(app, KeysChanged) if isinstance(event, KeysChanged)]


def ensure(app: Flask) -> int:
    from services.oidc.flows.keys import ensure_keys

    with app.app_context():
        return ensure_keys()


def test_the_first_keys_are_told_to_every_service_with_an_api(app: Flask) -> None:
    published = jwks(app)
    events = told(app)
    assert events[-1].jwks == published
    assert not any("d" in key for event in events for key in event.jwks["keys"]), "public halves alone"
    assert [event.version for event in events] == list(range(1, len(events) + 1))


def test_what_is_known_is_not_told_again_whoever_starts_beside(app: Flask) -> None:
    jwks(app)
    before = len(told(app))
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(lambda _: ensure(app), range(5))) == [0] * 5
    assert len(told(app)) == before


def test_a_suite_that_had_its_keys_before_it_told_anybody_tells_them_at_its_next_start(app: Flask) -> None:
    published = jwks(app)
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text("UPDATE announced_keys SET digest = 'of other keys'"))
    before = told(app)
    assert ensure(app) == 0
    news = told(app)[len(before) :]
    assert [event.jwks for event in news] == [published]
    assert news[0].version == before[-1].version + 1


@pytest.mark.parametrize("service", ["account", "onboarding", "notification"])
def test_a_service_keeps_the_newest_keys(app: Flask, make_app: Callable[[str], Flask], service: str) -> None:
    published, subscriber = jwks(app), make_app(service)
    events = told(app)
    for event in (events[-1], events[0], KeysChanged(version=0, jwks={"keys": []})):
        assert receive(subscriber, event, "oidc") == "handled"
    with subscriber.app_context():
        for key in published["keys"]:
            assert parts_of(subscriber).issuer_keys.find(key["kid"]) is not None
        assert parts_of(subscriber).issuer_keys.find("nobody's") is None


def test_an_app_is_registered_for_our_apis_by_command(app: Flask) -> None:
    options = ("--name", "Tool", "--redirect-uri", "https://rp.test/callback")
    assert run_command(app, "clients", "create", *options, "--scope", "openid me").exit_code == 0
    refused = run_command(app, "clients", "create", *options, "--scope", "openid parcels:read")
    assert refused.exit_code != 0
    assert "parcels:read" in refused.output, "there is no such API yet"


def test_the_metadata_names_the_scopes(app: Flask) -> None:
    metadata = http(app).get("/.well-known/openid-configuration", base_url=ORIGIN).json
    assert {"me", "users:read", "users:write"} <= set(metadata["scopes_supported"])


def test_the_audience_follows_the_scope(
    browser: Browser, person: Session, make_client: Callable[..., RelyingParty]
) -> None:
    client = make_client(scopes=("openid", "me"))
    for scope, audience in (
        ("openid", ORIGIN),
        ("me", f"{ORIGIN}/api"),
        ("openid me", [ORIGIN, f"{ORIGIN}/api"]),
    ):
        token = client.tokens(browser, scope=scope, nonce=None)["access_token"]
        claims = json.loads(extract_compact(token.encode()).payload)
        assert claims["aud"] == audience
        assert ("roles" in claims) == (scope != "openid")
        assert client.userinfo(token).status_code == (200 if "openid" in scope else 401)
        assert client.introspect(token)["aud"] == audience


def test_a_client_that_is_not_registered_for_an_api_does_not_get_it(
    browser: Browser, person: Session, client: RelyingParty
) -> None:
    assert client.answer(browser, scope="openid me")["error"] == "invalid_scope"


def test_an_event_gives_back_the_roles_that_a_sign_in_did_not_carry(
    app: Flask, browser: Browser, make_client: Callable[..., RelyingParty]
) -> None:
    """Staff signed in with one factor where two are the rule: their session has no roles, they do."""
    from services.oidc.flows.subjects import remember_subject
    from services.oidc.models import Subject

    client = make_client(scopes=("openid", "me", "users:read"))
    session = sign_in_copy(browser, app, roles=[])
    assert client.tokens(browser, scope="openid users:read")["scope"] == "openid"
    with app.app_context():
        remember_subject(sub=session.sub, version=1, status="active", roles=["admin"], claims={})
        assert parts_of(app).db.session.get(Subject, session.sub).roles == ["admin"]
    assert client.tokens(browser, scope="openid users:read")["scope"] == "openid", "the session decides"
