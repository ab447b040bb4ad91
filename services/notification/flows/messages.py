"""Messages as services ask for them and as staff see them; how they leave is in delivery.py."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import selectinload

from libs.database import utcnow, uuid7
from libs.observe.logs import correlation_id, get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.notification.extensions import audit, db, tasks
from services.notification.flows import lifecycle
from services.notification.letters import letter_of
from services.notification.models import STATES, Message

log = get_logger("notification.messages")

PAGE = 50


class UnknownMessage(Problem):
    status, slug, title = 404, "unknown-message", lazy_gettext("There is no such message")


class NothingToRetry(Problem):
    """Only what failed can be tried again."""

    status, slug, title = 409, "nothing-to-retry", lazy_gettext("This message is not failed")


class LinkExpired(Problem):
    """The link in the mail is dead; only a new mail would help."""

    status, slug = 409, "link-expired"
    title = lazy_gettext("The link in this mail has expired: a new one must be asked for")


def request_mail(
    *,
    template: str,
    recipient: str,
    locale: str,
    context: Mapping[str, Any],
    deduplication_key: str,
    expires_at: str | None = None,
    asked_by: str = "",
) -> uuid.UUID | None:
    """Queue a mail, once per deduplication key. Returns its id, None when the key is known already.

    `asked_by` is the service that is told when it will not arrive.

    Raises UnknownTemplate and UnusableContext before anything is kept.
    """
    parts = parts_of(current_app)
    letter_of(template).read(context, public_url=parts.settings.PUBLIC_URL)
    message_id = uuid7()
    sealed = parts.data_keys.seal(json.dumps(dict(context)).encode(), _place(message_id))
    now = utcnow()
    with db.transaction() as session:
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
                expires_at=_moment(expires_at),
                state="queued",
                due_at=now,
                tries=0,
                last_attempt=0,
                correlation_id=correlation_id(),
                asked_by=asked_by,
            )
            .on_conflict_do_nothing(index_elements=[Message.deduplication_key])
            .returning(Message.id)
        ).scalar_one_or_none()
        if added is not None:
            db.after_commit(lambda: tasks.send("deliver", str(message_id)))
    if added is None:
        log.info("mail_repeated", template=template)
    return added


def read_context(message_id: uuid.UUID, sealed: str) -> dict[str, Any]:
    """The context of a message. Raises CannotOpen."""
    content: dict[str, Any] = json.loads(parts_of(current_app).data_keys.open(sealed, _place(message_id)))
    return content


def list_messages(
    *, state: str | None = None, before: uuid.UUID | None = None, limit: int = PAGE
) -> Sequence[Message]:
    """The newest messages first, those in a state, those older than one."""
    query = sa.select(Message).order_by(Message.id.desc()).limit(limit)
    if state in STATES:
        query = query.where(Message.state == state)
    if before is not None:
        query = query.where(Message.id < before)
    return db.session.scalars(query.execution_options(populate_existing=True)).all()


def get_message(message_id: uuid.UUID) -> Message:
    """A message with its attempts. Raises UnknownMessage."""
    message = db.session.scalar(
        sa.select(Message)
        .where(Message.id == message_id)
        .options(selectinload(Message.attempts))
        .execution_options(populate_existing=True)
    )
    if message is None:
        raise UnknownMessage
    return message


def retry(*, message_id: uuid.UUID) -> Message:
    """Queue a failed message again, with as many tries as a new one.

    Raises UnknownMessage, NothingToRetry, LinkExpired.
    """
    with db.transaction() as session:
        message = session.get(Message, message_id, with_for_update=True, populate_existing=True)
        if message is None:
            raise UnknownMessage
        if message.state not in lifecycle.STANDS:
            raise NothingToRetry
        now = utcnow()
        if lifecycle.is_too_late(message, now=now) or message.sealed_context is None:
            raise LinkExpired
        before = {"state": message.state, "reason": message.reason}
        lifecycle.queue_again(message, now=now)
        audit.record(
            "message.retried",
            target=f"message:{message.id}",
            before=before,
            after={"state": "queued"},
        )
        db.after_commit(lambda: tasks.send("deliver", str(message_id)))
    return message


def count(*states: str) -> int:
    return db.session.execute(
        sa.select(sa.func.count()).select_from(Message).where(Message.state.in_(states))
    ).scalar_one()


def _place(message_id: uuid.UUID) -> str:
    return f"messages.context:{message_id}"


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
