"""A release on a schema that is older than it needs, or newer: who is ready, and who waits."""

import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from celery.signals import worker_init, worker_ready
from flask import Flask

from libs import schema
from libs.messaging.worker import create_worker
from libs.service import parts_of
from tests.pages import Browser
from tests.running import wait_until


@pytest.fixture
def set_to(account_app: Flask) -> Iterator[Callable[[str | None], None]]:
    """What account's database says it has had; as before afterwards."""

    def write(revision: str | None) -> None:
        with account_app.app_context(), parts_of(account_app).db.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM alembic_version"))
            if revision:
                insert = sa.text("INSERT INTO alembic_version (version_num) VALUES (:revision)")
                connection.execute(insert, {"revision": revision})

    yield write
    write(newest(account_app))


def newest(app: Flask) -> str:
    return schema.revisions(schema.migrations_of(app))[-1]


def had(app: Flask) -> str | None:
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return schema.found_revision(connection)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens to Celery is who the test makes, and nobody afterwards."""
    for signal in (worker_init, worker_ready):
        monkeypatch.setattr(signal, "receivers", [])


def test_whose_migrations_have_not_run_is_not_ready(
    account_app: Flask, set_to: Callable[[str | None], None]
) -> None:
    look = parts_of(account_app).probe.checks["database"]
    for revision in ("0001", None):
        set_to(revision)
        seen = look()
        assert (seen.status, seen.details) == ("unhealthy", {"reason": "migrations"})
    wait_until(lambda: Browser(account_app).get("/readyz").status_code == 503)
    assert Browser(account_app).get("/readyz").json == {"status": "not ready", "failing": ["database"]}
    set_to("9999")
    assert look().status == "healthy", "the release before serves on the schema of the next one"
    set_to(newest(account_app))
    assert look().status == "healthy"
    wait_until(lambda: Browser(account_app).get("/readyz").status_code == 200)


def test_a_database_without_a_table_is_behind(sample_app: Flask) -> None:
    """The sample has no migrations, and no table that says which."""
    with sample_app.app_context(), parts_of(sample_app).db.engine.connect() as connection:
        found = schema.found_revision(connection)
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    assert found is None
    assert schema.is_behind(found, ("0001",))
    assert not schema.is_behind(found, ()), "what has no migrations waits for none"


@pytest.mark.usefixtures("signals")
def test_a_worker_takes_no_task_before_the_migrations_have_run(
    account_app: Flask, set_to: Callable[[str | None], None], log_text: Callable[[], str]
) -> None:
    create_worker(account_app)
    set_to("0001")
    has_begun = threading.Event()

    def migrate() -> None:
        wait_until(lambda: has_begun.is_set() or '"waiting_for_database"' in log_text())
        set_to(newest(account_app))

    migrating = threading.Thread(target=migrate)
    migrating.start()
    worker_init.send(sender=None)  # from the main thread, as Celery does
    found = had(account_app)
    has_begun.set()
    migrating.join(30)
    assert found == newest(account_app), "it began on what the release before had left"
    assert f'"needs": "{newest(account_app)}"' in log_text()


def test_a_worker_waits_for_what_nobody_foresaw(
    account_app: Flask, log_text: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery writes down what its receivers raise, and starts all the same."""
    here, find, looks = threading.current_thread(), schema.found_revision, []

    def look(connection: sa.Connection) -> str | None:
        if threading.current_thread() is here:  # and not the probe, which looks now and then
            looks.append(connection)
            if len(looks) == 1:
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a server may speak in another language")
        return find(connection)

    monkeypatch.setattr(schema, "found_revision", look)
    monkeypatch.setattr(schema, "LOOK_AGAIN_S", 0.01)
    schema.wait_until_migrated(account_app)
    assert len(looks) == 2
    assert '"reason": "UnicodeDecodeError"' in log_text()
