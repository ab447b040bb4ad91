"""Telling people of a sign-in from a device that they have not used before."""

import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession

from services.account.extensions import db
from services.account.flows.notices import tell
from services.account.flows.visitor import Visitor
from services.account.models import LoginEvent, User

ROWS_PER_BATCH = 50


def tell_of_new_devices() -> int:
    """Mail what sign-ins have left to be told, at most ROWS_PER_BATCH a call. Returns how many were told.

    The sign-in itself only marks its event: it must not wait for the outbox.
    """
    with db.transaction() as session:
        due = session.execute(
            sa.select(LoginEvent, User)
            .join(User, User.id == LoginEvent.user_id)
            .where(LoginEvent.notice == "due")
            .order_by(LoginEvent.id)
            .limit(ROWS_PER_BATCH)
            .with_for_update(skip_locked=True, of=LoginEvent)
        ).all()
        for event, user in due:
            _tell(session, event, user)
    return len(due)


def _tell(session: DatabaseSession, event: LoginEvent, user: User) -> None:
    visitor = Visitor(ip=event.ip or "", user_agent=event.user_agent)
    context = {"address": event.ip or "", "country": event.country or ""}
    tell(session, user=user, template="new_device", visitor=visitor, context=context)
    event.notice = "sent"
