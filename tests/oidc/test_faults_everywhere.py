"""Each endpoint of the issuer while a store is in trouble: an answer as ever, or a prompt 503 with its time."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from libs import database
from libs.database import engine_options
from libs.people.sessions import Session
from libs.service import parts_of
from services.oidc.flows.clients.metadata import DEVICE_CODE
from services.oidc.protocol import limits
from services.oidc.protocol.keys import keys
from tests.oidc.faults import database_away, with_engine
from tests.oidc.registrations import send
from tests.oidc.relying_party import RelyingParty, http
from tests.pages import ORIGIN, Browser

Call = Callable[[], TestResponse]
Fault = Callable[[Flask], AbstractContextManager[None]]
SITE = {"Origin": "https://rp.test"}
SILENCE_S, SIGN_OF_LIFE_S = 0.2, 1.0
PROMPT_S = 2.0
"""Long enough for one wait, too short for two."""


@contextmanager
def read_only(app: Flask) -> Iterator[None]:
    from services.oidc.extensions import db

    options = engine_options(parts_of(app).settings)
    options["connect_args"]["options"] += " -c default_transaction_read_only=on"
    with with_engine(app, sa.create_engine(db._app_engines[app][None].url, **options)):
        yield


@contextmanager
def hung_database(app: Flask) -> Iterator[None]:
    """Takes connections and says nothing."""
    settings = parts_of(app).settings
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg2://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        with with_engine(app, sa.create_engine(url, **engine_options(settings))):
            yield


@contextmanager
def full_redis(app: Flask) -> Iterator[None]:
    store: Any = parts_of(app).redis
    before = store.config_get("maxmemory")["maxmemory"]
    store.config_set("maxmemory", 1)
    try:
        yield
    finally:
        store.config_set("maxmemory", before)
        limits.forget()


@pytest.fixture
def calls(
    app: Flask, browser: Browser, person: Session, make_client: Callable[..., RelyingParty], is_open: None
) -> dict[str, Call]:
    """Each endpoint by a name, with what was right a moment ago."""
    client = make_client(grants=["authorization_code", "refresh_token", "client_credentials", DEVICE_CODE])
    tokens = client.tokens(browser)
    client.ask(browser, prompt="consent")
    waiting = browser.url
    device = client.post("/oauth2/device_authorization", {"scope": "openid"}).json
    bearer = {"Authorization": f"Bearer {tokens['access_token']}", **SITE}

    def token(**form: str) -> TestResponse:
        return client.post("/oauth2/token", form, headers=SITE)

    return {
        "refresh": lambda: token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]),
        "client_credentials": lambda: token(grant_type="client_credentials"),
        "code": lambda: client.redeem("a-code"),
        "device_code": lambda: token(grant_type=DEVICE_CODE, device_code=device["device_code"]),
        "introspect": lambda: client.post("/oauth2/introspect", {"token": tokens["access_token"]}),
        "userinfo": lambda: http(app).get("/oauth2/userinfo", base_url=ORIGIN, headers=bearer),
        "par": lambda: client.post("/oauth2/par", client.parameters(), headers=SITE),
        "device": lambda: client.post("/oauth2/device_authorization", {"scope": "openid"}),
        "register": lambda: send(app, {"redirect_uris": ["https://app.test/cb"]}),
        "jwks": lambda: http(app).get("/.well-known/jwks.json", base_url=ORIGIN),
        "metadata": lambda: http(app).get("/.well-known/openid-configuration", base_url=ORIGIN),
        "authorize": lambda: client.send(browser, prompt="consent"),
        "authorize_silently": lambda: client.send(browser, prompt="none"),
        "go_on": lambda: browser.get(waiting.replace("/consent/", "/authorize/")),
        "consent": lambda: browser.get(waiting),
        "logout": lambda: browser.get("/oauth2/logout", query_string={"id_token_hint": tokens["id_token"]}),
        "logout_question": lambda: browser.get("/oauth2/logout/question?ticket=x"),
        "signed_out": lambda: browser.get("/oauth2/logout/done"),
        "device_page": lambda: browser.get("/device", query_string={"user_code": device["user_code"]}),
        "apps": lambda: browser.get("/account/apps"),
        "revoke": lambda: client.post("/oauth2/revoke", {"token": tokens["access_token"]}, headers=SITE),
    }


@pytest.mark.parametrize(
    ("fault", "serving"),
    [
        (database_away, {"jwks", "metadata"}),
        (read_only, {"jwks", "metadata", "introspect", "userinfo", "par", "device", "authorize", "consent"}),
        (
            full_redis,
            {"jwks", "metadata", "introspect", "userinfo", "refresh", "client_credentials", "revoke"},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_goes_on_goes_on_and_the_rest_says_so(
    app: Flask, calls: dict[str, Call], fault: Fault, serving: set[str]
) -> None:
    with fault(app):
        for name, call in calls.items():
            answer = call()
            assert (
                answer.status_code in {200, 201, 303}
                if name in serving
                else answer.status_code < 500
                or (answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0)
            ), (name, answer.status_code, answer.text[:500])


def cut_connections(app: Flask) -> None:
    """All of the issuer's, at once and for good; others can be made."""
    from services.oidc.extensions import db

    with sa.create_engine(db._app_engines[app][None].url).connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_connections_that_are_cut_all_at_once_cost_a_prompt_503_at_most(
    app: Flask, calls: dict[str, Call]
) -> None:
    calls["client_credentials"]()
    for name, call in calls.items():
        cut_connections(app)
        began = time.monotonic()
        answer = call()
        assert time.monotonic() - began < PROMPT_S, name
        assert answer.status_code < 500 or (
            answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
        ), (name, answer.status_code, answer.text[:500])
        # One whose answer needed no row left the broken connections to the next.
        assert 200 in (
            calls["client_credentials"]().status_code,
            calls["client_credentials"]().status_code,
        ), name


@pytest.mark.parametrize("name", ["refresh", "userinfo", "introspect", "logout", "jwks"])
def test_nobody_waits_twice_for_a_database_that_hangs(
    app: Flask, calls: dict[str, Call], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.PatientConnection, "silence", SILENCE_S)
    monkeypatch.setattr(database, "SIGN_OF_LIFE_S", SIGN_OF_LIFE_S)
    with hung_database(app):
        keys._looked_at = float("-inf")  # this one is who looks whether the keys have changed
        began = time.monotonic()
        answer = calls[name]()
        assert time.monotonic() - began < PROMPT_S
    if name == "jwks":
        assert answer.json["keys"]
    else:
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
