"""Security mails: each tells its owner of a change, and carries the link "It wasn't me"."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import force_locale
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.messaging.events import MailRequested
from libs.service import parts_of
from services.account.extensions import outbox
from services.account.flows.devices import device_name
from services.account.flows.visitor import Visitor
from services.account.models import SecurityNotice, User


def tell(
    session: DatabaseSession,
    *,
    user: User,
    template: str,
    visitor: Visitor | None = None,
    context: Mapping[str, Any] | None = None,
    to: str | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Ask for a security mail, in the transaction under way.

    `template` is a SecurityNotice of notification's; `context` what it wants beside name, moment, device and link.
    `visitor` is whose doing it was, None for staff's or the clock's. `to` is another address than the account's,
    for whoever has just lost it. After `expires_at` the mail would come too late, and is not sent.
    """
    settings = parts_of(current_app).settings
    token, digest = single_use.make()
    now = utcnow()
    notice = SecurityNotice(
        id=uuid7(),
        user_id=user.id,
        kind=template,
        email=to or user.email,
        token_digest=digest,
        created_at=now,
        expires_at=now + settings.NOTICE_LIFETIME,
    )
    session.add(notice)
    session.flush()
    with force_locale(user.locale):
        device = device_name(visitor.user_agent) if visitor else ""
    outbox.record(
        MailRequested(
            template=template,
            recipient=notice.email,
            locale=user.locale,
            context={
                "name": user.name,
                "moment": now.isoformat(),
                "device": device,
                "not_me": f"{settings.PUBLIC_URL}/account/not-me?token={token}",
                **(context or {}),
            },
            deduplication_key=f"{template}:{notice.id}",
            expires_at=expires_at.isoformat() if expires_at else None,
        )
    )


def end_notices(session: DatabaseSession, user: User, *, but_to: str | None = None) -> None:
    """End the links "It wasn't me" that are out, but those mailed to one address; in the transaction under way."""
    session.execute(
        sa.update(SecurityNotice)
        .where(
            SecurityNotice.user_id == user.id,
            SecurityNotice.used_at.is_(None),
            SecurityNotice.email.is_distinct_from(but_to),
        )
        .values(used_at=utcnow())
        .execution_options(synchronize_session=False)
    )
