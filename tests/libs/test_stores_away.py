"""PostgreSQL and Redis stopped, hung and started again: answers stay prompt, and recovery needs no restart."""

import contextlib
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery.contrib.testing.worker import start_worker

from gateway.servers import Server
from libs import database
from libs.messaging.worker import create_worker
from libs.service import parts_of
from tests.conftest import sign_in_copy
from tests.libs.hurt import House, eventually, house, hung, stopped
from tests.pages import Browser, forms_of

__all__ = ["house"]

PROMPT_S = 3.0


@pytest.mark.parametrize("trouble", [hung, stopped])
def test_without_its_database_a_page_answers_a_prompt_503_and_recovers(
    house: House, trouble: Callable[[Server], contextlib.AbstractContextManager[None]]
) -> None:
    browser = Browser(house.app)
    assert browser.get("/notes").status_code == 200
    with trouble(house.postgres):
        # The first finds a connection of the pool, the second has to open one.
        for _ in range(2):
            page, seconds = house.timed(lambda: browser.get("/notes"))
            assert page.status_code == 503
            assert page.headers["Retry-After"] == "5"
            assert seconds < PROMPT_S
    assert browser.get("/notes").status_code == 200


def test_an_idle_connection_to_a_hung_database_costs_no_two_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(house.app)
    assert browser.get("/notes").status_code == 200
    monkeypatch.setattr(database, "PING_AFTER_IDLE_S", 0.0)
    with hung(house.postgres):
        page, seconds = house.timed(lambda: browser.get("/notes"))
    assert page.status_code == 503
    assert seconds < PROMPT_S
    assert browser.get("/notes").status_code == 200


def test_a_long_statement_is_not_taken_for_a_hung_server(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.PatientConnection, "silence", 0.1)
    with house.app.app_context():
        session = house.service.db.session
        assert session.execute(sa.text("SELECT 1 FROM pg_sleep(0.5)")).scalar_one() == 1


def test_health_polled_during_a_hang_answers_at_once_and_says_so(house: House) -> None:
    browser = Browser(house.app)

    def database_row() -> dict[str, Any]:
        return next(row for row in browser.get("/health").json["components"] if row["name"] == "database")

    assert database_row()["status"] == "healthy"
    with hung(house.postgres):
        eventually(lambda: database_row()["status"] == "unhealthy")
        for path, status in (("/health", 503), ("/readyz", 503), ("/healthz", 200)):
            page, seconds = house.timed(lambda path=path: browser.get(path))
            assert page.status_code == status
            assert seconds < 0.1
    eventually(lambda: browser.get("/readyz").status_code == 200)


@pytest.mark.parametrize("trouble", [hung, stopped])
def test_without_redis_nobody_is_known_and_limits_count_here_at_a_quarter(
    house: House, trouble: Callable[[Server], contextlib.AbstractContextManager[None]]
) -> None:
    browser = Browser(house.app, ip=f"198.51.100.{1 if trouble is hung else 2}")
    browser.post("/mine", {})
    person = sign_in_copy(browser, house.app)
    browser.post("/limited", {})
    token = dict(forms_of(browser.text)[0].fields)["csrf_token"]
    with trouble(house.redis):
        page, seconds = house.timed(lambda: browser.get("/mine"))
        assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
        assert seconds < 1
        page, seconds = house.timed(lambda: browser.get("/open"))
        assert page.status_code == 200
        answers = [house.timed(lambda: browser.post("/limited", {"csrf_token": token})) for _ in range(3)]
        assert [page.status_code for page, _ in answers] == [200, 429, 429], "three a minute become one"
        assert max(seconds for _, seconds in answers) < PROMPT_S
        sent, seconds = house.timed(lambda: house.service.tasks.send("remember", "never sent"))
        assert sent is False
        assert seconds < PROMPT_S
    if trouble is hung:
        assert browser.get("/mine").text == person.sub
    else:
        sign_in_copy(browser, house.app)
        assert browser.get("/mine").status_code == 200
    browser.post("/limited", {})
    token = dict(forms_of(browser.text)[0].fields)["csrf_token"]
    # Redis has not counted what was counted here: three a minute again, with no restart.
    eventually(lambda: browser.post("/limited", {"csrf_token": token}).status_code == 200)


def test_with_redis_full_the_session_is_still_read(house: House) -> None:
    browser = Browser(house.app)
    person = sign_in_copy(browser, house.app)
    client = parts_of(house.app).redis
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(redis.ResponseError):
            client.set("one more", "x")
        assert browser.get("/mine").text == person.sub
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_goes_on_by_itself_when_redis_was_away(house: House) -> None:
    before, after = (f"{word} {uuid.uuid4()}" for word in ("before", "after"))
    celery = create_worker(house.app)
    with start_worker(celery, pool="threads", perform_ping_check=False, shutdown_timeout=30):
        with house.app.app_context():
            house.service.write_note(text=before)
        eventually(lambda: house.notes(f"handled {before}") == 1)
        with stopped(house.redis), house.app.app_context():
            house.service.write_note(text=after)
            outbox = house.service.outbox
            eventually(lambda: outbox_row(house, after) == "pending")
            assert outbox.waiting() >= 1
        # Nobody asks for it: the relay of this process comes back by itself.
        eventually(lambda: house.notes(f"handled {after}") == 1, seconds=30)
        eventually(lambda: outbox_row(house, after) == "confirmed")


def outbox_row(house: House, key: str) -> str | None:
    """The state of the delivery of the mail with this deduplication key."""
    outbox = house.service.outbox
    with house.app.app_context():
        return house.service.db.session.execute(
            sa.select(outbox.deliveries.c.state)
            .join(outbox.events, outbox.events.c.id == outbox.deliveries.c.event_id)
            .where(outbox.events.c.data["deduplication_key"].astext == key)
        ).scalar_one_or_none()


def test_an_effect_after_the_commit_that_fails_stops_no_other(house: House) -> None:
    done = threading.Event()

    def fail() -> None:
        raise redis.ConnectionError

    text = f"kept {uuid.uuid4()}"
    with house.app.app_context(), house.service.db.transaction() as session:
        session.add(house.service.Note(text=text))
        house.service.db.after_commit(fail)
        house.service.db.after_commit(done.set)
    assert done.is_set()
    assert house.notes(text) == 1
