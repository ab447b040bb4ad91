"""Taking messages that are due, and what is decided about them before anybody is spoken to."""

import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import Timestamp, utcnow
from libs.prepared import Prepared
from libs.service import parts_of
from services.notification.extensions import db
from services.notification.flows import lifecycle, recipients, suppressions
from services.notification.flows.delivery import ending
from services.notification.letters import LETTERS
from services.notification.models import Message, Recipient, Suppression

CAP_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a worker needs of a message that it holds."""

    id: uuid.UUID
    lease_ends: datetime
    """The proof that it is held."""
    was_due_at: datetime
    template: str
    recipient: str
    locale: str
    header_id: str
    created_at: datetime
    expires_at: datetime | None
    tries: int
    correlation_id: str | None
    sealed_context: str = field(repr=False)
    member_locale: str | None
    """The language of the member with this address, where there is one."""
    suppressed: str | None
    """Why the address is suppressed."""
    recent: int
    """How much mail it was sent within CAP_WINDOW, or is being sent."""

    @property
    def is_security(self) -> bool:
        letter = LETTERS.get(self.template)
        return letter is not None and letter.IS_SECURITY


Begun = tuple[Held, int]
"""A message whose attempt counts, and the number of that."""


def _count(address: sa.ColumnElement[str], *which: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    query = sa.select(sa.func.count()).select_from(Message)
    return query.where(sa.func.lower(Message.recipient) == address, *which).scalar_subquery()


def _taking(*which: sa.ColumnElement[bool]) -> Prepared:
    """Take, and look up what decides: one statement, whatever number it takes.

    Addresses of plain ASCII, which nearly all are, fold alike here and in Python; for the others _held() asks again.
    """
    taken = lifecycle.taking(which)
    address = sa.func.lower(taken.c.recipient)
    lookups = (
        sa.select(Recipient.locale)
        .where(Recipient.email == address)
        .order_by(Recipient.version.desc())
        .limit(1)
        .scalar_subquery()
        .label("member_locale"),
        sa.select(Suppression.reason)
        .where(Suppression.email == address)
        .scalar_subquery()
        .label("suppressed"),
        (
            _count(address, Message.sent_at > sa.bindparam("window_begins", type_=Timestamp))
            # What others are about to send counts too: it may be more at a time than the cap.
            + _count(address, Message.sent_at.is_(None), Message.state == "sending")
        ).label("recent"),
    )
    columns = (
        *("id", "was_due_at", "template", "recipient", "locale", "header_id", "created_at", "expires_at"),
        *("tries", "correlation_id", "sealed_context"),
    )
    return Prepared(sa.select(*(taken.c[name] for name in columns), *lookups).order_by(taken.c.was_due_at))


_TAKE_DUE = _taking()
_TAKE_ONE = _taking(Message.id == sa.bindparam("wanted_id", type_=sa.Uuid))


def take(message_id: uuid.UUID) -> list[Held]:
    """This message, if it is due and nobody holds it."""
    return _take(_TAKE_ONE, wanted_id=message_id, most=1) or []


def take_due(most: int) -> list[Held] | None:
    """Up to so many messages that are due, the longest first; None when there are none.

    Those that shall not be sent now are put aside meanwhile.
    """
    return _take(_TAKE_DUE, most=most)


def begin(messages: Sequence[Held]) -> list[Begun]:
    """From here on each counts as an attempt; but not what is another's by now."""
    return numbered(db.fetch_all(lifecycle.BEGIN, beginning(messages)), messages) if messages else []


def beginning(messages: Sequence[Held]) -> dict[str, Any]:
    """The parameters of a statement that begins with these, of one batch."""
    return {
        "begun_ids": [message.id for message in messages],
        "begun_lease": messages[0].lease_ends if messages else None,
    }


def numbered(rows: Sequence[sa.Row[Any]], messages: Sequence[Held]) -> list[Begun]:
    """What such a statement began, in the order in which it was taken."""
    numbers = {row.id: row.last_attempt for row in rows}
    return [(message, numbers[message.id]) for message in messages if message.id in numbers]


def _take(statement: Prepared, **parameters: Any) -> list[Held] | None:
    now = utcnow()
    times = {"now": now, "lease_ends": now + lifecycle.LEASE, "window_begins": now - CAP_WINDOW}
    rows = db.fetch_all(statement, {**times, **parameters})
    taken = [_held(row, times["lease_ends"]) for row in rows]
    to_each: Counter[str] = Counter()
    chosen = []
    for message in taken:
        address = recipients.folded(message.recipient)
        verdict = _verdict(message, already=message.recent + to_each[address], now=now)
        if verdict is None:
            to_each[address] += 1
            chosen.append(message)
        else:
            _put_aside(message, verdict)
    return chosen if taken else None


def _held(row: sa.Row[Any], lease_ends: datetime) -> Held:
    values = dict(row._mapping)
    if not row.recipient.isascii():
        values["member_locale"] = recipients.locale_of(row.recipient)
        values["suppressed"] = suppressions.reason_of(row.recipient)
        db.session.rollback()
    return Held(lease_ends=lease_ends, **values)


def _verdict(message: Held, *, already: int, now: datetime) -> str | None:
    """Why it shall not be sent now, or never: a word of lifecycle.py. Security mail is always tried."""
    if message.expires_at is not None and message.expires_at <= now:
        return lifecycle.TOO_LATE
    if message.tries >= lifecycle.MOST_TRIES:
        return lifecycle.TOO_MANY_TRIES
    if message.is_security:
        return None
    if message.suppressed:
        return lifecycle.SUPPRESSED
    if already >= parts_of(current_app).settings.MAIL_PER_RECIPIENT:
        return lifecycle.CAPPED
    return None


def _put_aside(held: Held, verdict: str) -> None:
    with db.transaction() as session:
        message = session.get(Message, held.id, with_for_update=True, populate_existing=True)
        if message is None or (message.state, message.due_at) != ("sending", held.lease_ends):
            return  # somebody else has it by now
        if verdict == lifecycle.CAPPED:
            lifecycle.give_back(message, due_at=_next_turn(held.recipient), reason=verdict)
        else:
            ending.end(message, verdict)


def _next_turn(recipient: str) -> datetime:
    """When the oldest mail that counts leaves the window; somewhat later, so that a crowd spreads out."""
    oldest = db.session.scalar(
        sa.select(sa.func.min(Message.sent_at)).where(
            sa.func.lower(Message.recipient) == sa.func.lower(sa.literal(recipient)),
            Message.sent_at > utcnow() - CAP_WINDOW,
        )
    )
    jitter = timedelta(seconds=random.uniform(0, 60))  # noqa: S311  not a secret
    return (oldest or utcnow()) + CAP_WINDOW + jitter
