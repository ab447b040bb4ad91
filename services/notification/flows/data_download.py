"""What notification holds about a person who asks for it: which mail went to them, and in which language."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from libs.messaging.events import NotificationDataCollected
from services.notification.extensions import db, outbox
from services.notification.models import Message, Recipient

MOST_MESSAGES = 5000


def collect(*, request_id: str, sub: str, emails: Iterable[str]) -> None:
    """Answer account with everything about the person. What the mails said is not among it: it is not kept."""
    folded = [sa.func.lower(sa.literal(email)) for email in emails]
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
            .where(sa.func.lower(Message.recipient).in_(folded))
            .order_by(Message.id.desc())
            .limit(MOST_MESSAGES)
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
        }
        outbox.record(NotificationDataCollected(request_id=request_id, content=content))
