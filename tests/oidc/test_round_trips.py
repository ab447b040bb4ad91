"""What each request to the issuer asks of its stores, counted on the wire."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from flask import Flask

from libs.people.sessions import Session
from services.oidc.flows import resources
from services.oidc.flows.clients import registered
from services.oidc.flows.resources import find_resources
from services.oidc.protocol import limits
from services.oidc.protocol.keys import keys
from tests.oidc.relying_party import RelyingParty
from tests.pages import Browser
from tests.round_trips import RoundTrips, counted

Make = Callable[..., RelyingParty]


@contextmanager
def counting(app: Flask, client: RelyingParty) -> Iterator[RoundTrips]:
    """Counts while what the process looks at each second, keys, clients and resources, is taken for fresh."""
    with app.app_context():
        keys.load()
        find_resources()
        registered._cache.looked_at = float("-inf")
        registered.find_client(client.client_id)
        with app.test_request_context():
            limits.admit("oidc_authorize")  # a fresh Redis is told the script once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_looked_at", keys._looked_at + 3600)
        patch.setattr(registered, "CACHE_LIFETIME", timedelta(hours=1))
        patch.setattr(resources, "CACHE_LIFETIME", timedelta(hours=1))
        with counted() as trips:
            yield trips


@pytest.fixture(params=["jwt", "opaque"])
def either(request: pytest.FixtureRequest, make_client: Make) -> RelyingParty:
    """A client of each form of access tokens."""
    return make_client(
        access_token_format=request.param,
        grants=["authorization_code", "refresh_token", "client_credentials"],
    )


def test_client_credentials_cost_one_insert_and_one_question_to_redis(
    app: Flask, either: RelyingParty
) -> None:
    with counting(app, either) as trips:
        assert either.post("/oauth2/token", {"grant_type": "client_credentials"}).status_code == 200
    assert (trips.postgres, trips.redis) == (1, 1)


def test_userinfo_costs_one_of_each(
    app: Flask, browser: Browser, person: Session, either: RelyingParty
) -> None:
    token = either.tokens(browser)["access_token"]
    with counting(app, either) as trips:
        assert either.userinfo(token).status_code == 200
    assert (trips.postgres, trips.redis) == (1, 1)


def test_introspection_costs_one_of_each(
    app: Flask, browser: Browser, person: Session, either: RelyingParty
) -> None:
    tokens = either.tokens(browser)
    by_itself = either.post("/oauth2/token", {"grant_type": "client_credentials"}).json["access_token"]
    for token in (tokens["access_token"], tokens["refresh_token"], by_itself):
        with counting(app, either) as trips:
            assert either.introspect(token)["active"] is True
        assert (trips.postgres, trips.redis) == (1, 1)


def test_a_token_that_is_none_costs_no_more(app: Flask, either: RelyingParty) -> None:
    for token in ("nonsense", "a.b.c"):
        with counting(app, either) as trips:
            assert either.introspect(token) == {"active": False}
            assert either.userinfo(token).status_code == 401
        assert trips.postgres <= 2
        assert trips.redis == 2


def test_a_code_costs_two_statements(
    app: Flask, browser: Browser, person: Session, either: RelyingParty
) -> None:
    code = either.code(browser)
    with counting(app, either) as trips:
        assert either.redeem(code).status_code == 200
    assert (trips.postgres, trips.redis) == (2, 1)


def test_a_refresh_costs_two_statements(
    app: Flask, browser: Browser, person: Session, either: RelyingParty
) -> None:
    token = either.tokens(browser)["refresh_token"]
    with counting(app, either) as trips:
        assert either.refresh(token).status_code == 200
    assert (trips.postgres, trips.redis) == (2, 1)


def test_metadata_and_keys_cost_nothing(app: Flask, browser: Browser, client: RelyingParty) -> None:
    with counting(app, client) as trips:
        assert browser.get("/.well-known/openid-configuration").status_code == 200
        assert browser.get("/.well-known/jwks.json").status_code == 200
    assert (trips.postgres, trips.redis) == (0, 0)


def test_a_look_at_all_clients_is_one_statement(app: Flask, make_client: Make) -> None:
    several = [make_client() for _ in range(5)]
    with app.app_context():
        for client in several:
            registered.find_client(client.client_id)
        registered._cache.looked_at = float("-inf")
        with counted() as trips:
            for client in several:
                assert registered.find_client(client.client_id) is not None
    assert trips.postgres == 1
