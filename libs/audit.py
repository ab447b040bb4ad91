"""Audit: an append-only record of who changed what, before and after, secrets redacted."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from libs.database import Database, Timestamp, utcnow, uuid7
from libs.observe.logs import correlation_id, redact

_actor: ContextVar[str] = ContextVar("actor", default="system")


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Everything recorded in the block is this actor's: `user:SUB`, `command:LOGIN`, `client:ID`, `task:NAME`."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    return _actor.get()


def set_actor(actor: str) -> None:
    """For doors whose whole context belongs to one actor (a request, a command)."""
    _actor.set(actor)


class Audit:
    """The audit table of one service."""

    def __init__(self, db: Database):
        self.db = db
        self.table = sa.Table(
            "audit_entries",
            db.metadata,
            sa.Column("id", sa.Uuid, primary_key=True, default=uuid7),
            sa.Column("created_at", Timestamp, nullable=False, default=utcnow, index=True),
            sa.Column("actor", sa.Text, nullable=False),
            sa.Column("action", sa.Text, nullable=False),
            sa.Column("target", sa.Text, nullable=False, index=True),
            sa.Column("before", JSONB),
            sa.Column("after", JSONB),
            sa.Column("reason", sa.Text),
            sa.Column("correlation_id", sa.Text),
        )

    def record(
        self,
        action: str,
        *,
        target: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        """Add an entry to the transaction under way.

        `action` is `noun.verb` in the past tense (`application.approved`), `target` is `kind:id`.
        """
        self.db.session.execute(
            self.table.insert().values(
                actor=_actor.get(),
                action=action,
                target=target,
                before=redact(_plain(before)) if before is not None else None,
                after=redact(_plain(after)) if after is not None else None,
                reason=reason,
                correlation_id=correlation_id(),
            )
        )

    def entries(
        self,
        *,
        target: str | None = None,
        actor: str | None = None,
        before: tuple[datetime, uuid.UUID] | None = None,
        limit: int = 50,
    ) -> list[sa.Row[Any]]:
        """The newest entries first: of one thing, or by one actor; older than the entry of this created_at and id."""
        query = (
            sa.select(self.table)
            .order_by(self.table.c.created_at.desc(), self.table.c.id.desc())
            .limit(limit)
        )
        if target:
            query = query.where(self.table.c.target == target)
        if actor:
            query = query.where(self.table.c.actor == actor)
        if before:
            keys = sa.tuple_(self.table.c.created_at, self.table.c.id)
            query = query.where(keys < sa.tuple_(sa.literal(before[0]), sa.literal(before[1])))
        return list(self.db.session.execute(query))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, (str, int, float, bool)) or value is None:
            return value
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value]

    return {key: plain(value) for key, value in values.items()}
