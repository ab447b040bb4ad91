"""Outbox, inbox and worker: what was recorded arrives, once in effect."""

import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from celery.contrib.testing.worker import start_worker
from flask import Flask

from libs.messaging.events import AccountOpened, SignInThreatened
from libs.messaging.worker import create_worker
from tests.conftest import envelope_of, receive
from tests.libs import sample


def opened(key: str | None = None) -> AccountOpened:
    return AccountOpened(sub=str(uuid.uuid4()), application_id=key or str(uuid.uuid4()))


def notes(app: Flask, text: str) -> int:
    with app.app_context():
        count = sample.db.session.execute(
            sa.select(sa.func.count()).select_from(sample.Note).where(sample.Note.text == text)
        ).scalar_one()
        sample.db.session.rollback()
        return count


def eventually(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def worker(sample_app: Flask) -> Iterator[None]:
    celery = create_worker(sample_app)
    with start_worker(celery, pool="threads", perform_ping_check=False, shutdown_timeout=30):
        yield


def test_what_a_rolled_back_flow_recorded_never_leaves(sample_app: Flask) -> None:
    text = f"rolled back {uuid.uuid4()}"
    with sample_app.app_context():
        with pytest.raises(sample.TooShort):
            sample.write_note(text=text, fail=True)
        keys = [row.name for row in sample.outbox.listing(limit=1000)]
    assert notes(sample_app, text) == 0
    assert text not in str(keys)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_event_travels_through_redis_and_is_confirmed(sample_app: Flask, worker: None) -> None:
    text = f"travels {uuid.uuid4()}"
    with sample_app.app_context():
        sample.write_note(text=text)
    eventually(lambda: notes(sample_app, f"handled {text}") == 1)

    def confirmed() -> bool:
        with sample_app.app_context():
            rows = sample.outbox.listing(state="confirmed", limit=1000)
            sample.db.session.rollback()
            return bool(rows)

    eventually(confirmed)


def test_the_same_event_ten_times_side_by_side_takes_effect_once(sample_app: Flask) -> None:
    event = opened()
    envelope = envelope_of(sample_app, event, "account")
    states = []

    def deliver() -> None:
        with sample_app.app_context():
            states.append(sample.inbox.receive(envelope))

    threads = [threading.Thread(target=deliver) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["handled"] * 10
    assert notes(sample_app, f"handled {event.application_id}") == 1


def test_an_event_that_keeps_failing_is_parked_and_can_be_tried_again(sample_app: Flask) -> None:
    event = opened()
    envelope = envelope_of(sample_app, event, "account")
    sample.broken.add(event.application_id)
    with sample_app.app_context():
        states = [sample.inbox.receive(envelope) for _ in range(8)]
        assert states == ["received"] * 7 + ["parked"]
        assert notes(sample_app, f"handled {event.application_id}") == 0, "a failed handler leaves nothing"
        parked = [row.event_id for row in sample.inbox.parked(1000)]
        assert uuid.UUID(envelope["event_id"]) in parked
        sample.broken.clear()
        assert sample.inbox.retry(uuid.UUID(envelope["event_id"])) == "handled"
    assert notes(sample_app, f"handled {event.application_id}") == 1


def test_a_handler_that_the_database_stops_each_time_is_parked_too(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement or lock time-out is an answer of the database, not its absence."""

    def too_slow(_event: object) -> None:
        sample.db.session.execute(sa.text("SET LOCAL statement_timeout = 5"))
        sample.db.session.execute(sa.text("SELECT pg_sleep(5)"))

    monkeypatch.setattr(sample.inbox, "_handlers", {AccountOpened: too_slow})
    envelope = envelope_of(sample_app, opened(), "account")
    with sample_app.app_context():
        assert [sample.inbox.receive(envelope) for _ in range(8)] == ["received"] * 7 + ["parked"]
        monkeypatch.undo()
        assert sample.inbox.retry(uuid.UUID(envelope["event_id"])) == "handled"


def test_an_event_that_finds_no_database_is_left_to_its_producer(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_event: object) -> None:
        sample.db.session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr(sample.inbox, "_handlers", {AccountOpened: cut_off})
    envelope = envelope_of(sample_app, opened(), "account")
    with sample_app.app_context():
        with pytest.raises(sa.exc.OperationalError):
            sample.inbox.receive(envelope)
        monkeypatch.undo()
        assert sample.inbox.receive(envelope) == "handled"


def test_an_unknown_event_is_parked_at_once_and_never_dropped(sample_app: Flask) -> None:
    assert receive(sample_app, SignInThreatened(sub="x", cause="theft"), "oidc") == "parked"


def test_an_event_that_an_earlier_release_did_not_know_is_handled_after_the_upgrade(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself, and its producer hears of it: nobody has to look for what an upgrade has mended."""
    event = opened()
    envelope = envelope_of(sample_app, event, "account")
    confirmed: list[tuple[uuid.UUID, bool]] = []
    monkeypatch.setattr(
        sample.inbox, "_confirm", lambda _producer, event_id, *, parked: confirmed.append((event_id, parked))
    )
    with sample_app.app_context():
        with monkeypatch.context() as earlier:
            earlier.setattr(sample.inbox, "_handlers", {})
            assert sample.inbox.receive(envelope) == "parked"
            sample.inbox.sweep()
            assert sample.inbox.receive(envelope, is_repeated=True) == "parked"
        assert notes(sample_app, f"handled {event.application_id}") == 0
        sample.inbox.sweep()
        assert notes(sample_app, f"handled {event.application_id}") == 1
        assert sample.inbox.receive(envelope, is_repeated=True) == "handled"
    event_id = uuid.UUID(envelope["event_id"])
    mine = [parked for found, parked in confirmed if found == event_id]
    assert mine == [True, True, False, False]


def test_a_name_that_no_release_of_this_line_knows_is_parked(sample_app: Flask) -> None:
    envelope = {**envelope_of(sample_app, opened(), "account"), "name": "account.opened.v9"}
    with sample_app.app_context():
        assert sample.inbox.receive(envelope) == "parked"
        with pytest.raises(LookupError):
            sample.inbox.retry(uuid.uuid4())
        assert sample.inbox.retry(uuid.UUID(envelope["event_id"])) == "parked", (
            "still unknown, and still kept"
        )


def test_an_event_of_a_newer_producer_without_a_field_of_ours_is_parked(sample_app: Flask) -> None:
    envelope = envelope_of(sample_app, opened(), "account")
    del envelope["data"]["sub"]
    with sample_app.app_context():
        assert [sample.inbox.receive(envelope) for _ in range(8)][-1] == "parked"


def test_an_event_that_kills_its_worker_is_parked_too(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies cannot count: a repetition counts its try before it begins."""

    class Killed(BaseException):
        """What kill -9 would be, as far as a test of one process may go; tests/faults kills for real."""

    def kills(_event: object) -> None:
        raise Killed

    envelope = envelope_of(sample_app, opened(), "account")
    with sample_app.app_context():
        with monkeypatch.context() as poisoned:
            poisoned.setattr(sample.inbox, "_handlers", {AccountOpened: kills})
            with pytest.raises(Killed):
                sample.inbox.receive(envelope)
            for _ in range(8):
                with pytest.raises(Killed):
                    sample.inbox.receive(envelope, is_repeated=True)
            assert sample.inbox.receive(envelope, is_repeated=True) == "parked"
        [row] = [row for row in sample.inbox.parked(1000) if str(row.event_id) == envelope["event_id"]]
        assert row.last_error == "NoEnd"
        assert sample.inbox.retry(uuid.UUID(envelope["event_id"])) == "handled"


def test_two_sweeps_side_by_side_try_each_failed_event_once(sample_app: Flask) -> None:
    events = [opened() for _ in range(15)]
    with sample_app.app_context():
        with sample.db.transaction() as session:
            session.execute(sample.inbox.table.delete().where(sample.inbox.table.c.state != "handled"))
        for event in events:
            sample.broken.add(event.application_id)
            sample.inbox.receive(envelope_of(sample_app, event, "account"))
        assert sample.inbox.sweep() == 0, "each waits a little"
        with sample.db.transaction() as session:
            session.execute(sample.inbox.table.update().values(next_attempt_at=sa.func.now()))
    start, tried = threading.Barrier(3), []

    def sweep() -> None:
        start.wait()
        with sample_app.app_context():
            tried.append(sample.inbox.sweep())

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sample.broken.clear()
    assert sum(tried) == 15
    with sample_app.app_context(), sample.db.transaction() as session:
        table = sample.inbox.table
        attempts = session.scalars(sa.select(table.c.attempts).where(table.c.state == "received")).all()
    assert list(attempts) == [2] * 15


def test_an_unknown_field_is_ignored(sample_app: Flask) -> None:
    event = opened()
    envelope = envelope_of(sample_app, event, "account")
    envelope["data"]["field_of_a_later_release"] = 1
    with sample_app.app_context():
        assert sample.inbox.receive(envelope) == "handled"


def test_sealed_fields_are_not_readable_in_the_outbox(sample_app: Flask) -> None:
    marker = f"secret-{uuid.uuid4()}"
    with sample_app.app_context():
        sample.write_note(text=marker)
        rows = sample.db.session.execute(sa.text("SELECT data::text FROM outbox_events")).scalars().all()
        sample.db.session.rollback()
    mail = [row for row in rows if marker in row]
    # The deduplication key is public by its nature; the context is not.
    assert all(f'"text": "{marker}"' not in row for row in mail)
