"""What all tests stand on: real PostgreSQL and Redis, migrated databases, the apps, a browser."""

import base64
import contextlib
import dataclasses
import importlib
import io
import logging
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import structlog
from flask import Flask

from libs import database
from libs.guard.keyring import KeyRing
from libs.messaging.events import Event, UserChanged, contract
from libs.people import sessions
from libs.service import parts_of
from tests.pages import ORIGIN, Browser
from tests.running import House, wait_for_reviewer

SERVICES = ("account", "onboarding", "oidc", "notification")


def _key(kid: str) -> str:
    return f"{kid}:{base64.b64encode(os.urandom(32)).decode()}"


TOGETHER = {"suite": "suite", "browser": "house", "runbook": "house", "faults": "faults"}
"""Folders whose tests share a running suite: one process of a parallel run takes them all, and takes them first."""


def group_of(nodeid: str) -> str:
    """Which tests one process of a parallel run takes together: those of a file, or of what shares a running suite."""
    file = nodeid.partition("::")[0]
    return TOGETHER.get(file.split("/")[1], file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: group_of(item.nodeid) not in TOGETHER.values())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side by group_of(): the marks of pytest-xdist's own loadgroup do not reach it under this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Together(config, log)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """`make run` on a folder of its own."""
    # Apps of the tests listen on this machine.
    house = House(tmp_path_factory.mktemp("house"), OUTBOUND_ALLOWED_HOSTS="127.0.0.1").start()
    wait_for_reviewer(house.browser())
    yield house
    house.stop()


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0, or the number of this pytest-xdist worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(worker.removeprefix("gw"))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[dict[str, str]]:
    """URLs of PostgreSQL (an administrator's) and Redis; private ones are started where none are named.

    Some tests fill Redis, empty it or cut its connections: no two processes of a parallel run share one.
    """
    urls = {name: os.environ.get(f"TEST_{name}_URL", "") for name in ("DATABASE", "REDIS")}
    if worker_number:
        urls["REDIS"] = ""
    if all(urls.values()):
        yield urls
        return
    from gateway.servers import Postgres, Redis

    folder = tmp_path_factory.mktemp("servers")
    with contextlib.ExitStack() as running:
        if not urls["DATABASE"]:
            postgres = Postgres(folder / "postgres", durable=False).start(embedded=False)
            running.callback(postgres.stop)
            urls["DATABASE"] = postgres.url("postgres")
        if not urls["REDIS"]:
            redis_server = Redis(folder / "redis", durable=False).start(embedded=False)
            running.callback(redis_server.stop)
            urls["REDIS"] = redis_server.url()
        yield urls


@pytest.fixture(scope="session")
def environment(servers: dict[str, str]) -> Iterator[dict[str, str]]:
    """Settings of a development suite on databases of this run's own; set as the process's environment."""
    run = f"test_{os.getpid()}_{secrets.token_hex(3)}"
    admin = sa.create_engine(
        servers["DATABASE"].replace("postgresql://", "postgresql+psycopg2://", 1),
        isolation_level="AUTOCOMMIT",
    )
    settings = {
        "ID_ENV": "development",
        "PUBLIC_URL": ORIGIN,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATA_ENCRYPTION_KEYS": _key("data1"),
        "EVENT_ENCRYPTION_KEYS": _key("event1"),
        "REDIS_URL": servers["REDIS"],
        "MAIL_FROM": "UpdSpace ID <id@updspace.test>",
        "LOG_LEVEL": "INFO",
        # Thousands of passwords are hashed here, as cheaply as argon2 goes; usual_hashing is for tests of the cost.
        "ARGON2_MEMORY_KIB": "8",
        "ARGON2_TIME_COST": "1",
    }
    names = {service: f"{run}_{service}" for service in SERVICES}
    with admin.connect() as connection:
        for service, name in names.items():
            connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
            settings[f"{service.upper()}_DATABASE_URL"] = (
                urlsplit(servers["DATABASE"])._replace(path=f"/{name}").geturl()
            )
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield settings
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    with admin.connect() as connection:
        for name in names.values():
            connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


_apps: dict[str, Flask] = {}


@pytest.fixture(scope="session")
def make_app(environment: dict[str, str]) -> Callable[[str], Flask]:
    """The app of a service, migrated; one per process, as in production."""

    def make(name: str) -> Flask:
        if name not in _apps:
            app = importlib.import_module(f"services.{name}").create_app()
            database.upgrade(app)
            app.testing = False  # errors are answered as people see them
            _apps[name] = app
        return _apps[name]

    return make


@pytest.fixture(scope="session")
def account_app(make_app: Callable[[str], Flask]) -> Flask:
    return make_app("account")


@pytest.fixture(scope="session")
def onboarding_app(make_app: Callable[[str], Flask]) -> Flask:
    app = make_app("onboarding")
    # Without anybody who could review, it takes no application.
    someone = UserChanged(
        sub="the-standing-reviewer",
        version=1,
        status="active",
        roles=["reviewer"],
        claims={"name": "Standing Reviewer"},
        locale="en",
    )
    assert receive(app, someone, "account") == "handled"
    return app


