"""Forgetting people who are gone: their messages lose address, content and what servers answered."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from libs.observe.logs import get_logger
from services.notification.extensions import audit, db
from services.notification.flows import lifecycle, recipients, suppressions
from services.notification.models import Attempt, Erasure, Message, Report

log = get_logger("notification.erasure")

NOBODY = "erased"
"""What stands where the address was."""
LAST_WORDS = timedelta(hours=1)
"""For this long after the event mail that was on its way to us is forgotten too; it may overtake and be overtaken."""
MESSAGES_PER_BATCH = 500


def erase(*, sub: str, emails: Iterable[str], left: Mapping[str, str]) -> None:
    """Forget a person: what was sent at once, what still waits (their last mail among it) once it has left.

    Of an earlier address what was sent until they `left` it.
    """
    with db.transaction() as session:
        known = recipients.forget(sub=sub)
        for email in {*emails, *([known] if known else [])}:
            until = datetime.fromisoformat(left[email]) if email in left else utcnow()
            session.execute(
                insert(Erasure).values(sub=sub, email=email, erased_at=until).on_conflict_do_nothing()
            )
        forgotten = sum(_forget_messages(erasure) for erasure in _erasures(Erasure.sub == sub))
        audit.record("recipient.erased", target=f"user:{sub}", after={"messages": forgotten})
    log.info("recipient_erased", sub=sub, messages=forgotten)


def forget_erased() -> int:
    """Go on with what was begun; an address whose last mail has left is forgotten itself. Returns how many messages."""
    forgotten = 0
    for erasure in _erasures(sa.true()):
        with db.transaction() as session:
            done = _forget_messages(erasure)
            forgotten += done
            is_over = erasure.erased_at < utcnow() - LAST_WORDS
            if is_over and not _is_anything_left(erasure):
                session.execute(
                    sa.delete(Erasure).where(Erasure.sub == erasure.sub, Erasure.email == erasure.email)
                )
    return forgotten


def _erasures(which: sa.ColumnElement[bool]) -> list[Erasure]:
    query = sa.select(Erasure).where(which).order_by(Erasure.erased_at).limit(100)
    with db.transaction() as session:
        return list(session.scalars(query))


def _theirs(erasure: Erasure) -> list[sa.ColumnElement[bool]]:
    """Messages of before; who comes back to the same address later is a new person here."""
    return [
        sa.func.lower(Message.recipient) == sa.func.lower(sa.literal(erasure.email)),
        Message.created_at < erasure.erased_at + LAST_WORDS,
    ]


def _is_anything_left(erasure: Erasure) -> bool:
    """What still waits, what the batch had no place for, what somebody held just now."""
    left = sa.select(Message.id).where(*_theirs(erasure))
    return db.session.scalar(left.limit(1)) is not None


def _forget_messages(erasure: Erasure) -> int:
    """What is over of theirs, a batch; and that the address was suppressed, which their last mail may have caused."""
    suppressions.forget(email=erasure.email, before=erasure.erased_at + LAST_WORDS)
    over = (
        sa.select(Message.id)
        .where(*_theirs(erasure), Message.state.in_(("sent", *lifecycle.STANDS)))
        .limit(MESSAGES_PER_BATCH)
        .with_for_update(skip_locked=True)
    )
    ids: list[uuid.UUID] = list(db.session.scalars(over))
    if ids:
        db.session.execute(
            sa.update(Message)
            .where(Message.id.in_(ids))
            .values(recipient=NOBODY, sealed_context=None)
            .execution_options(synchronize_session=False)
        )
        # Servers and providers like to repeat the address that they do not take.
        db.session.execute(sa.update(Attempt).where(Attempt.message_id.in_(ids)).values(answer=None))
        db.session.execute(sa.update(Report).where(Report.message_id.in_(ids)).values(detail=None))
    return len(ids)
