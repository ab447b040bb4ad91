"""The janitor: what serves nobody any more is deleted, in bounded batches, each found by an index."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.observe.logs import get_logger
from libs.observe.worker_health import note_cleanup
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.models import AccessToken, Grant, InitialAccessToken, LogoutDelivery, RefreshToken, Refusal

log = get_logger("OIDC.clearing")

CLEANUP = "oidc.clear_expired"
ROWS_PER_BATCH = 500
KEEP_UNREDEEMED = timedelta(days=1)
KEEP_ENDED = timedelta(days=30)
"""Ended grants stay for whoever looks into an incident."""
KEEP_SPENT = timedelta(days=30)
"""A spent refresh token is known for this long, so that its return ends the family; later it is just unknown."""
KEEP_EXPIRED = timedelta(days=1)
"""Of access tokens, after their end."""
KEEP_DELIVERED = timedelta(days=30)
"""Of logout tokens, sent or parked."""


def clear_old_rows(*, seconds: float = 20.0) -> dict[str, int]:
    """Delete old rows of every kind, for at most so many seconds. Returns how many went, by table."""
    deadline = time.monotonic() + seconds
    gone: dict[str, int] = {}
    for table, condition in _old():
        while time.monotonic() < deadline:
            count = _delete_some(table, condition)
            gone[table.__tablename__] = gone.get(table.__tablename__, 0) + count
            if count < ROWS_PER_BATCH:
                break
        else:
            return gone  # the next run goes on
    note_cleanup(parts_of(current_app).redis, CLEANUP)
    return gone


def _old() -> Iterator[tuple[Any, sa.ColumnElement[bool]]]:
    """What may go: each table, and which of its rows."""
    settings, now = parts_of(current_app).settings, utcnow()
    yield Grant, sa.and_(Grant.code_used_at.is_(None), Grant.code_expires_at < now - KEEP_UNREDEEMED)
    yield Grant, Grant.ended_at < now - KEEP_ENDED
    yield Grant, Grant.expires_at < now - KEEP_ENDED
    yield RefreshToken, RefreshToken.used_at < now - KEEP_SPENT
    yield AccessToken, AccessToken.expires_at < now - KEEP_EXPIRED
    yield Refusal, Refusal.id < first_uuid7(now - settings.REFUSALS_KEPT)
    yield InitialAccessToken, InitialAccessToken.expires_at < now - KEEP_ENDED
    yield (
        LogoutDelivery,
        sa.and_(
            LogoutDelivery.state.in_(("delivered", "parked")),
            LogoutDelivery.id < first_uuid7(now - KEEP_DELIVERED),
        ),
    )


def _delete_some(table: Any, condition: sa.ColumnElement[bool]) -> int:
    """One batch, in a transaction of its own; what somebody holds is left for the next time."""
    with db.transaction() as session:
        old = sa.select(table.id).where(condition).limit(ROWS_PER_BATCH).with_for_update(skip_locked=True)
        deleted = session.execute(
            sa.delete(table)
            .where(table.id.in_(old.scalar_subquery()))
            .returning(table.id)
            .execution_options(synchronize_session=False)
        )
        return len(deleted.all())


def table_sizes() -> list[tuple[str, int, int]]:
    """Every table with its rows, as PostgreSQL estimates them, and its bytes with indexes; costs no scan."""
    found = db.fetch_all(
        sa.text(
            "SELECT relname, greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
    )
    return [(name, rows, size) for name, rows, size in found]
