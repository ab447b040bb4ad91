"""Refreshing while PostgreSQL comes and goes: no token is lost, and no honest family dies."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from gateway.servers import Postgres
from libs import database
from libs.database import utcnow
from libs.guard.single_use import digest
from libs.people.sessions import Session
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.oidc.relying_party import RelyingParty, error_of
from tests.pages import Browser

Make = Callable[..., RelyingParty]


@pytest.fixture
def own_postgres(app: Flask, tmp_path: Path) -> Iterator[Postgres]:
    """A server that only this test uses, with the issuer's database on it."""
    from services.oidc.extensions import db
    from services.oidc.protocol.keys import keys

    server = Postgres(tmp_path / "postgres", durable=False).start()
    server.create_databases(("id_oidc",))
    url = sa.make_url(server.url("id_oidc")).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, **database.engine_options(parts_of(app).settings))
    database._ping_idle_connections(engine)
    database._switch_without_asking(engine)
    engines = db._app_engines[app]
    real, known = engines[None], keys._set
    engines[None] = engine
    keys._set = None
    database.upgrade(app)
    yield server
    engines[None] = real
    keys._set = known
    engine.dispose()
    server.stop()


@dataclass
class HonestClient:
    """Refreshes on and on; what gets no answer it asks again. Every fourth answer is lost on its way."""

    party: RelyingParty
    token: str
    refreshed: int = 0
    lost: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    def run(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            self.refresh()

    def refresh(self) -> None:
        response = self.party.refresh(self.token)
        self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
        if response.status_code == 503:
            assert int(response.headers["Retry-After"]) > 0
            time.sleep(0.02)
            return
        assert response.status_code == 200, response.text
        if self.refreshed % 4 == 3 and self.lost <= self.refreshed // 4:
            self.lost += 1
            return
        self.refreshed += 1
        self.token = response.json["refresh_token"]


@pytest.mark.parametrize("cycles", [3, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_a_database_that_stops_and_starts_every_second_costs_no_honest_family(
    app: Flask, own_postgres: Postgres, make_client: Make, with_settings: Callable[..., None], cycles: int
) -> None:
    # However fast the machine is, this is not about limits.
    with_settings(
        TOKEN_REQUESTS_PER_ADDRESS="1000000 per minute", TOKEN_REQUESTS_PER_CLIENT="1000000 per minute"
    )
    clients = []
    for form in ("jwt", "opaque", "jwt"):
        party, browser = make_client(access_token_format=form), Browser(app)
        sign_in_copy(browser, app)
        clients.append(HonestClient(party, party.tokens(browser)["refresh_token"]))
    is_over, failures = threading.Event(), []

    def run(client: HonestClient) -> None:
        try:
            client.run(is_over)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for cycle in range(cycles):
        time.sleep(0.5)
        if cycle % 3 == 2:
            # What a crash cuts off is found again in the log of the server.
            process = own_postgres.process
            assert process is not None
            process.kill()
            process.wait()
        else:
            own_postgres.stop()
        time.sleep(0.3)
        own_postgres.start()
    time.sleep(0.5)
    is_over.set()
    for thread in threads:
        thread.join(30)
    assert not failures, failures
    for client in clients:
        for _ in range(50):
            if client.party.refresh(client.token).status_code == 200:
                break
        client.refresh()
        assert client.refreshed > cycles, client.statuses
        assert set(client.statuses) <= {200, 503}
    assert sum(client.statuses.get(503, 0) for client in clients) > 0, "it was away indeed"


def cut_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next statement that rotates is done, and its answer lost."""
    from services.oidc.extensions import db
    from services.oidc.protocol.grants import rotation

    real = db.fetch_one

    def fetch_one(statement: Any, parameters: Any = None) -> Any:
        row = real(statement, parameters)
        if statement is rotation.ROTATE:
            raise sa.exc.OperationalError("", {}, Exception("server closed"), connection_invalidated=True)
        return row

    monkeypatch.setattr(db, "fetch_one", fetch_one)


def age(app: Flask, token: str, how_long: timedelta) -> None:
    from services.oidc.extensions import db
    from services.oidc.models import RefreshToken

    with app.app_context(), db.transaction() as session:
        changed = session.execute(
            sa.update(RefreshToken)
            .where(RefreshToken.digest == digest(token))
            .values(used_at=utcnow() - how_long)
        )
        assert changed.rowcount == 1


@pytest.mark.parametrize("who_remembers", ["this process", "Redis"])
def test_an_answer_of_the_database_that_was_lost_is_owed_however_long_the_outage(
    app: Flask,
    browser: Browser,
    person: Session,
    client: RelyingParty,
    monkeypatch: pytest.MonkeyPatch,
    who_remembers: str,
) -> None:
    from services.oidc.protocol.grants import refresh_token

    first = client.tokens(browser)["refresh_token"]
    with monkeypatch.context() as patch:
        cut_after(patch)
        assert error_of(client.refresh(first)) == (503, "temporarily_unavailable")
    age(app, first, timedelta(hours=3))
    if who_remembers == "Redis":
        refresh_token.unsure._until.clear()
    else:
        parts_of(app).redis.delete(f"refresh-unsure:{digest(first)}")
    answer = client.refresh(first)
    assert answer.status_code == 200, "the error was ours: it has not consumed the token"
    again = client.refresh(first)
    assert again.json["refresh_token"] == answer.json["refresh_token"], "this answer may be lost as well"
    assert client.refresh(answer.json["refresh_token"]).status_code == 200
    assert error_of(client.refresh(first)) == (400, "invalid_grant"), "and a thief is still found out"


def test_once_answered_the_usual_grace_holds(
    app: Flask,
    browser: Browser,
    person: Session,
    client: RelyingParty,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from services.oidc.protocol.grants import refresh_token

    first = client.tokens(browser)["refresh_token"]
    with monkeypatch.context() as patch:
        cut_after(patch)
        client.refresh(first)
    assert client.refresh(first).status_code == 200
    assert 0 < int(parts_of(app).redis.ttl(f"refresh-unsure:{digest(first)}")) <= 30  # type: ignore[arg-type]
    assert refresh_token.unsure._until[digest(first)] <= time.monotonic() + 30
    refresh_token.unsure._until.clear()
    parts_of(app).redis.delete(f"refresh-unsure:{digest(first)}")
    age(app, first, timedelta(minutes=2))
    assert error_of(client.refresh(first)) == (400, "invalid_grant")
