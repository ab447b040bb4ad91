"""Clients, relying parties and signed-in browsers for oidc's tests."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from libs.people.sessions import Session
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import REDIRECT_URI, RelyingParty
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
