"""The relay: what is due leaves, once per claim, as fast as there is room, and never by pressing on."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.broker import MOST_QUEUED, Broker, BrokerAway
from libs.messaging.events import MailRequested
from libs.messaging.relay import BATCH, BUSY, resend_after
from libs.service import parts_of
from tests.libs import sample
from tests.libs.test_messaging import eventually


class Recorder:
    """A broker that keeps what it is given, and takes from each queue what a test allows."""

    pause_s = 0.0

    def __init__(self, room: int = 10**6):
        self.sent: list[tuple[str, bool]] = []
        self.free = room

    def room(self, queues: Any) -> dict[str, int]:
        return {queue: max(self.free - len(self.sent), 0) for queue in queues}

    def send(self, _task: str, args: list[Any], *, headers: dict[str, Any], **_: Any) -> None:
        self.sent.append((args[0]["event_id"], headers["repeated"]))


@pytest.fixture(autouse=True)
def _nothing_waits(sample_app: Flask) -> None:
    with sample_app.app_context(), sample.db.transaction() as session:
        session.execute(sample.outbox.deliveries.update().values(state="confirmed"))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(sample.outbox._relay, "_broker", recorder)
    return recorder


@pytest.fixture
def broker(sample_app: Flask) -> Iterator[Broker]:
    """The app's own, left as if nothing had happened."""
    assert sample.outbox._relay
    found = sample.outbox._relay._broker
    yield found
    found._failures, found._silent_until = 0, 0.0


def record(count: int = 1, *, wakes: bool = False) -> list[uuid.UUID]:
    """Events in the outbox; the relay thread of this process is told of them or not."""
    with sample.db.transaction() as session:
        ids = [
            sample.outbox.record(
                MailRequested(
                    template="t", recipient="a@b.test", locale="en", context={}, deduplication_key=f"{number}"
                )
            )
            for number in range(count)
        ]
        if not wakes:
            session.info["callbacks"].clear()
    return ids


def rows(ids: list[uuid.UUID]) -> list[Any]:
    table = sample.outbox.deliveries
    with sample.db.transaction() as session:
        return list(session.execute(sa.select(table).where(table.c.event_id.in_(ids))))


def come_due() -> None:
    with sample.db.transaction() as session:
        session.execute(sample.outbox.deliveries.update().values(next_attempt_at=utcnow()))


