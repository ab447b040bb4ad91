"""The inbox: an event takes effect once, however often and in whatever order it arrives."""

import contextlib
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects.postgresql import JSONB, insert

from libs.audit import acting_as
from libs.database import Database, Timestamp, is_away, utcnow
from libs.guard.keyring import KeyRing
from libs.messaging.broker import MOST_QUEUED, Broker, BrokerAway, QueueFull
from libs.messaging.events import EVENTS, Event, UnknownEvent, contract
from libs.observe.logs import get_logger

log = get_logger("libs.inbox")

ATTEMPTS_BEFORE_PARKING = 8
KEEP_HANDLED = timedelta(days=30)
RETRY_INTERVAL = timedelta(seconds=2)
SWEEP_BATCH = 20
SWEEP_LEASE = timedelta(minutes=1)
"""No task runs longer: what a sweep took and did not finish is taken by a later one."""
NO_END = "NoEnd"
"""The error of a try of which nobody knows how it ended: its worker died, or hangs."""

Handler = Callable[[Any], None]
_occurred_at: ContextVar[datetime | None] = ContextVar("occurred_at", default=None)


def occurred_at() -> datetime | None:
    """When the event that is being handled was recorded by its producer; None outside of a handler."""
    return _occurred_at.get()


class Inbox:
    """The inbox of one service. Rows: `received` (being tried), `handled`, `parked` (kept until tried again)."""

    def __init__(self, db: Database, subscriber: str):
        self.db = db
        self.subscriber = subscriber
        self.table = sa.Table(
            "inbox_events",
            db.metadata,
            sa.Column("event_id", sa.Uuid, primary_key=True),
            sa.Column("name", sa.Text, nullable=False),
            sa.Column("producer", sa.Text, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("attempts", sa.Integer, nullable=False, default=0),
            sa.Column("received_at", Timestamp, nullable=False, default=utcnow, index=True),
            sa.Column("next_attempt_at", Timestamp, nullable=False, default=utcnow),
            sa.Column("envelope", JSONB),
            sa.Column("last_error", sa.Text),
            sa.CheckConstraint("state IN ('received', 'handled', 'parked')", name="state"),
            sa.Index(
                "ix_inbox_events_open", "next_attempt_at", postgresql_where=sa.text("state <> 'handled'")
            ),
        )
        self._handlers: Mapping[type[Event], Handler] = {}
        self._keys: KeyRing | None = None
        self._broker: Broker | None = None

    def init_app(
        self, app: Flask, keys: KeyRing, broker: Broker, handlers: Mapping[type[Event], Handler]
    ) -> None:
        self._keys, self._broker, self._handlers = keys, broker, handlers

    def receive(self, envelope: Mapping[str, Any], *, is_repeated: bool = False) -> str:
        """Handle one event: inbox row and effect in one transaction, then the confirmation.

        Returns the row's state. A failure is counted and kept; the sweep tries it again, and after
        ATTEMPTS_BEFORE_PARKING failures the event is parked: seen by staff, never dropped, blocking nobody.
        A repeated one may have killed who took it last, who could not count that: its try is counted beforehand.
        """
        event_id = uuid.UUID(envelope["event_id"])
        state = self._count_beforehand(envelope, event_id) if is_repeated else "received"
        if state == "received":
            state = self._try(envelope, event_id, is_counted=is_repeated)
        if state in ("handled", "parked"):
            self._confirm(envelope["producer"], event_id, parked=state == "parked")
        return state

    def _try(self, envelope: Mapping[str, Any], event_id: uuid.UUID, *, is_counted: bool) -> str:
        is_claimed = False
        try:
            with self.db.transaction() as session, acting_as(f"event:{envelope['producer']}"):
                state = self._claim(envelope, event_id).state
                is_claimed = True
                if state == "received":
                    self._handle(envelope, event_id)
                    session.execute(
                        self.table.update()
                        .where(self.table.c.event_id == event_id)
                        # The content has served; only what proves "seen" is kept.
                        .values(state="handled", envelope=None, last_error=None)
                    )
                    state = "handled"
                return state
        except Exception as error:
            if is_away(error) or not is_claimed:
                # Nothing was decided (somebody else may hold the event); the producer sends again.
                raise
            return self._count_failure(envelope, event_id, error, is_counted=is_counted)

    def _claim(self, envelope: Mapping[str, Any], event_id: uuid.UUID) -> sa.Row[Any]:
        """The event's row, made at its first arrival, held until the transaction under way ends."""
        self.db.session.execute(
            insert(self.table)
            .values(
                event_id=event_id,
                name=envelope["name"],
                producer=envelope["producer"],
                state="received",
                envelope=dict(envelope),
            )
            .on_conflict_do_nothing()
        )
        return self.db.session.execute(
            sa.select(self.table.c.state, self.table.c.attempts, self.table.c.last_error)
            .where(self.table.c.event_id == event_id)
            .with_for_update()
        ).one()

    def _handle(self, envelope: Mapping[str, Any], event_id: uuid.UUID) -> None:
        assert self._keys is not None, "the inbox is not bound to an app"
        kind = contract(envelope["name"])
        handler = self._handlers.get(kind)
        if handler is None:
            raise UnknownEvent(envelope["name"])
        token = _occurred_at.set(datetime.fromisoformat(envelope["occurred_at"]))
        try:
            handler(kind.from_data(envelope["data"], event_id, self._keys))
        finally:
            _occurred_at.reset(token)

    def _count_beforehand(self, envelope: Mapping[str, Any], event_id: uuid.UUID) -> str:
        with self.db.transaction():
            row = self._claim(envelope, event_id)
            if row.state != "received":
                return row.state
            attempts = row.attempts + 1
            # As many tries as for one that fails in words.
            state = "parked" if attempts > ATTEMPTS_BEFORE_PARKING else "received"
            self._keep(event_id, state=state, attempts=attempts, last_error=row.last_error or NO_END)
        if state == "parked":
            log.error("event_parked", name=envelope["name"], event_id=str(event_id), attempts=attempts)
        return state

    def _count_failure(
        self, envelope: Mapping[str, Any], event_id: uuid.UUID, error: Exception, *, is_counted: bool
    ) -> str:
        final = isinstance(error, UnknownEvent)  # this release will not learn it by waiting
        with self.db.transaction():
            row = self._claim(envelope, event_id)
            if row.state != "received":
                return row.state
            attempts = row.attempts if is_counted else row.attempts + 1
            state = "parked" if final or attempts >= ATTEMPTS_BEFORE_PARKING else "received"
            # The kind of error only: its text may hold what was sealed.
            self._keep(event_id, state=state, attempts=attempts, last_error=type(error).__name__)
        log.error(
            "event_parked" if state == "parked" else "event_failed",
            name=envelope["name"],
            event_id=str(event_id),
            attempts=attempts,
            error=type(error).__name__,
            exc_info=error,
        )
        return state

    def _keep(self, event_id: uuid.UUID, *, state: str, attempts: int, last_error: str) -> None:
        self.db.session.execute(
            self.table.update()
            .where(self.table.c.event_id == event_id)
            .values(
                attempts=attempts,
                state=state,
                last_error=last_error,
                next_attempt_at=utcnow() + RETRY_INTERVAL * 2 ** min(attempts, 6),
            )
        )

    def _confirm(self, producer: str, event_id: uuid.UUID, *, parked: bool) -> None:
        """A lost confirmation costs one repetition, which this inbox answers with another confirmation."""
        assert self._broker is not None
        with contextlib.suppress(BrokerAway, QueueFull):
            self._broker.send(
                f"{producer}.confirm_events",
                [self.subscriber, [str(event_id)], parked],
                queue=producer,
                most=MOST_QUEUED,
            )

    def sweep(self) -> int:
        """Try again what failed and is due, and what an earlier release did not know. Returns how many were tried.

        Two sweeps take different ones; what dies with its sweep is due again after the lease.
        """
        columns = self.table.c
        known = [contract_.NAME for contract_ in EVENTS.values() if contract_ in self._handlers]
        is_due = sa.and_(columns.state == "received", columns.next_attempt_at <= utcnow())
        is_learnt = sa.and_(
            columns.state == "parked", columns.last_error == UnknownEvent.__name__, columns.name.in_(known)
        )
        with self.db.transaction() as session:
            due = (
                sa.select(columns.event_id)
                .where(sa.or_(is_due, is_learnt), columns.state != "handled")
                .order_by(columns.next_attempt_at)
                .limit(SWEEP_BATCH)
                .with_for_update(skip_locked=True)
            )
            envelopes = list(
                session.scalars(
                    self.table.update()
                    .where(columns.event_id.in_(due.scalar_subquery()))
                    .values(state="received", next_attempt_at=utcnow() + SWEEP_LEASE)
                    .returning(columns.envelope)
                )
            )
        for envelope in envelopes:
            try:
                self.receive(envelope, is_repeated=True)
            except Exception as error:
                if is_away(error):
                    raise
                # Somebody else holds this one; the others are not to wait for that.
                log.warning("event_held", event_id=envelope["event_id"], error=type(error).__name__)
        return len(envelopes)

    def retry(self, event_id: uuid.UUID) -> str:
        """Try a parked event again, now. Returns its new state. Raises LookupError when there is no such one."""
        with self.db.transaction() as session:
            envelope = session.execute(
                self.table.update()
                .where(self.table.c.event_id == event_id, self.table.c.state == "parked")
                # One failure parks it again at once.
                .values(
                    state="received",
                    attempts=ATTEMPTS_BEFORE_PARKING - 1,
                    next_attempt_at=utcnow() + SWEEP_LEASE,
                )
                .returning(self.table.c.envelope)
            ).scalar_one_or_none()
        if envelope is None:
            raise LookupError(event_id)
        return self.receive(envelope)

    def parked(self, limit: int = 100) -> list[sa.Row[Any]]:
        """Parked events, oldest first: event_id, name, producer, attempts, received_at, last_error."""
        columns = self.table.c
        return list(
            self.db.session.execute(
                sa.select(
                    columns.event_id,
                    columns.name,
                    columns.producer,
                    columns.attempts,
                    columns.received_at,
                    columns.last_error,
                )
                .where(columns.state == "parked")
                .order_by(columns.received_at)
                .limit(limit)
            )
        )

    def count_parked(self) -> int:
        return self.db.session.execute(
            sa.select(sa.func.count()).select_from(self.table).where(self.table.c.state == "parked")
        ).scalar_one()

    def clear_handled(self) -> int:
        """Forget events handled 30 days ago, at most a thousand a call."""
        with self.db.transaction() as session:
            old = (
                sa.select(self.table.c.event_id)
                .where(self.table.c.state == "handled", self.table.c.received_at < utcnow() - KEEP_HANDLED)
                .limit(1000)
            )
            return session.execute(self.table.delete().where(self.table.c.event_id.in_(old))).rowcount  # type: ignore[attr-defined]
