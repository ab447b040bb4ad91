"""A release on a schema that is older than it needs, or newer: who is ready, and who waits."""

import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from libs import schema
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


def test_a_worker_takes_no_task_before_the_migrations_have_run(
    account_app: Flask, set_to: Callable[[str | None], None], log_text: Callable[[], str]
) -> None:
    set_to("0001")
    waiting = threading.Thread(target=schema.wait_until_migrated, args=(account_app,))
    waiting.start()
    wait_until(lambda: '"waiting_for_database"' in log_text())
    assert waiting.is_alive()
    set_to(newest(account_app))
    waiting.join(30)
    assert not waiting.is_alive()
    assert f'"needs": "{newest(account_app)}"' in log_text()
