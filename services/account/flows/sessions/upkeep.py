"""Keeping the table of sessions small: a task, and a command for whoever cannot wait."""

import time

import redis
import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.observe.worker_health import note_cleanup
from libs.service import parts_of
from services.account.extensions import audit, db
from services.account.flows.sessions.use import ROWS_PER_BATCH, fold_seen
from services.account.models import SignInSession

log = get_logger("account.sessions")

CLEANUP = "account.clear_expired_sessions"


def clear_expired_sessions(*, seconds: float = 40.0) -> int:
    """Delete the rows of sessions that expired, and of those that ended long ago, in bounded batches.

    Idle ones are judged once their uses are folded in; with Redis away they are left for the next time.
    Returns how many were deleted.
    """
    settings = parts_of(current_app).settings
    now = utcnow()
    expired = [
        SignInSession.ended_at < now - settings.ENDED_SESSIONS_KEPT,
        sa.and_(SignInSession.ended_at.is_(None), SignInSession.absolute_end <= now),
    ]
    deadline = time.monotonic() + seconds
    try:
        fold_seen(seconds=seconds / 2)
    except redis.RedisError as error:
        log.warning("idle_sessions_left", error=type(error).__name__)
    else:
        idle_since = now - settings.SESSION_IDLE_LIFETIME
        expired.append(sa.and_(SignInSession.ended_at.is_(None), SignInSession.last_seen_at <= idle_since))
    deleted = 0
    for condition in expired:
        while time.monotonic() < deadline:
            with db.transaction() as session:
                batch = sa.select(SignInSession.id).where(condition).limit(ROWS_PER_BATCH)
                batch = batch.with_for_update(skip_locked=True)
                done = session.execute(
                    sa.delete(SignInSession)
                    .where(SignInSession.id.in_(batch))
                    .returning(SignInSession.id)
                    .execution_options(synchronize_session=False)
                )
                count = len(done.all())
            deleted += count
            if count < ROWS_PER_BATCH:
                break
    if deleted:
        with db.transaction():
            audit.record("sessions.cleared", target="sessions:expired", after={"count": deleted})
    note_cleanup(parts_of(current_app).redis, CLEANUP)
    return deleted
