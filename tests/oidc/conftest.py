"""Clients, relying parties and signed-in browsers for oidc's tests."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.documents_server import DocumentsServer, serving_documents
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
def documents(with_settings: Callable[..., None]) -> Iterator[DocumentsServer]:
    """Where clients keep their documents, which the app may reach."""
    with_settings(OUTBOUND_ALLOWED_HOSTS=("127.0.0.1",))
    with serving_documents() as server:
        yield server


@pytest.fixture
def is_open(with_settings: Callable[..., None]) -> None:
    """Anybody may register."""
    with_settings(REGISTRATION="open")
