"""The inbox: an event takes effect once, however often and in whatever order it arrives."""

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects.postgresql import JSONB, insert

from libs.audit import acting_as
from libs.database import Database, Timestamp, is_away, utcnow
from libs.guard.keyring import KeyRing
from libs.messaging.events import Event, UnknownEvent, contract
from libs.observe.logs import get_logger

log = get_logger("libs.inbox")

ATTEMPTS_BEFORE_PARKING = 8
KEEP_HANDLED = timedelta(days=30)
RETRY_INTERVAL = timedelta(seconds=2)

Handler = Callable[[Any], None]


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
        self._sender: Any = None

    def init_app(
        self, app: Flask, keys: KeyRing, sender: Any, handlers: Mapping[type[Event], Handler]
    ) -> None:
        self._keys, self._sender, self._handlers = keys, sender, handlers

    def receive(self, envelope: Mapping[str, Any]) -> str:
        """Handle one event: inbox row and effect in one transaction, then the confirmation.

        Returns the row's state. A failure is counted and kept; the sweep tries it again, and after
        ATTEMPTS_BEFORE_PARKING failures the event is parked: seen by staff, never dropped, blocking nobody.
        """
        event_id = uuid.UUID(envelope["event_id"])
        try:
            with self.db.transaction() as session, acting_as(f"event:{envelope['producer']}"):
                session.execute(
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
                state = session.execute(
                    sa.select(self.table.c.state).where(self.table.c.event_id == event_id).with_for_update()
                ).scalar_one()
                if state == "received":
                    self._handle(envelope, event_id)
                    session.execute(
                        self.table.update()
                        .where(self.table.c.event_id == event_id)
                        # The content has served; only what proves "seen" is kept.
                        .values(state="handled", envelope=None, last_error=None)
                    )
                    state = "handled"
        except Exception as error:
            if is_away(error):
                # Nothing was decided; the producer sends again.
                raise
            state = self._count_failure(envelope, event_id, error)
        if state in ("handled", "parked"):
            self._confirm(envelope["producer"], event_id, parked=state == "parked")
        return state

    def _handle(self, envelope: Mapping[str, Any], event_id: uuid.UUID) -> None:
        assert self._keys is not None, "the inbox is not bound to an app"
        kind = contract(envelope["name"])
        handler = self._handlers.get(kind)
        if handler is None:
            raise UnknownEvent(envelope["name"])
        handler(kind.from_data(envelope["data"], event_id, self._keys))

    def _count_failure(self, envelope: Mapping[str, Any], event_id: uuid.UUID, error: Exception) -> str:
        final = isinstance(error, UnknownEvent)  # this release will not learn it by waiting
        with self.db.transaction() as session:
            session.execute(
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
            row = session.execute(
                sa.select(self.table.c.attempts, self.table.c.state)
                .where(self.table.c.event_id == event_id)
                .with_for_update()
            ).one()
            if row.state != "received":
                return row.state
            attempts = row.attempts + 1
            state = "parked" if final or attempts >= ATTEMPTS_BEFORE_PARKING else "received"
            session.execute(
                self.table.update()
                .where(self.table.c.event_id == event_id)
                .values(
                    attempts=attempts,
                    state=state,
                    # The kind of error only: its text may hold what was sealed.
                    last_error=type(error).__name__,
                    next_attempt_at=utcnow() + RETRY_INTERVAL * 2 ** min(attempts, 6),
                )
            )
        log.error(
            "event_parked" if state == "parked" else "event_failed",
            name=envelope["name"],
            event_id=str(event_id),
            attempts=attempts,
            error=type(error).__name__,
            exc_info=error,
        )
        return state

    def _confirm(self, producer: str, event_id: uuid.UUID, *, parked: bool) -> None:
        try:
            self._sender.send_task(
                f"{producer}.confirm_events",
                args=[self.subscriber, [str(event_id)], parked],
                queue=producer,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:
            # A lost confirmation costs one repetition, which this inbox answers with another confirmation.
            log.warning("confirmation_lost", event_id=str(event_id), error=type(error).__name__)

    def sweep(self) -> int:
        """Try again what failed and is due. Returns how many were tried."""
        due = self.db.session.execute(
            sa.select(self.table.c.envelope)
            .where(self.table.c.state == "received", self.table.c.next_attempt_at <= utcnow())
            .order_by(self.table.c.next_attempt_at)
            .limit(20)
        ).scalars()
        envelopes = list(due)
        self.db.session.rollback()
        for envelope in envelopes:
            self.receive(envelope)
        return len(envelopes)

    def retry(self, event_id: uuid.UUID) -> str:
        """Try a parked event again, now. Returns its new state. Raises LookupError when there is no such one."""
        with self.db.transaction() as session:
            envelope = session.execute(
                self.table.update()
                .where(self.table.c.event_id == event_id, self.table.c.state == "parked")
                # One failure parks it again at once.
                .values(state="received", attempts=ATTEMPTS_BEFORE_PARKING - 1)
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
