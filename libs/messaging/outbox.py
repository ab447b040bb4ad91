"""The outbox: events leave in the transaction that made them true, and stay until each subscriber confirmed."""

import os
import random
import threading
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects.postgresql import JSONB

from libs.database import Database, Timestamp, utcnow, uuid7
from libs.guard.keyring import KeyRing
from libs.messaging.events import Event
from libs.observe.logs import correlation_id, get_logger

log = get_logger("libs.outbox")

CONFIRMATION_TIMEOUT = timedelta(seconds=60)
"""A delivery unconfirmed for this long is sent again."""
LONGEST_BACKOFF = timedelta(minutes=10)
BROKER_RETRY_INTERVAL = timedelta(seconds=5)
"""When the broker was away, rows wait this long for their next try."""
BATCH = 100
KEEP_CONFIRMED = timedelta(days=7)


class Outbox:
    """The outbox of one service: two tables, a relay thread per process, and a sweep by task."""

    def __init__(self, db: Database, producer: str):
        self.db = db
        self.producer = producer
        self.events = sa.Table(
            "outbox_events",
            db.metadata,
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("occurred_at", Timestamp, nullable=False),
            sa.Column("correlation_id", sa.Text),
            sa.Column("data", JSONB, nullable=False),
        )
        self.deliveries = sa.Table(
            "outbox_deliveries",
            db.metadata,
            sa.Column(
                "event_id", sa.Uuid, sa.ForeignKey("outbox_events.id", ondelete="CASCADE"), primary_key=True
            ),
            sa.Column("subscriber", sa.Text, primary_key=True),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False, default=0),
            sa.Column("next_attempt_at", Timestamp, nullable=False),
            sa.Column("sent_at", Timestamp),
            sa.Column("confirmed_at", Timestamp),
            sa.CheckConstraint("state IN ('pending', 'sent', 'confirmed', 'parked')", name="state"),
            # The relay looks for what is due among the few rows that are not done.
            sa.Index(
                "ix_outbox_deliveries_due",
                "next_attempt_at",
                postgresql_where=sa.text("state IN ('pending', 'sent')"),
            ),
        )
        self._app: Flask | None = None
        self._keys: KeyRing | None = None
        self._sender: Any = None
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def init_app(self, app: Flask, keys: KeyRing, sender: Any) -> None:
        """`sender` is a Celery app whose send_task reaches the broker."""
        self._app, self._keys, self._sender = app, keys, sender

    # -- in the flow -----------------------------------------------------------------------------------------

    def record(self, event: Event, *, to: str | None = None) -> uuid.UUID:
        """Add the event to the transaction under way; the relay is woken once it is committed.

        `to` is the one of its subscribers whom it concerns; without it all of them are told.
        """
        assert to is None or to in event.SUBSCRIBERS, f"{to} does not subscribe to {event.NAME}"
        assert self._keys is not None, "the outbox is not bound to an app"
        event_id = uuid7()
        now = utcnow()
        self.db.session.execute(
            self.events.insert().values(
                id=event_id,
                name=event.NAME,
                occurred_at=now,
                correlation_id=correlation_id(),
                data=event.to_data(event_id, self._keys),
            )
        )
        self.db.session.execute(
            self.deliveries.insert(),
            [
                {"event_id": event_id, "subscriber": subscriber, "state": "pending", "next_attempt_at": now}
                for subscriber in ((to,) if to else event.SUBSCRIBERS)
            ],
        )
        self.db.after_commit(self.wake)
        return event_id

    # -- the relay -------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Tell the relay thread of this process that something waits; starts the thread at the first call."""
        with self._lock:
            if self._pid != os.getpid() or self._thread is None or not self._thread.is_alive():
                # A forked child inherits the objects but not the thread.
                self._wanted = threading.Event()
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name=f"outbox-{self.producer}", daemon=True)
                self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        assert self._app is not None
        wanted = self._wanted
        while wanted.wait():
            wanted.clear()
            try:
                with self._app.app_context():
                    while self.relay() == BATCH:
                        pass
            except Exception as error:
                # The rows stay; the sweep takes them once database or broker is back.
                log.warning("outbox_relay_failed", producer=self.producer, error=type(error).__name__)

    def relay(self) -> int:
        """Send what is due to the subscribers' queues. Returns how many rows were taken.

        Rows are claimed with SKIP LOCKED, so any number of relays may run. They are sent under their lock and
        fall due again unless they are confirmed: a crash in between repeats a message, never loses one.
        """
        now = utcnow()
        with self.db.transaction() as session:
            due = session.execute(
                sa.select(self.deliveries, self.events)
                .join(self.events, self.events.c.id == self.deliveries.c.event_id)
                .where(
                    self.deliveries.c.state.in_(("pending", "sent")), self.deliveries.c.next_attempt_at <= now
                )
                .order_by(self.deliveries.c.next_attempt_at)
                .limit(BATCH)
                .with_for_update(skip_locked=True, of=self.deliveries)
            ).mappings()
            rows = list(due)
            for row in rows:
                try:
                    self._send(row)
                except Exception as error:
                    log.warning("broker_away", producer=self.producer, error=type(error).__name__)
                    self._postpone(rows[rows.index(row) :])
                    return 0
                self._set(
                    [row["event_id"]],
                    row["subscriber"],
                    state="sent",
                    attempts=row["attempts"] + 1,
                    sent_at=now,
                    next_attempt_at=now + resend_after(row["attempts"]),
                )
        return len(rows)

    def _send(self, row: Any) -> None:
        envelope = {
            "name": row["name"],
            "event_id": str(row["event_id"]),
            "occurred_at": row["occurred_at"].isoformat(),
            "correlation_id": row["correlation_id"],
            "producer": self.producer,
            "data": row["data"],
        }
        subscriber = row["subscriber"]
        self._sender.send_task(
            f"{subscriber}.receive_event", args=[envelope], queue=subscriber, retry=False, ignore_result=True
        )

    def _postpone(self, rows: Iterable[Any]) -> None:
        for row in rows:
            self._set(
                [row["event_id"]],
                row["subscriber"],
                state="pending",
                next_attempt_at=utcnow() + BROKER_RETRY_INTERVAL,
            )

    def _set(self, event_ids: list[uuid.UUID], subscriber: str, **values: Any) -> int:
        result = self.db.session.execute(
            self.deliveries.update()
            .where(
                self.deliveries.c.event_id.in_(event_ids),
                self.deliveries.c.subscriber == subscriber,
                # A confirmation that overtook us stays.
                self.deliveries.c.state.in_(("pending", "sent")),
            )
            .values(**values)
        )
        return result.rowcount  # type: ignore[attr-defined]

    # -- after the subscriber's commit -------------------------------------------------------------------------

    def confirm(self, subscriber: str, event_ids: list[str], *, parked: bool = False) -> None:
        """The subscriber has these events: done, or parked in its inbox where staff can see them."""
        ids = [uuid.UUID(event_id) for event_id in event_ids]
        state = "parked" if parked else "confirmed"
        with self.db.transaction() as session:
            session.execute(
                self.deliveries.update()
                .where(
                    self.deliveries.c.event_id.in_(ids),
                    self.deliveries.c.subscriber == subscriber,
                    self.deliveries.c.state != "confirmed",
                )
                .values(state=state, confirmed_at=utcnow())
            )

    # -- seen from outside -------------------------------------------------------------------------------------

    def waiting(self, event_ids: Iterable[uuid.UUID] | None = None) -> int:
        """How many deliveries are not confirmed yet, of these events or of all."""
        query = (
            sa.select(sa.func.count())
            .select_from(self.deliveries)
            .where(self.deliveries.c.state.in_(("pending", "sent")))
        )
        if event_ids is not None:
            query = query.where(self.deliveries.c.event_id.in_(list(event_ids)))
        return self.db.session.execute(query).scalar_one()

    def oldest_waiting(self) -> datetime | None:
        """When the oldest event that some subscriber has not confirmed occurred."""
        return self.db.session.execute(
            sa.select(sa.func.min(self.events.c.occurred_at))
            .join(self.deliveries, self.deliveries.c.event_id == self.events.c.id)
            .where(self.deliveries.c.state.in_(("pending", "sent")))
        ).scalar_one()

    def listing(self, *, state: str | None = None, limit: int = 100) -> list[sa.Row[Any]]:
        """Deliveries, newest first: event_id, name, occurred_at, subscriber, state, attempts, next_attempt_at."""
        query = (
            sa.select(
                self.deliveries.c.event_id,
                self.events.c.name,
                self.events.c.occurred_at,
                self.deliveries.c.subscriber,
                self.deliveries.c.state,
                self.deliveries.c.attempts,
                self.deliveries.c.next_attempt_at,
            )
            .join(self.events, self.events.c.id == self.deliveries.c.event_id)
            .order_by(self.events.c.occurred_at.desc())
            .limit(limit)
        )
        if state == "pending":
            query = query.where(self.deliveries.c.state.in_(("pending", "sent")))
        elif state:
            query = query.where(self.deliveries.c.state == state)
        return list(self.db.session.execute(query))

    def clear_confirmed(self) -> int:
        """Delete events whose subscribers all confirmed a week ago, at most a thousand a call."""
        with self.db.transaction() as session:
            open_rows = sa.select(self.deliveries.c.event_id).where(
                self.deliveries.c.event_id == self.events.c.id, self.deliveries.c.state != "confirmed"
            )
            old = (
                sa.select(self.events.c.id)
                .where(self.events.c.occurred_at < utcnow() - KEEP_CONFIRMED, ~sa.exists(open_rows))
                .limit(1000)
            )
            return session.execute(self.events.delete().where(self.events.c.id.in_(old))).rowcount  # type: ignore[attr-defined]


def resend_after(attempts: int) -> timedelta:
    """How long to wait for a confirmation: a minute, doubling to ten, with jitter so that crowds spread out."""
    wait = min(CONFIRMATION_TIMEOUT * 2 ** min(attempts, 10), LONGEST_BACKOFF)
    return wait * random.uniform(1.0, 1.2)  # noqa: S311  not a secret
