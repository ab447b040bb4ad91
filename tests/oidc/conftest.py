"""Clients, relying parties and signed-in browsers for oidc's tests."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs import commands
from libs.observe.health import Check
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.listeners import Listeners, listening
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
from tests.oidc.signing_party import ClientSite, SigningParty, make_key, public
from tests.pages import Browser

ALL_SCOPES = ("openid", "profile", "email", "phone", "address", "offline_access")


@pytest.fixture
def app(oidc_app: Flask) -> Flask:
    return oidc_app


@pytest.fixture
def browser(app: Flask) -> Browser:
    """A browser on which nobody is signed in."""
    return Browser(app)


@pytest.fixture
def person(app: Flask, browser: Browser) -> Session:
    """Somebody signed in on `browser`."""
    return sign_in_copy(browser, app)


@pytest.fixture
def admin(app: Flask) -> Browser:
    """A browser of an administrator's, who has just signed in."""
    browser = Browser(app)
    sign_in_copy(browser, app, roles=["admin"])
    return browser


@pytest.fixture
def make_client(app: Flask) -> Callable[..., RelyingParty]:
    """Registers clients; without arguments a confidential one that may ask for everything."""

    def make(**settings: Any) -> RelyingParty:
        from services.oidc.flows.clients import create_client

        settings.setdefault("name", "Test app")
        settings.setdefault("redirect_uris", [REDIRECT_URI])
        settings.setdefault("scopes", ALL_SCOPES)
        with app.app_context():
            made = create_client(**settings)
            return RelyingParty(
                app=app,
                client_id=made.client.client_id,
                secret=made.secret,
                auth_method=made.client.auth_method,
                redirect_uri=made.client.redirect_uris[0],
            )

    return make


@pytest.fixture
def client(make_client: Callable[..., RelyingParty]) -> RelyingParty:
    """A confidential client."""
    return make_client()


@pytest.fixture
def public_client(make_client: Callable[..., RelyingParty]) -> RelyingParty:
    return make_client(auth_method="none")


@pytest.fixture
def site(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientSite]:
    """A client's own web server, from which we may fetch although it is on loopback."""
    from services.oidc.protocol import client_documents

    monkeypatch.setattr(client_documents, "_failed_at", type(client_documents._failed_at)())
    parts = parts_of(app)
    opened = dataclasses.replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",))
    monkeypatch.setattr(parts, "settings", opened)
    running = ClientSite()
    yield running
    running.stop()


@pytest.fixture
def make_signer(make_client: Callable[..., RelyingParty]) -> Callable[..., SigningParty]:
    """Registers clients with keys of their own; without arguments one that proves itself by private_key_jwt."""

    def make(*, alg: str = "ES256", key: Any = None, **settings: Any) -> SigningParty:
        key = key or make_key(alg)
        if "jwks_uri" not in settings:
            settings.setdefault("jwks", public(key))
        party = make_client(**{"auth_method": "private_key_jwt", **settings})
        return SigningParty(**vars(party), key=key, alg=alg)

    return make


@pytest.fixture
def signer(make_signer: Callable[..., SigningParty]) -> SigningParty:
    return make_signer()


@pytest.fixture
def with_settings(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Other settings for the app, until the test ends."""

    def change(**settings: Any) -> None:
        parts = parts_of(app)
        monkeypatch.setattr(parts, "settings", dataclasses.replace(parts.settings, **settings))

    return change


@pytest.fixture
def is_open(with_settings: Callable[..., None]) -> None:
    """Anybody may register."""
    with_settings(REGISTRATION="open")


@pytest.fixture
def apps(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listeners]:
    """Relying parties that listen for logouts, of which none waits; we may go to loopback for them."""
    from services.oidc.models import LogoutDelivery

    parts = parts_of(app)
    opened = dataclasses.replace(parts.settings, OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",))
    monkeypatch.setattr(parts, "settings", opened)
    with app.app_context(), parts.db.transaction() as session:
        session.execute(sa.delete(LogoutDelivery))
    with listening() as listeners:
        yield listeners


@pytest.fixture
def make_listener(make_client: Callable[..., RelyingParty], apps: Listeners) -> Callable[..., RelyingParty]:
    """Registers a client that is told of logouts at /NAME."""

    def make(name: str, **settings: Any) -> RelyingParty:
        return make_client(name=name, backchannel_logout_uri=apps.address(name), **settings)

    return make


@pytest.fixture
def no_keys(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """An issuer that starts for the first time, as far as its keys go; afterwards it has usual ones again.

    What health looks at the keys by is the test's to call.
    """
    monkeypatch.setattr(commands, "EVENTS_WAIT_S", 0.0)  # nobody here confirms what a command has told
    # Health that somebody asked for a moment ago looks at the keys every second, and would be the first to start over.
    probe = parts_of(app).probe
    others = dict(probe.checks)
    check = others.pop("oidc_keys")
    monkeypatch.setattr(probe, "checks", others)
    looking = probe._running.get("oidc_keys")
    if looking is not None:
        concurrent.futures.wait([looking], timeout=10)
    start_over(app)
    yield check
    start_over(app)


def start_over(app: Flask) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text("DELETE FROM signing_keys"))
        # Clients of tests before ask for nothing that a new issuer would not have.
        session.execute(
            sa.text(
                "UPDATE clients SET id_token_signed_response_alg = 'RS256', access_token_signing_alg = 'ES256',"
                " userinfo_signed_response_alg = NULL"
            )
        )
    start_process()


def start_process() -> None:
    """What this process knows of the keys is forgotten: it looks as one does that begins."""
    from services.oidc.protocol.keys import keys

    keys._set = None
