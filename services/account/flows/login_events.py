"""The record of every attempt to sign in. Successes are written with their session (sessions/beginning.py)."""

import uuid

import sqlalchemy as sa
from flask import current_app

from libs.guard.ratelimit import hashed_user
from libs.observe.logs import correlation_id, get_logger
from libs.service import parts_of
from services.account.extensions import db
from services.account.flows.places import country_of
from services.account.flows.visitor import Visitor
from services.account.models import LoginEvent

log = get_logger("account.login")


def count_attempt() -> None:
    """Somebody tries to sign in, in whatever way."""
    parts_of(current_app).metrics.login_attempts.inc()


def record_failure(
    reason: str, *, method: str, visitor: Visitor, user_id: uuid.UUID | None = None, typed: str | None = None
) -> None:
    """Write down an attempt that failed, for a word of LOGIN_REASONS; in one statement of its own.

    `typed` is what was entered as the address: kept as a keyed hash, and only where it is nobody's.
    """
    parts = parts_of(current_app)
    parts.metrics.login_failures.inc()
    parts.metrics.login_failure_reasons.labels(reason=reason).inc()
    event = sa.insert(LoginEvent).values(
        user_id=user_id,
        typed_hash=hashed_user(parts.settings, typed) if typed and user_id is None else None,
        ip=visitor.ip,
        country=country_of(visitor.ip),
        user_agent=visitor.printable_user_agent,
        method=method,
        success=False,
        failure_reason=reason,
        correlation_id=correlation_id(),
    )
    with db.single_statements() as session:
        session.execute(event)
    log.info("login_refused", reason=reason, method=method)
