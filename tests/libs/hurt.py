"""A sample service on PostgreSQL and Redis of its own, which tests may stop, hang, kill and start again."""

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from gateway.servers import Postgres, Redis, Server
from tests.libs import sample
from tests.stopping import stopped_by_signal


@dataclass
class House:
    """A sample service of its own on servers of its own, which may be hurt."""

    service: Any
    app: Flask
    postgres: Postgres
    redis: Redis

    def timed(self, action: Callable[[], Any]) -> tuple[Any, float]:
        began = time.monotonic()
        result = action()
        return result, time.monotonic() - began

    def notes(self, text: str) -> int:
        with self.app.app_context():
            note = self.service.Note
            query = sa.select(sa.func.count()).select_from(note).where(note.text == text)
            return self.service.db.session.execute(query).scalar_one()


@pytest.fixture(scope="module")
def house(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("away")
    # A second copy of the module: an app has its extensions to itself.
    spec = importlib.util.spec_from_file_location("tests.libs.sample_away", sample.__file__)
    assert spec is not None
    assert spec.loader is not None
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    with contextlib.ExitStack() as running:
        postgres = Postgres(folder / "postgres", durable=False).start(embedded=False)
        running.callback(postgres.stop)
        store = Redis(folder / "redis", durable=False).start(embedded=False)
        running.callback(store.stop)
        settings = service.SampleSettings.load(
            {**environment, "NOTIFICATION_DATABASE_URL": postgres.url("postgres"), "REDIS_URL": store.url()}
        )
        app = service.create_app(settings)
        with app.app_context():
            service.db.create_all()
        yield House(service, app, postgres, store)
        with app.app_context():
            service.db.engine.dispose()


@contextlib.contextmanager
def hung(server: Server) -> Iterator[None]:
    """The server and its children take connections and say nothing."""
    assert server.process is not None
    with stopped_by_signal(server.process.pid):
        yield


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start(embedded=False)  # type: ignore[attr-defined]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
