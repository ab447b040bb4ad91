"""The janitor: what serves nobody any more is deleted, in bounded batches."""

import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.service import parts_of
from services.account.extensions import db
from services.account.models import (
    Block,
    DataRequest,
    EmailChange,
    KnownDevice,
    LoginEvent,
    PasswordLink,
    ProviderVisit,
    SecondFactorReset,
    SecurityNotice,
    SpentChallenge,
)

ROWS_PER_BATCH = 500


def clear_old_rows(*, seconds: float = 40.0) -> int:
    """Delete old rows of every kind, for at most so many seconds. Returns how many went."""
    deadline = time.monotonic() + seconds
    deleted = 0
    for table, condition in _old():
        while time.monotonic() < deadline:
            count = _delete_some(table, condition)
            deleted += count
            if count < ROWS_PER_BATCH:
                break
    return deleted


def _old() -> Iterator[tuple[Any, sa.ColumnElement[bool]]]:
    """What may go: each table, and which of its rows."""
    settings, now = parts_of(current_app).settings, utcnow()
    yield LoginEvent, LoginEvent.id < first_uuid7(now - settings.LOGIN_EVENTS_KEPT)
    yield SecondFactorReset, SecondFactorReset.ended_at < now - settings.ENDED_SESSIONS_KEPT
    yield ProviderVisit, ProviderVisit.expires_at < now
    yield SpentChallenge, SpentChallenge.expires_at < now
    yield KnownDevice, KnownDevice.last_seen_at < now - settings.DEVICES_KEPT
    yield Block, sa.and_(Block.expires_at < now - settings.LOGIN_EVENTS_KEPT)
    # Of a link that has expired, whoever holds it may ask for a fresh one, and is told why it does not work.
    for table in (PasswordLink, SecurityNotice):
        yield table, table.expires_at < now - settings.ENDED_SESSIONS_KEPT
    # One that was confirmed says which address was the person's before, as long as there is the person.
    yield (
        EmailChange,
        sa.and_(
            EmailChange.expires_at < now - settings.ENDED_SESSIONS_KEPT, EmailChange.previous_email.is_(None)
        ),
    )
    yield DataRequest, DataRequest.expires_at < now


def _delete_some(table: Any, condition: sa.ColumnElement[bool]) -> int:
    keys = sa.inspect(table).primary_key
    with db.transaction() as session:
        batch = sa.select(*keys).where(condition).limit(ROWS_PER_BATCH).with_for_update(skip_locked=True)
        done = session.execute(
            sa.delete(table).where(sa.tuple_(*keys).in_(batch)).execution_options(synchronize_session=False)
        )
        return int(done.rowcount)  # type: ignore[attr-defined]
