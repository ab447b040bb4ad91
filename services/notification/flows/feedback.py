"""What a mail provider tells of our mail after its server took it: it bounced, it was unwanted, it arrived.

Signed as Standard Webhooks says: HMAC-SHA256 of `ID.TIMESTAMP.BODY` in base64, as one of the signatures that the
request brings, with one of our secrets.
"""

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert

from libs.audit import acting_as
from libs.database import utcnow
from libs.observe.logs import get_logger, redact
from libs.service import parts_of
from libs.web.problems import Problem
from services.notification.extensions import db
from services.notification.flows import suppressions
from services.notification.flows.erasure import NOBODY
from services.notification.flows.recipients import mailbox_of
from services.notification.flows.search import id_of
from services.notification.letters.letter import one_line
from services.notification.models import Message, Report, TakenFeedback

log = get_logger("notification.feedback")

TOLERANCE = timedelta(minutes=5)
"""How far the time in a request may be from ours."""
REMEMBERED = timedelta(days=7)
"""For this long an id that was taken is known; providers repeat for hours, and an older request is refused anyway."""
CLEARED_AT_ONCE = 1000
SIGNATURES_READ = 10
"""Of one request: a provider sends one for each of its secrets."""
UNKNOWN = "unknown"
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_LINK = re.compile(r"https?://\S+")


class FeedbackClosed(Problem):
    """No secret is set, so nobody could prove who they are."""

    status, slug, title = 404, "feedback-closed", lazy_gettext("There is nothing here")


class BadSignature(Problem):
    """Not signed by one of our secrets, or too long ago."""

    status, slug, title = 401, "bad-signature", lazy_gettext("This is not signed, or not in time")


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One event of a webhook."""

    type: str
    """A word of REPORTS, or UNKNOWN, which is counted and nothing else."""
    address: str = ""
    message_id: str | None = None
    """The Message-ID of the mail, where the provider knows it."""
    permanent: bool = False
    detail: str = ""


def check_signature(*, webhook_id: str, timestamp: str, signatures: str, body: bytes) -> None:
    """Hold a request to its signature, in constant time. Raises FeedbackClosed, BadSignature."""
    keys = parts_of(current_app).settings.mail_feedback_keys
    if not keys:
        raise FeedbackClosed
    if not _ID.fullmatch(webhook_id) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise BadSignature
    if abs(utcnow().timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        raise BadSignature
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    known = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    brought = [
        part.encode("utf-8", "replace") for part in signatures.split(" ", SIGNATURES_READ)[:SIGNATURES_READ]
    ]
    # No first match ends it: how long it takes says nothing.
    matches = [hmac.compare_digest(one, b"v1," + own) for one in brought for own in known]
    if not any(matches):
        raise BadSignature


def take(*, webhook_id: str, events: Sequence[Feedback]) -> bool:
    """Do what the events of a webhook mean, once. Returns False where it was taken before."""
    with acting_as("webhook:mail-feedback"), db.transaction() as session:
        is_new = session.scalar(
            insert(TakenFeedback)
            .values(webhook_id=webhook_id, taken_at=utcnow())
            .on_conflict_do_nothing(index_elements=[TakenFeedback.webhook_id])
            .returning(TakenFeedback.webhook_id)
        )
        if is_new is None:
            return False
        known = [event for event in events if event.type != UNKNOWN]
        messages = _messages_of(known)
        # In one order, so that two webhooks about the same addresses never wait for each other.
        for event in sorted(known, key=lambda event: mailbox_of(event.address)):
            # What comes back late of somebody's mail who is gone would bring their address back.
            if messages.get(id_of(event.message_id or "")) != NOBODY:
                _believe(event)
        _note(known, messages, now=utcnow())
        db.after_commit(lambda: _count(events))
    log.info("mail_feedback_taken", events=len(events))
    return True


def clear_taken() -> int:
    """Forget ids that were taken long ago. Returns how many."""
    cleared = 0
    while True:
        with db.transaction() as session:
            old = (
                sa.select(TakenFeedback.webhook_id)
                .where(TakenFeedback.taken_at < utcnow() - REMEMBERED)
                .limit(CLEARED_AT_ONCE)
            )
            batch = session.execute(
                sa.delete(TakenFeedback)
                .where(TakenFeedback.webhook_id.in_(old))
                .returning(TakenFeedback.webhook_id)
            ).all()
        cleared += len(batch)
        if len(batch) < CLEARED_AT_ONCE:
            return cleared


def _believe(event: Feedback) -> None:
    if event.type == "complained" or (event.type == "bounced" and event.permanent):
        suppressions.suppress(email=event.address, reason=event.type, detail=_shortened(event.detail))
    elif event.type == "delivered":
        suppressions.lift_for_arrival(email=event.address, said=suppressions.DELIVERED)


def _messages_of(events: Iterable[Feedback]) -> dict[uuid.UUID | None, str]:
    """To whom those of our messages went that the events are about; held, so that nobody is forgotten meanwhile."""
    ids = [found for event in events if (found := id_of(event.message_id or "")) is not None]
    query = sa.select(Message.id, Message.recipient).where(Message.id.in_(ids)).order_by(Message.id)
    return {row.id: row.recipient for row in db.session.execute(query.with_for_update(read=True))}


def _note(events: Iterable[Feedback], messages: Mapping[uuid.UUID | None, str], *, now: datetime) -> None:
    """Keep what is about a message of ours with it; of somebody who is gone without the provider's words."""
    for event in events:
        message_id = id_of(event.message_id or "")
        if message_id in messages:
            is_known = messages[message_id] != NOBODY
            db.session.add(
                Report(
                    message_id=message_id,
                    type=event.type,
                    is_permanent=event.permanent,
                    detail=(_shortened(event.detail) or None) if is_known else None,
                    received_at=now,
                )
            )


def _count(events: Iterable[Feedback]) -> None:
    counter = parts_of(current_app).metrics.mail_feedback
    for event in events:
        counter.labels(type=event.type).inc()


def _shortened(text: str) -> str:
    """What the provider said as it may be kept: one short line without links and credentials."""
    return str(redact(_LINK.sub("[link]", one_line(text))))