@pytest.fixture(scope="session")
def oidc_app(make_app: Callable[[str], Flask]) -> Flask:
    return make_app("oidc")


@pytest.fixture(scope="session")
def notification_app(make_app: Callable[[str], Flask]) -> Flask:
    return make_app("notification")


@pytest.fixture
def usual_hashing(account_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password costs here what it costs outside of tests."""
    from services.account.flows.passwords import Passwords
    from services.account.settings import AccountSettings

    settings = dataclasses.replace(
        parts_of(account_app).settings,
        ARGON2_MEMORY_KIB=AccountSettings.ARGON2_MEMORY_KIB,
        ARGON2_TIME_COST=AccountSettings.ARGON2_TIME_COST,
    )
    monkeypatch.setitem(account_app.extensions, "passwords", Passwords(settings))


@pytest.fixture
def browser_of() -> Callable[..., Browser]:
    """A new browser on an app."""
    return Browser


@pytest.fixture(autouse=True)
def _no_limits_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts with nobody near a limit."""
    if _apps:
        client = parts_of(next(iter(_apps.values()))).redis
        try:
            keys = list(client.scan_iter(match="*rl:*", count=1000))
            if keys:
                client.delete(*keys)
        except Exception:
            pass
    for app in _apps.values():
        parts_of(app).enhanced.note(None)  # whatever the app saw of Redis in the last second
    if "oidc" in _apps:
        # It remembers for a second whom it has refused.
        importlib.import_module("services.oidc.protocol.limits").forget()
    yield


@pytest.fixture
def log_text() -> Iterator[Callable[[], str]]:
    """What the apps of this process wrote to their log since the test began."""
    stream = io.StringIO()
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)
    ]
    assert handlers, "ask for an app before its log"
    before = [handler.setStream(stream) for handler in handlers if isinstance(handler, logging.StreamHandler)]
    yield stream.getvalue
    for handler, old in zip(handlers, before, strict=True):
        if isinstance(handler, logging.StreamHandler) and old is not None:
            handler.setStream(old)


def sign_in_copy(
    browser: Browser,
    app: Flask,
    *,
    sub: str | None = None,
    roles: list[str] | None = None,
    claims: dict[str, Any] | None = None,
    auth_time: int | None = None,
    **overrides: Any,
) -> sessions.Session:
    """Sign a browser in as the other services see it: a real copy in Redis and its cookie."""
    sub = sub or str(uuid.uuid4())
    secret = sessions.make_secret()
    values: dict[str, Any] = {
        "sid": str(uuid.uuid4()),
        "sub": sub,
        "auth_time": auth_time or int(time.time()),
        "amr": ["pwd"],
        "acr": "1",
        "roles": roles or [],
        "status": "active",
        "claims": {
            "name": "Test Person",
            "email": f"{sub[:8]}@people.test",
            "email_verified": True,
            **(claims or {}),
        },
        "claims_version": 1,
        "absolute_end": int(time.time()) + 86400,
    }
    session = sessions.Session(**{**values, **overrides})
    parts_of(app).redis.set(sessions.copy_key(sessions.secret_digest(secret)), session.to_json(), ex=3600)
    browser.set_cookie(sessions.cookie_name(parts_of(app).settings), secret)
    return session


_opened: dict[uuid.UUID, Event] = {}


def recorded(app: Flask, kind: type[Event] | None = None) -> list[Event]:
    """The events in the service's outbox, oldest first, opened; each once, for a long run records thousands."""
    parts = parts_of(app)
    keys = KeyRing.parse(parts.settings.EVENT_ENCRYPTION_KEYS, setting="EVENT_ENCRYPTION_KEYS")
    table = parts.outbox.events
    with app.app_context():
        ids = parts.db.session.scalars(sa.select(table.c.id).order_by(table.c.id)).all()
        unopened = [event_id for event_id in ids if event_id not in _opened]
        for row in parts.db.session.execute(sa.select(table).where(table.c.id.in_(unopened))):
            _opened[row.id] = contract(row.name).from_data(row.data, row.id, keys)
        parts.db.session.rollback()
    events = [_opened[event_id] for event_id in ids]
    return [event for event in events if kind is None or isinstance(event, kind)]


def envelope_of(app: Flask, event: Event, producer: str) -> dict[str, Any]:
    """The event as another service's relay would send it to this app."""
    keys = KeyRing.parse(parts_of(app).settings.EVENT_ENCRYPTION_KEYS, setting="EVENT_ENCRYPTION_KEYS")
    event_id = database.uuid7()
    return {
        "name": event.NAME,
        "event_id": str(event_id),
        "occurred_at": database.utcnow().isoformat(),
        "correlation_id": "test-correlation",
        "producer": producer,
        "data": event.to_data(event_id, keys),
    }


def receive(app: Flask, event: Event, producer: str) -> str:
    """Deliver an event to the app's inbox, as its worker would; returns the inbox row's state."""
    with app.app_context():
        return parts_of(app).inbox.receive(envelope_of(app, event, producer))


def run_command(app: Flask, *arguments: str, **options: Any) -> Any:
    """Run a command of the service's CLI; returns click's result."""
    return app.test_cli_runner().invoke(args=list(arguments), **options)
