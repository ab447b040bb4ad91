"""The outbox: events leave in the transaction that made them true, and stay until each subscriber confirmed."""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects.postgresql import JSONB

from libs.database import Database, Timestamp, first_uuid7, utcnow, uuid7
from libs.guard.keyring import KeyRing
from libs.messaging.broker import Broker, BrokerAway
from libs.messaging.events import Event
from libs.messaging.relay import LONGEST_BACKOFF, Relay
from libs.observe.logs import correlation_id

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
                "ix_outbox_deliveries_open",
                "next_attempt_at",
                postgresql_where=sa.text("state <> 'confirmed'"),
            ),
        )
        self._keys: KeyRing | None = None
        self._relay: Relay | None = None

    def init_app(self, app: Flask, keys: KeyRing, broker: Broker) -> None:
        self._keys, self._relay = keys, Relay(self, app, broker)

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

    def wake(self) -> None:
        """Have the relay thread of this process send what waits."""
        assert self._relay is not None
        self._relay.wake()

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """What is committed meanwhile waits: no thread of this process sends it, but the sweep of one that serves."""
        assert self._relay is not None
        self._relay.is_asleep = True
        try:
            yield
        finally:
            self._relay.is_asleep = False

    def relay(self) -> int:
        """Send a batch of what is due. Returns how many events were sent; none with the broker away."""
        assert self._relay is not None
        with contextlib.suppress(BrokerAway):
            return self._relay.send_due()[0]
        return 0

    # -- after the subscriber's commit -------------------------------------------------------------------------

    def confirm(self, subscriber: str, event_ids: list[str], *, parked: bool = False) -> None:
        """The subscriber has these events: done, or parked in its inbox where staff can see them.

        A parked one is asked about every LONGEST_BACKOFF: once it could be handled after all, its row is confirmed
        here even if that was lost on its way.
        """
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
                .values(state=state, confirmed_at=utcnow(), next_attempt_at=utcnow() + LONGEST_BACKOFF)
            )

    def send_again(self, *, confirmed_since: datetime) -> int:
        """Have what was confirmed since then sent once more: after a restore the subscriber's database may be older.

        What was sent and not confirmed is due at once, for the queues are empty. Whoever has an event already says so,
        and nothing happens twice. Returns how many deliveries that is. The caller's transaction holds it.
        """
        columns = self.deliveries.c
        is_in_doubt = sa.and_(columns.state == "confirmed", columns.confirmed_at >= confirmed_since)
        done = self.db.session.execute(
            self.deliveries.update()
            .where(sa.or_(columns.state == "sent", is_in_doubt))
            .values(state="pending", confirmed_at=None, next_attempt_at=utcnow())
        )
        self.db.after_commit(self.wake)
        return int(done.rowcount)  # type: ignore[attr-defined]

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
        oldest = (
            # Ids sort by time; no join of all that waits.
            sa.select(self.deliveries.c.event_id)
            .where(self.deliveries.c.state.in_(("pending", "sent")))
            .order_by(self.deliveries.c.event_id)
            .limit(1)
        )
        return self.db.session.execute(
            sa.select(self.events.c.occurred_at).where(self.events.c.id == oldest.scalar_subquery())
        ).scalar_one_or_none()

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
                .where(self.events.c.id < first_uuid7(utcnow() - KEEP_CONFIRMED), ~sa.exists(open_rows))
                .limit(1000)
            )
            return session.execute(self.events.delete().where(self.events.c.id.in_(old))).rowcount  # type: ignore[attr-defined]
