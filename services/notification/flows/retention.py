"""How long we keep messages: what they would have said, and that they were."""

import time
import uuid
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app

from libs.database import first_uuid7, utcnow
from libs.messaging.worker import LONGEST_TASK_S
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.notification.extensions import db
from services.notification.flows import lifecycle
from services.notification.models import Message

log = get_logger("notification.retention")

BATCH = 500


def clear_messages() -> int:
    """Forget old contents and old messages, a batch at a time. Returns how many rows were touched.

    Age counts from when the mail was asked for. What still waits stays, however old it is.
    """
    settings = parts_of(current_app).settings
    deadline = time.monotonic() + LONGEST_TASK_S / 3
    touched = 0
    for clear, kept in ((_forget_contents, settings.CONTENT_KEPT), (_delete, settings.MESSAGES_KEPT)):
        done = BATCH
        while done == BATCH and time.monotonic() < deadline:
            done = clear(kept)
            touched += done
    if touched:
        log.info("messages_cleared", rows=touched)
    return touched


def _forget_contents(kept: timedelta) -> int:
    """What was sent has none any more; the rest would be for staff to try again."""
    old = _older_than(kept, lifecycle.STANDS).where(Message.sealed_context.is_not(None))
    with db.transaction() as session:
        return session.execute(
            sa.update(Message)
            .where(Message.id.in_(old.scalar_subquery()))
            .values(sealed_context=None)
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]


def _delete(kept: timedelta) -> int:
    """With their attempts, and the mailbox's copies."""
    old = _older_than(kept, ("sent", *lifecycle.STANDS))
    with db.transaction() as session:
        return session.execute(
            sa.delete(Message)
            .where(Message.id.in_(old.scalar_subquery()))
            .execution_options(synchronize_session=False)
        ).rowcount  # type: ignore[attr-defined]


def _older_than(kept: timedelta, states: tuple[str, ...]) -> sa.Select[tuple[uuid.UUID]]:
    return (
        sa.select(Message.id)
        .where(Message.state.in_(states), Message.id < first_uuid7(utcnow() - kept))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
