"""Messages as services ask for them and as staff see them; how they leave is in delivery.py."""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import selectinload

from libs.database import utcnow, uuid7
from libs.observe.logs import correlation_id, get_logger
from libs.restoring import is_undone
from libs.service import parts_of
from libs.web.problems import Problem
from services.notification.extensions import audit, db, tasks
from services.notification.flows import lifecycle, suppressions
from services.notification.letters import letter_of
from services.notification.models import Message

log = get_logger("notification.messages")

RETRY_BATCH = 100
"""Messages that are queued again in one transaction."""


class UnknownMessage(Problem):
    status, slug, title = 404, "unknown-message", lazy_gettext("There is no such message")


class NothingToRetry(Problem):
    """It waits, or is on its way: it leaves by itself."""

    status, slug, title = 409, "nothing-to-retry", lazy_gettext("This message is on its way already")


class LinkExpired(Problem):
    """The link in the mail is dead; only a new mail would help."""

    status, slug = 409, "link-expired"
    title = lazy_gettext("The link in this mail has expired: a new one must be asked for")


class ContentGone(Problem):
    """What a mail said goes with its delivery; only a new mail would help."""

    status, slug = 409, "content-gone"
    title = lazy_gettext("What this mail said is not kept any more: a new one must be asked for")


class AddressSuppressed(Problem):
    """Queued again it would only be suppressed again."""

    status, slug = 409, "address-suppressed"
    title = lazy_gettext("Its address is written to no more: lift that first")


def request_mail(
    *,
    template: str,
    recipient: str,
    locale: str,
    context: Mapping[str, Any],
    deduplication_key: str,
    expires_at: str | None = None,
    asked_by: str = "",
    asked_at: datetime | None = None,
) -> uuid.UUID | None:
    """Queue a mail, once per deduplication key. Returns its id, None when the key is known already.

    `asked_by` is the service that is told when it will not arrive. What was `asked_at` a time before this database was
    restored is held: it may have been taken, and have left, in the time that is undone.

    Raises UnknownTemplate and UnusableContext before anything is kept.
    """
    parts = parts_of(current_app)
    letter_of(template).read(context, public_url=parts.settings.PUBLIC_URL)
    message_id = uuid7()
    sealed = parts.data_keys.seal(json.dumps(dict(context)).encode(), context_place(message_id))
    now, until = utcnow(), _moment(expires_at)
    with db.transaction() as session:
        is_held = is_undone(asked_at)
        if is_held and until is not None:
            until = min(until, now)  # the restore ended its link
        added = session.execute(
            insert(Message)
            .values(
                id=message_id,
                deduplication_key=deduplication_key,
                header_id=f"<{message_id.hex}@{parts.settings.sender.domain}>",
                template=template,
                recipient=recipient.strip(),
                locale=locale,
                sealed_context=sealed,
                created_at=now,
                expires_at=until,
                state="held" if is_held else "queued",
                due_at=now,
                tries=0,
                last_attempt=0,
                correlation_id=correlation_id(),
                asked_by=asked_by,
            )
            .on_conflict_do_nothing(index_elements=[Message.deduplication_key])
            .returning(Message.id)
        ).scalar_one_or_none()
        if added is not None and not is_held:
            db.after_commit(lambda: tasks.send("deliver", str(message_id)))
    if added is None:
        log.info("mail_repeated", template=template)
    return added


def read_context(message_id: uuid.UUID, sealed: str) -> dict[str, Any]:
    """The context of a message. Raises CannotOpen."""
    content: dict[str, Any] = json.loads(
        parts_of(current_app).data_keys.open(sealed, context_place(message_id))
    )
    return content


def get_message(message_id: uuid.UUID) -> Message:
    """A message with its attempts and what came back. Raises UnknownMessage."""
    message = db.session.scalar(
        sa.select(Message)
        .where(Message.id == message_id)
        .options(selectinload(Message.attempts), selectinload(Message.reports))
        .execution_options(populate_existing=True)
    )
    if message is None:
        raise UnknownMessage
    return message


def retry(*, message_id: uuid.UUID) -> Message:
    """Queue a message again, the same one, with as many tries as a new one has.

    Raises UnknownMessage, NothingToRetry, LinkExpired, ContentGone, AddressSuppressed.
    """
    with db.transaction() as session:
        message = session.get(Message, message_id, with_for_update=True, populate_existing=True)
        if message is None:
            raise UnknownMessage
        if (why_not := obstacle(message)) is not None:
            raise why_not
        _queue_again(message)
    return message


def obstacle(message: Message) -> Problem | None:
    """What keeps a message from being queued again; None where nothing does."""
    if message.state == "held":
        return None  # what is dead in it ends it as too late, and its sender hears of that
    if message.state not in (*lifecycle.STANDS, "sent"):
        return NothingToRetry()
    if lifecycle.is_too_late(message, now=utcnow()):
        return LinkExpired()
    if message.sealed_context is None or message.state == "sent":
        return ContentGone()
    if message.state == "suppressed" and suppressions.is_suppressed(message.recipient):
        return AddressSuppressed()
    return None


def retry_undelivered() -> Iterator[int]:
    """Queue again whatever is failed or parked and can still be sent, oldest first; yields how many of each batch."""
    after = uuid.UUID(int=0)
    while True:
        with db.transaction() as session:
            batch = session.scalars(
                sa.select(Message)
                .where(
                    Message.state.in_(("failed", "parked")),
                    Message.id > after,
                    Message.sealed_context.is_not(None),
                )
                .order_by(Message.id)
                .limit(RETRY_BATCH)
                .with_for_update(skip_locked=True)
                .execution_options(populate_existing=True)
            ).all()
            queued = [message for message in batch if obstacle(message) is None]
            for message in queued:
                _queue_again(message)
        if not batch:
            return
        after = batch[-1].id
        yield len(queued)


def _queue_again(message: Message) -> None:
    before = {"state": message.state, "reason": message.reason}
    lifecycle.queue_again(message, now=utcnow())
    audit.record("message.retried", target=f"message:{message.id}", before=before, after={"state": "queued"})
    message_id = str(message.id)
    db.after_commit(lambda: tasks.send("deliver", message_id))


def count(*states: str) -> int:
    return db.session.execute(
        sa.select(sa.func.count()).select_from(Message).where(Message.state.in_(states))
    ).scalar_one()


def context_place(message_id: uuid.UUID) -> str:
    """Where a context belongs, for the key ring."""
    return f"messages.context:{message_id}"


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
