"""What the last minutes showed of the mail server; nobody is called for it."""

from datetime import timedelta

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.health import Component
from libs.service import parts_of
from services.notification.extensions import db
from services.notification.models import Attempt, Message

LAST_MINUTES = timedelta(minutes=20)
"""Longer than the longest wait between two tries, so that trouble stays in sight."""
WORKS, FAILS = ("sent", "refused"), ("deferred", "unreachable")
"""Results that speak for the server, and against it: one that refuses an address works."""
ENOUGH_FAILED = 3


def mail_health() -> Component:
    """Degraded while the server is left alone, when its newest answers were none or all `later`, and with mail held."""
    if parts_of(current_app).breakers.refusing():
        return Component("email", "degraded", None, {"reason": "left_alone"})
    newest = db.session.scalars(
        sa.select(Attempt.result)
        .where(Attempt.started_at > utcnow() - LAST_MINUTES, Attempt.result.in_((*WORKS, *FAILS)))
        .order_by(Attempt.started_at.desc())
        .limit(ENOUGH_FAILED)
    ).all()
    if newest and (newest[0] == "unreachable" or not set(newest) & set(WORKS)):
        return Component("email", "degraded", None, {"reason": newest[0]})
    held = sa.select(Message.id).where(Message.state == "held").limit(1)
    if db.session.scalar(held) is not None:
        return Component("email", "degraded", None, {"reason": "held"})
    return Component("email")
