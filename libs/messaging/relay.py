"""The relay: takes what is due from an outbox to the subscribers' queues, at once after a commit and by a sweep."""

import os
import threading
import time
import uuid
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.broker import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_QUEUED, Broker, BrokerAway
from libs.messaging.events import SUBSCRIBERS
from libs.observe.logs import get_logger

if TYPE_CHECKING:
    from libs.messaging.outbox import Outbox

log = get_logger("libs.relay")

CONFIRMATION_TIMEOUT = timedelta(seconds=60)
"""A delivery unconfirmed for this long is sent again."""
LONGEST_BACKOFF = timedelta(minutes=10)
HELD_UP_PAUSE_S = 1.0
"""How long the thread waits before it looks again at what the queues had no room for."""
BATCH = 100
BUSY = 100
"""With this many messages in a subscriber's queue nothing is sent there a second time."""
REPEATED = "repeated"
"""The header of a message that was sent before: perhaps whoever took it died of it."""


class Relay:
    """The relay of one outbox in one process: a thread that commits wake, and what a task calls."""

    def __init__(self, outbox: "Outbox", app: Flask, broker: Broker):
        self.outbox, self._app, self._broker = outbox, app, broker
        self.deliveries, self.db = outbox.deliveries, outbox.db
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._is_failing = False
        self.is_asleep = False
        """Whether commits wake nobody: what waits is for another process to send."""

    def wake(self) -> None:
        """Tell the relay thread of this process that something waits; starts the thread at the first call."""
        if self.is_asleep:
            return
        with self._lock:
            if self._pid != os.getpid() or self._thread is None or not self._thread.is_alive():
                # A forked child inherits the objects but not the thread.
                self._wanted = threading.Event()
                self._pid = os.getpid()
                self._thread = threading.Thread(
                    target=self._run, name=f"outbox-{self.outbox.producer}", daemon=True
                )
                self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        wanted, pause_s = self._wanted, None
        while True:
            if pause_s is None:
                wanted.wait()
            else:
                # Deaf meanwhile: every commit wakes this thread, and what keeps rows back is not asked that often.
                time.sleep(pause_s)
            wanted.clear()
            pause_s = self._relay_all()

    def _relay_all(self) -> float | None:
        """Send all that is due. Returns when to look again, in seconds; None when nothing was held up."""
        try:
            with self._app.app_context():
                while True:
                    sent, is_held_up = self.send_due()
                    if sent < BATCH:
                        self._is_failing = False
                        return HELD_UP_PAUSE_S if is_held_up else None
        except BrokerAway:
            return max(self._broker.pause_s, FIRST_PAUSE_S)
        except Exception as error:
            # The rows stay. Said once: the next commit, or the sweep, finds the database back.
            if not self._is_failing:
                log.warning("outbox_relay_failed", producer=self.outbox.producer, error=type(error).__name__)
            self._is_failing = True
            return LONGEST_PAUSE_S

    def send_due(self) -> tuple[int, bool]:
        """How many rows were sent, and whether more is due than the subscribers' queues have room for.

        Rows are claimed with SKIP LOCKED, so any number of relays may run. They are sent under their lock and
        fall due again unless they are confirmed: a crash in between repeats a message, never loses one. A broker
        that is away costs no row anything: it stays as it was. Raises BrokerAway.
        """
        room = self._broker.room(SUBSCRIBERS)
        full = {name for name, free in room.items() if not free}
        # What was sent there is most likely among what waits: another copy would only make the wait longer.
        busy = {name for name, free in room.items() if free <= MOST_QUEUED - BUSY}
        now = utcnow()
        count, is_held_up = 0, False
        with self.db.transaction() as session:
            while True:
                sent, left = self._send_within(self._due(now, full, busy), room)
                self._note_sent(sent, now)
                count += len(sent)
                is_held_up = is_held_up or bool(left)
                if not left or self._broker.pause_s > 0:
                    break
                # Theirs may have filled the batch: behind them others wait whose queues have room.
                full |= left
            if full and not is_held_up:
                late = sa.select(self.deliveries.c.event_id).where(
                    self._is_due(now), self.deliveries.c.subscriber.in_(full)
                )
                is_held_up = bool(session.scalar(sa.select(late.exists())))
        if self._broker.pause_s > 0:
            raise BrokerAway
        return count, is_held_up

    def _is_due(self, now: datetime) -> sa.ColumnElement[bool]:
        return sa.and_(self.deliveries.c.state != "confirmed", self.deliveries.c.next_attempt_at <= now)

    def _due(self, now: datetime, full: set[str], busy: set[str]) -> list[Any]:
        """The next batch, the longest due first, of subscribers whose queues are not full; locked.

        To those who are busy nothing goes a second time.
        """
        events = self.outbox.events
        due = self.db.session.execute(
            sa.select(self.deliveries, events)
            .join(events, events.c.id == self.deliveries.c.event_id)
            .where(
                self._is_due(now),
                self.deliveries.c.subscriber.not_in(sorted(full)),
                sa.or_(
                    self.deliveries.c.state == "pending", self.deliveries.c.subscriber.not_in(sorted(busy))
                ),
            )
            .order_by(self.deliveries.c.next_attempt_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True, of=self.deliveries)
        )
        return list(due.mappings())

    def _send_within(self, rows: list[Any], room: dict[str, int]) -> tuple[list[Any], set[str]]:
        """Send what the queues have room for, until the broker fails. Returns those rows, and whose were left.

        What is sent takes from the room.
        """
        sent: list[Any] = []
        left: set[str] = set()
        for row in rows:
            subscriber = row["subscriber"]
            free = room.get(subscriber, BATCH)
            if free <= 0:
                left.add(subscriber)
                continue
            try:
                self._send(row)
            except BrokerAway:
                break
            room[subscriber] = free - 1
            sent.append(row)
        return sent, left

    def _send(self, row: Any) -> None:
        envelope = {
            "name": row["name"],
            "event_id": str(row["event_id"]),
            "occurred_at": row["occurred_at"].isoformat(),
            "correlation_id": row["correlation_id"],
            "producer": self.outbox.producer,
            "data": row["data"],
        }
        subscriber = row["subscriber"]
        self._broker.send(
            f"{subscriber}.receive_event",
            [envelope],
            queue=subscriber,
            headers={REPEATED: row["attempts"] > 0},
            number=row["correlation_id"],
        )

    def _note_sent(self, rows: list[Any], now: datetime) -> None:
        """They fall due again after the wait for a confirmation; a parked one stays parked, and is only asked about."""
        alike: dict[tuple[str, int], list[uuid.UUID]] = defaultdict(list)
        for row in rows:
            alike[row["subscriber"], row["attempts"]].append(row["event_id"])
        columns = self.deliveries.c
        for (subscriber, attempts), ids in alike.items():
            jitter = 1 + 0.2 * sa.func.random()  # so that crowds spread out
            wait = sa.func.make_interval(0, 0, 0, 0, 0, 0, resend_after(attempts).total_seconds() * jitter)
            self.db.session.execute(
                self.deliveries.update()
                .where(
                    columns.event_id.in_(ids),
                    columns.subscriber == subscriber,
                    # A confirmation that overtook us stays.
                    columns.state != "confirmed",
                )
                .values(
                    state=sa.case((columns.state == "parked", "parked"), else_="sent"),
                    attempts=columns.attempts + 1,
                    sent_at=now,
                    next_attempt_at=sa.literal(now) + wait,
                )
            )


def resend_after(attempts: int) -> timedelta:
    """How long to wait for a confirmation: a minute, doubling to ten."""
    return min(CONFIRMATION_TIMEOUT * 2 ** min(attempts, 10), LONGEST_BACKOFF)
