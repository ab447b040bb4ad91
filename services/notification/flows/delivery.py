"""Delivery: a worker leases a message, hands it over with no transaction open, and writes down how it ended."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.guard.keyring import CannotOpen
from libs.observe.health import Component
from libs.observe.logs import get_logger, set_correlation_id
from libs.service import parts_of
from libs.web.languages import DEFAULT, supported
from services.notification.extensions import db, tasks
from services.notification.flows import lifecycle, mailbox, messages, recipients
from services.notification.letters import UnknownTemplate, letter_of
from services.notification.letters.letter import UnusableContext
from services.notification.models import WAITING, Attempt, Message
from services.notification.transport import Outcome, hand_over
from services.notification.writing import Mail, envelope, write

log = get_logger("notification.delivery")

SWEEP_BATCH = 100
ENOUGH_QUEUED = 100
"""With this many tasks in the queue a sweep would only repeat them."""
LAST_MINUTES = timedelta(minutes=20)
"""What health looks at: longer than the longest wait between two tries, so that trouble stays in sight."""

WORKS, FAILS = ("sent", "refused"), ("deferred", "unreachable")
"""Results that speak for the server, and against it: one that refuses an address works."""
ENOUGH_FAILED = 3
SETTLE_PAUSES_S = (0.2, 1.0, 3.0)
"""How long to wait for a database that went away in the middle of a delivery."""


class Unwritable(Exception):
    """No mail can be made of this message, however often we try."""


@dataclass(frozen=True)
class Lease:
    """What a worker needs of the message it holds."""

    message_id: uuid.UUID
    attempt: int
    template: str
    recipient: str
    language: str
    header_id: str
    created_at: datetime
    sealed_context: str = field(repr=False)


def deliver(*, message_id: uuid.UUID) -> str | None:
    """Try to deliver a message that is due. Returns the attempt's result, None when there was nothing to do.

    Side by side and repeated calls are harmless: one gets the lease. A crash after the server took the mail
    and before that is written down repeats it once, under the same Message-ID.
    """
    lease = _take(message_id)
    if lease is None:
        return None
    began = time.monotonic()
    try:
        outcome = _send(lease)
    except Unwritable as error:
        outcome = Outcome("unwritable", str(error))
    except sa.exc.OperationalError:
        raise  # the database is away: nothing can be written down, and the lease runs out by itself
    except Exception as error:
        # A message that trips a fault of ours waits like any other, and the rest goes on.
        log.error("delivery_broke", message_id=str(message_id), exc_info=error)
        outcome = Outcome("deferred", f"A fault of ours: {type(error).__name__}.")
    duration_ms = round((time.monotonic() - began) * 1000)
    for pause_s in SETTLE_PAUSES_S:
        try:
            _settle(lease, outcome, duration_ms=duration_ms)
            return outcome.result
        except sa.exc.OperationalError:
            # The server may have the mail: forgetting that would send it twice.
            time.sleep(pause_s)
    _settle(lease, outcome, duration_ms=duration_ms)
    return outcome.result


def sweep() -> int:
    """Queue what is due and what no task announces any more. Returns how many messages were queued."""
    parts = parts_of(current_app)
    if cast(int, parts.redis.llen(tasks.service)) >= ENOUGH_QUEUED:
        return 0
    due = _due_ids(utcnow())
    db.session.rollback()
    queued = 0
    for message_id in due:
        if not tasks.send("deliver", str(message_id)):
            break
        queued += 1
    return queued


def mail_health() -> Component:
    """What the attempts of the last minutes showed; nobody is called for it."""
    newest = db.session.scalars(
        sa.select(Attempt.result)
        .where(Attempt.started_at > utcnow() - LAST_MINUTES, Attempt.result.in_((*WORKS, *FAILS)))
        .order_by(Attempt.started_at.desc())
        .limit(ENOUGH_FAILED)
    ).all()
    if newest and (newest[0] == "unreachable" or not set(newest) & set(WORKS)):
        return Component("email", "degraded", None, {"reason": newest[0]})
    return Component("email")


def _due_ids(now: datetime) -> Sequence[uuid.UUID]:
    return db.session.scalars(
        sa.select(Message.id)
        .where(Message.state.in_(WAITING), Message.due_at <= now)
        .order_by(Message.due_at)
        .limit(SWEEP_BATCH)
    ).all()


def _take(message_id: uuid.UUID) -> Lease | None:
    """Lease the message, unless it is not due, held by another worker, or past its time."""
    now = utcnow()
    with db.transaction() as session:
        message = session.scalar(
            sa.select(Message)
            .where(
                Message.id == message_id,
                Message.state.in_(WAITING),
                Message.due_at <= now,
            )
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if message is None:
            return None
        set_correlation_id(message.correlation_id)
        _note_lost_attempt(message)
        if lifecycle.is_too_late(message, now=now):
            _give_up(message, lifecycle.TOO_LATE)
            return None
        if message.tries >= lifecycle.MOST_TRIES:
            _give_up(message, lifecycle.TOO_MANY_TRIES)
            return None
        session.add(lifecycle.lease(message, now=now))
        assert message.sealed_context is not None, "only what was sent or came too late has none"
        return Lease(
            message_id=message.id,
            attempt=message.last_attempt,
            template=message.template,
            recipient=message.recipient,
            language=supported(recipients.locale_of(message.recipient))
            or supported(message.locale)
            or DEFAULT,
            header_id=message.header_id,
            created_at=message.created_at,
            sealed_context=message.sealed_context,
        )


def _note_lost_attempt(message: Message) -> None:
    """An attempt without an end belongs to a worker that died."""
    db.session.execute(
        sa.update(Attempt)
        .where(Attempt.message_id == message.id, Attempt.result.is_(None))
        .values(result="lost", answer="The worker ended before it knew.")
    )


def _give_up(message: Message, reason: str) -> None:
    lifecycle.end(message, reason)
    log.warning("mail_failed", message_id=str(message.id), template=message.template, reason=reason)


def _send(lease: Lease) -> Outcome:
    settings = parts_of(current_app).settings
    mail = _write(lease)
    try:
        message = envelope(
            mail,
            sender=settings.sender,
            recipient=lease.recipient,
            header_id=lease.header_id,
            date=lease.created_at,
        )
    except ValueError as error:
        raise Unwritable("This is not an address that mail can go to.") from error
    if settings.smtp_server is None:
        mailbox.keep(mail, message_id=lease.message_id, recipient=lease.recipient)
        return Outcome("sent", "In the mailbox.")
    return hand_over(
        message,
        server=settings.smtp_server,
        sender=settings.sender.addr_spec,
        recipient=message["To"].addresses[0].addr_spec,
        timeout_s=settings.SMTP_TIMEOUT_S,
        our_name=settings.host,
    )


def _write(lease: Lease) -> Mail:
    try:
        context = messages.read_context(lease.message_id, lease.sealed_context)
        public_url = parts_of(current_app).settings.PUBLIC_URL
        letter = letter_of(lease.template).read(context, public_url=public_url)
    except CannotOpen as error:
        raise Unwritable("Its content cannot be opened: DATA_ENCRYPTION_KEYS lacks the key.") from error
    except (UnknownTemplate, UnusableContext) as error:
        raise Unwritable("This release has no mail that fits it.") from error
    return write(letter, language=lease.language)


def _settle(lease: Lease, outcome: Outcome, *, duration_ms: int) -> None:
    """Write down how the attempt ended, and move the message if the lease still holds."""
    now = utcnow()
    with db.transaction() as session:
        message = session.get(Message, lease.message_id, with_for_update=True, populate_existing=True)
        if message is None:
            return
        session.execute(
            sa.update(Attempt)
            .where(Attempt.message_id == lease.message_id, Attempt.number == lease.attempt)
            .values(result=outcome.result, answer=outcome.answer, duration_ms=duration_ms)
        )
        holds = message.state == "sending" and message.last_attempt == lease.attempt
        if outcome.result == "sent" and message.state != "sent":
            # A fact, even when it comes after the lease ran out.
            lifecycle.mark_sent(message, now=now)
        elif holds and outcome.result in FAILS:
            lifecycle.put_back(message, now=now)
        elif holds:
            lifecycle.end(message, outcome.result)
        state = message.state
    parts_of(current_app).metrics.emails_sent.labels(result=outcome.result).inc()
    record = log.info if outcome.result == "sent" else log.warning
    record(
        "mail_" + outcome.result,
        message_id=str(lease.message_id),
        template=lease.template,
        attempt=lease.attempt,
        state=state,
        duration_ms=duration_ms,
    )
