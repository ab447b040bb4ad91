"""Outbox, inbox and worker: what was recorded arrives, once in effect."""

import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from celery.contrib.testing.worker import start_worker
from flask import Flask

from libs.database import utcnow
from libs.messaging.events import AccountOpened, MailRequested, SignInThreatened
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


def test_an_unknown_field_is_ignored(sample_app: Flask) -> None:
    event = opened()
    envelope = envelope_of(sample_app, event, "account")
    envelope["data"]["field_of_a_later_release"] = 1
    with sample_app.app_context():
        assert sample.inbox.receive(envelope) == "handled"


def test_two_relays_side_by_side_send_no_row_twice(sample_app: Flask) -> None:
    sent: list[str] = []

    class Recorder:
        def send_task(self, _name: str, args: list[dict[str, str]], **_: object) -> None:
            sent.append(args[0]["event_id"])

    with sample_app.app_context():
        sample.db.session.execute(sample.outbox.deliveries.update().values(state="confirmed"))
        sample.db.session.commit()
        ids = []
        with sample.db.transaction():
            for number in range(60):
                ids.append(
                    str(
                        sample.outbox.record(
                            MailRequested(
                                template="t",
                                recipient="a@b.test",
                                locale="en",
                                context={},
                                deduplication_key=str(number),
                            )
                        )
                    )
                )
            # The relay thread of this process must not win the race before it starts.
            sample.db.session.info["callbacks"].clear()
    real, sample.outbox._sender = sample.outbox._sender, Recorder()
    try:

        def relay() -> None:
            with sample_app.app_context():
                while sample.outbox.relay():
                    pass

        threads = [threading.Thread(target=relay) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sample.outbox._sender = real
    assert sorted(sent) == sorted(ids)


def test_with_the_broker_away_rows_wait_and_leave_later(sample_app: Flask) -> None:
    class Away:
        def send_task(self, *_: object, **__: object) -> None:
            raise ConnectionError

    with sample_app.app_context():
        with sample.db.transaction():
            event_id = sample.outbox.record(
                MailRequested(
                    template="t", recipient="a@b.test", locale="en", context={}, deduplication_key="w"
                )
            )
            sample.db.session.info["callbacks"].clear()
        real, sample.outbox._sender = sample.outbox._sender, Away()
        try:
            assert sample.outbox.relay() == 0
        finally:
            sample.outbox._sender = real
        assert sample.outbox.waiting([event_id]) == 1
        row = next(row for row in sample.outbox.listing(limit=1000) if row.event_id == event_id)
        assert row.state == "pending"
        assert row.next_attempt_at > utcnow()


def test_sealed_fields_are_not_readable_in_the_outbox(sample_app: Flask) -> None:
    marker = f"secret-{uuid.uuid4()}"
    with sample_app.app_context():
        sample.write_note(text=marker)
        rows = sample.db.session.execute(sa.text("SELECT data::text FROM outbox_events")).scalars().all()
        sample.db.session.rollback()
    mail = [row for row in rows if marker in row]
    # The deduplication key is public by its nature; the context is not.
    assert all(f'"text": "{marker}"' not in row for row in mail)
