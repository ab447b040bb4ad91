"""What notification holds about a person who asks for it: which mail went to them, and in which language."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from libs.messaging.events import NotificationDataCollected
from services.notification.extensions import db, outbox
from services.notification.flows.erasure import LAST_WORDS
from services.notification.flows.recipients import mailbox_of
from services.notification.models import Message, Recipient, Suppression

MOST_MESSAGES = 5000


def _went_to(email: str, until: str | None) -> sa.ColumnElement[bool]:
    """The messages to an address, of an earlier one until the person left it; that very mail among them."""
    same = sa.func.lower(Message.recipient) == sa.func.lower(sa.literal(email))
    if until is None:
        return same
    return sa.and_(same, Message.created_at < datetime.fromisoformat(until) + LAST_WORDS)


def collect(*, request_id: str, sub: str, emails: Collection[str], left: Mapping[str, str]) -> None:
    """Answer account with everything about the person. What the mails said is not among it: it is not kept."""
    with db.transaction() as session:
        recipient = session.execute(
            sa.select(Recipient.email, Recipient.locale).where(Recipient.sub == sub)
        ).one_or_none()
        messages = session.execute(
            sa.select(
                Message.template,
                Message.recipient,
                Message.locale,
                Message.state,
                Message.reason,
                Message.created_at,
                Message.sent_at,
                Message.expires_at,
            )
            .where(sa.or_(sa.false(), *(_went_to(email, left.get(email)) for email in emails)))
            .order_by(Message.id.desc())
            .limit(MOST_MESSAGES)
        ).all()
        suppressed = session.scalars(
            # An earlier address may be somebody else's by now.
            sa.select(Suppression).where(
                Suppression.email.in_([mailbox_of(email) for email in emails if email not in left])
            )
        ).all()
        content: dict[str, Any] = {
            "recipient": {"email": recipient.email, "locale": recipient.locale} if recipient else None,
            "messages": [
                {
                    "mail": row.template,
                    "to": row.recipient,
                    "locale": row.locale,
                    "state": row.state,
                    "reason": row.reason,
                    "asked_for_at": row.created_at.isoformat(),
                    "sent_at": row.sent_at.isoformat() if row.sent_at else None,
                    "expires_at": row.expires_at.isoformat() if row.expires_at else None,
                }
                for row in messages
            ],
            "suppressions": [
                {"email": row.email, "reason": row.reason, "since": row.created_at.isoformat()}
                for row in suppressed
            ],
        }
        outbox.record(NotificationDataCollected(request_id=request_id, content=content))
