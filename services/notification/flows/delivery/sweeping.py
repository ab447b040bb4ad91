"""The sweep: leases that ran out, and what waits without a task."""

from typing import cast

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.logs import get_logger, set_correlation_id
from libs.service import parts_of
from services.notification.extensions import db, tasks
from services.notification.flows import lifecycle
from services.notification.flows.delivery import ending, sending, settling
from services.notification.models import Attempt, Message

log = get_logger("notification.delivery")

SWEEP_BATCH = 20
"""So many tasks set all workers going, each of which goes on with what is due."""
ENOUGH_QUEUED = 100
"""With this many tasks in the queue a sweep would only repeat them."""


def sweep() -> int:
    """Queue what is due and what no task announces any more. Returns how many messages were queued."""
    recover()
    parts = parts_of(current_app)
    if cast(int, parts.redis.llen(tasks.service)) >= ENOUGH_QUEUED or sending.is_left_alone():
        return 0
    due = db.session.scalars(
        sa.select(Message.id)
        .where(Message.state.in_(("queued", "deferred")), Message.due_at <= utcnow())
        .order_by(Message.due_at)
        .limit(SWEEP_BATCH)
    ).all()
    db.session.rollback()
    queued = 0
    for message_id in due:
        if not tasks.send("deliver", str(message_id)):
            break
        queued += 1
    return queued


def recover() -> int:
    """Take over what dead workers held. Returns how many messages that were.

    Of what one held that alone counts as an attempt which it had begun; what its workers do not survive is parked.
    """
    now = utcnow()
    with db.transaction() as session:
        abandoned = session.scalars(
            sa.select(Message)
            .where(Message.state == "sending", Message.due_at <= now)
            .order_by(Message.due_at)
            .limit(SWEEP_BATCH)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).all()
        for message in abandoned:
            set_correlation_id(message.correlation_id)
            if _is_begun(message):
                _count_lost(message)
            else:
                lifecycle.give_back(message, due_at=now)
    return len(abandoned)


def _is_begun(message: Message) -> bool:
    """Whether its newest attempt has no end."""
    attempt = db.session.get(Attempt, (message.id, message.last_attempt))
    return message.last_attempt > 0 and (attempt is None or attempt.result is None)


def _count_lost(message: Message) -> None:
    settling.keep_attempt(
        message_id=message.id,
        number=message.last_attempt,
        started_at=message.due_at - lifecycle.LEASE,
        duration_ms=None,
        result="lost",
        answer="The worker ended before it knew.",
    )
    newest = db.session.scalars(
        sa.select(Attempt.result)
        .where(Attempt.message_id == message.id)
        .order_by(Attempt.number.desc())
        .limit(lifecycle.MOST_LOST)
    ).all()
    lost = next((place for place, result in enumerate(newest) if result != "lost"), len(newest))
    parts_of(current_app).metrics.emails_sent.labels(result="lost").inc()
    log.warning("mail_lost", message_id=str(message.id), template=message.template, in_a_row=lost)
    if lost >= lifecycle.MOST_LOST:
        ending.end(message, lifecycle.LOST)
    else:
        lifecycle.recover(message, lost=lost, now=utcnow())