def test_four_relays_side_by_side_send_no_row_twice(sample_app: Flask, recorder: Recorder) -> None:
    with sample_app.app_context():
        ids = record(250)
    start = threading.Barrier(4)

    def relay() -> None:
        start.wait()
        with sample_app.app_context():
            while sample.outbox.relay():
                pass

    threads = [threading.Thread(target=relay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(recorder.sent) == sorted((str(event_id), False) for event_id in ids)


def test_what_is_committed_while_the_relay_sleeps_waits_for_whoever_is_awake(
    sample_app: Flask, recorder: Recorder
) -> None:
    with sample_app.app_context():
        with sample.outbox.asleep():
            kept = record(wakes=True)
            assert sample.outbox._relay is not None
            assert not sample.outbox._relay._wanted.is_set()
            assert recorder.sent == []
        later = record(wakes=True)
        eventually(lambda: len(recorder.sent) == 2)
    assert sorted(recorder.sent) == sorted((str(event_id), False) for event_id in kept + later)


def test_an_unconfirmed_event_is_sent_again_with_growing_waits_and_no_end(
    sample_app: Flask, recorder: Recorder
) -> None:
    assert [resend_after(attempts).total_seconds() for attempts in (0, 1, 2, 3, 4, 100)] == [
        60,
        120,
        240,
        480,
        600,
        600,
    ]
    with sample_app.app_context():
        ids = record()
        assert sample.outbox.relay() == 1
        assert sample.outbox.relay() == 0, "it waits for its confirmation"
        for attempts in range(1, 20):
            [row] = rows(ids)
            wait = (row.next_attempt_at - row.sent_at).total_seconds()
            usual = resend_after(attempts - 1).total_seconds()
            assert (row.state, row.attempts) == ("sent", attempts)
            assert usual <= wait <= usual * 1.2
            come_due()
            assert sample.outbox.relay() == 1
        assert [is_repeated for _, is_repeated in recorder.sent] == [False] + [True] * 19
        sample.outbox.confirm("notification", [str(ids[0])])
        come_due()
        assert sample.outbox.relay() == 0


def test_what_a_subscriber_parked_is_asked_about_until_it_is_confirmed(
    sample_app: Flask, recorder: Recorder
) -> None:
    """The confirmation after a retry may be lost: the question brings another one."""
    with sample_app.app_context():
        ids = record()
        sample.outbox.relay()
        sample.outbox.confirm("notification", [str(ids[0])], parked=True)
        assert sample.outbox.waiting() == 0, "nobody waits for it: it is on the subscriber's page"
        assert sample.outbox.relay() == 0
        come_due()
        assert sample.outbox.relay() == 1
        assert rows(ids)[0].state == "parked"
        sample.outbox.confirm("notification", [str(ids[0])])
        sample.outbox.confirm("notification", [str(ids[0])], parked=True)
        assert rows(ids)[0].state == "confirmed", "an earlier answer that comes late undoes nothing"


def test_a_queue_that_nobody_empties_is_filled_to_a_point_and_the_rest_stays_in_the_table(
    sample_app: Flask, recorder: Recorder
) -> None:
    recorder.free = BATCH + 50
    with sample_app.app_context():
        ids = record(BATCH * 3)
        while sample.outbox.relay():
            pass
        assert len(recorder.sent) == BATCH + 50
        states = [row.state for row in rows(ids)]
        assert (states.count("sent"), states.count("pending")) == (BATCH + 50, BATCH * 2 - 50)
        assert all(row.next_attempt_at <= utcnow() for row in rows(ids) if row.state == "pending")
        come_due()
        assert sample.outbox.relay() == 0, "what was sent is not repeated there either"
        recorder.free = 10**6
        while sample.outbox.relay():
            pass
    assert {event_id for event_id, _ in recorder.sent} == {str(event_id) for event_id in ids}


def test_nothing_is_sent_a_second_time_into_a_queue_where_the_first_may_still_wait(
    sample_app: Flask, recorder: Recorder
) -> None:
    with sample_app.app_context():
        [first] = record()
        sample.outbox.relay()
        come_due()
        recorder.free = MOST_QUEUED - BUSY
        [second] = record()
        assert sample.outbox.relay() == 1
        assert recorder.sent == [(str(first), False), (str(second), False)]
        recorder.free = MOST_QUEUED
        assert sample.outbox.relay() == 1
    assert recorder.sent[-1] == (str(first), True)


def test_a_full_queue_holds_up_no_other(
    sample_app: Flask, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recorder, "room", lambda queues: {queue: int(queue != "notification") * 9 for queue in queues}
    )
    with sample_app.app_context():
        record(BATCH + 1)
        [other] = record()
        with sample.db.transaction() as session:
            table = sample.outbox.deliveries
            session.execute(table.update().where(table.c.event_id == other).values(subscriber="oidc"))
        assert sample.outbox.relay() == 1
    assert recorder.sent == [(str(other), False)]


def test_a_queue_with_little_room_holds_up_no_other(
    sample_app: Flask, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker takes a few a second, so that it is never full, and its backlog is longer than a batch."""
    monkeypatch.setattr(recorder, "room", lambda queues: {q: 3 if q == "notification" else 9 for q in queues})
    with sample_app.app_context():
        record(BATCH * 2)
        [other] = record()
        with sample.db.transaction() as session:
            table = sample.outbox.deliveries
            session.execute(table.update().where(table.c.event_id == other).values(subscriber="oidc"))
        assert sample.outbox._relay is not None
        assert sample.outbox._relay.send_due() == (4, True)
    assert str(other) in [event_id for event_id, _ in recorder.sent]


def test_the_real_queue_of_an_absent_worker_stops_growing(sample_app: Flask, broker: Broker) -> None:
    client = parts_of(sample_app).redis
    client.delete("notification")
    client.rpush("notification", *["{}"] * (MOST_QUEUED - 10))
    try:
        with sample_app.app_context():
            ids = record(BATCH, wakes=True)
            eventually(lambda: client.llen("notification") == MOST_QUEUED)
            time.sleep(1.5)  # the thread looks again after a second
            assert client.llen("notification") == MOST_QUEUED
            assert sample.inbox._broker is not None
            sample.inbox._confirm("notification", ids[0], parked=False)
            assert client.llen("notification") == MOST_QUEUED, "confirmations wait, too"
            client.delete("notification")
            eventually(lambda: all(row.state == "sent" for row in rows(ids)))
    finally:
        client.delete("notification")


class Server:
    """A broker's connection that fails, and counts how often it is asked."""

    def __init__(self, error: Exception):
        self.error: Exception | None = error
        self.asked: list[float] = []

    def answer(self) -> None:
        self.asked.append(time.monotonic())
        if self.error:
            raise self.error


@pytest.fixture
def failing(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Server]:
    def fail(error: Exception) -> Server:
        server = Server(error)

        class Pipeline:
            def llen(self, _name: str) -> None:
                self.names = [*getattr(self, "names", []), _name]

            def execute(self) -> list[int]:
                server.answer()
                return [0] * len(self.names)

        monkeypatch.setattr(broker._client, "pipeline", lambda **_: Pipeline())
        monkeypatch.setattr(broker._sender, "send_task", lambda *_, **__: server.answer())
        return server

    return fail


def test_a_broker_that_is_away_is_left_alone_however_many_commits_wake_the_relay(
    sample_app: Flask, failing: Callable[[Exception], Server], log_text: Callable[[], str]
) -> None:
    server = failing(ConnectionError())
    began = time.monotonic()
    ids = []
    with sample_app.app_context():
        while time.monotonic() - began < 2.5:
            ids += record(wakes=True)
            sample.tasks.send("remember", "x")
        assert len(ids) > 50, "requests go on at their speed"
        assert len(server.asked) <= 5, "0, 0.5, 1.5 s: not once per commit"
        assert {(row.state, row.attempts) for row in rows(ids)} == {("pending", 0)}
        server.error = None
        eventually(lambda: {row.state for row in rows(ids)} == {"sent"}, 10)
    assert log_text().count("broker_away") == 1, "once per outage"
    assert log_text().count("broker_back") == 1


def test_a_broker_without_room_is_like_one_that_is_away(
    sample_app: Flask, failing: Callable[[Exception], Server], log_text: Callable[[], str]
) -> None:
    failing(redis.exceptions.OutOfMemoryError("OOM command not allowed"))
    with sample_app.app_context():
        ids = record(5)
        assert sample.outbox.relay() == 0
        assert {row.state for row in rows(ids)} == {"pending"}
        assert sample.tasks.send("remember", "x") is False
        assert sample.inbox._broker is not None
        with pytest.raises(BrokerAway):
            sample.inbox._broker.send("notification.remember", ["x"], queue="notification")
    assert log_text().count("broker_away") == 1


def test_a_broker_that_fails_within_a_batch_keeps_what_it_took_and_costs_the_rest_nothing(
    sample_app: Flask, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def send_task(_name: str, args: list[Any], **_: Any) -> None:
        if len(sent) == 3:
            raise ConnectionError
        sent.append(args[0]["event_id"])

    monkeypatch.setattr(broker._sender, "send_task", send_task)
    with sample_app.app_context():
        ids = record(10)
        assert sample.outbox.relay() == 0
        by_state = {str(row.event_id): row.state for row in rows(ids)}
    assert {event_id for event_id, state in by_state.items() if state == "sent"} == set(sent)
    assert list(by_state.values()).count("pending") == 7
