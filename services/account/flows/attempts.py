"""Sign-ins half done: a row each, which opens nothing, is finished once, and does not wait for long."""

import time
import uuid

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow, uuid7
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.factors import Evidence
from services.account.flows.login_events import record_failure
from services.account.flows.sessions import StandingChanged
from services.account.flows.visitor import Visitor
from services.account.models import SignInAttempt, User

MAX_TRIES = 10
"""How many tries at its missing step a half-done sign-in has, before it begins again."""
ROWS_PER_BATCH = 200


class AttemptEnded(Problem):
    """There is no such half-done sign-in, or it has ended: the person begins again."""

    status, slug = 409, "attempt-ended"
    title = lazy_gettext("This took too long, or was finished already. Please sign in again.")


def wait_for(
    needs: str,
    *,
    user_id: uuid.UUID,
    evidence: Evidence,
    visitor: Visitor,
    proof: str | None,
    provider: str | None,
) -> uuid.UUID:
    """Keep what was proven until the missing step comes. Returns the attempt's id, for this browser alone.

    Raises StandingChanged for somebody who was erased meanwhile.
    """
    now, attempt_id = utcnow(), uuid7()
    life = parts_of(current_app).settings.ATTEMPT_LIFETIME
    attempt = sa.insert(SignInAttempt).values(
        id=attempt_id,
        user_id=user_id,
        needs=needs,
        amr=list(evidence.amr),
        provider=provider,
        proof=proof,
        ip=visitor.ip,
        user_agent=visitor.printable_user_agent,
        created_at=now,
        expires_at=now + life,
    )
    try:
        with db.single_statements() as session:
            session.execute(attempt)
    except IntegrityError:
        raise StandingChanged from None
    return attempt_id


def find_attempt(attempt_id: uuid.UUID | None, *, needs: str) -> SignInAttempt:
    """A living attempt that waits for this step. Raises AttemptEnded, whatever is wrong with it."""
    with db.single_statements() as session:
        attempt = session.scalar(
            sa.select(SignInAttempt)
            .where(*is_open(attempt_id, needs))
            .execution_options(populate_existing=True)
        )
    if attempt is None:
        raise AttemptEnded
    return attempt


def spend(attempt: SignInAttempt) -> None:
    """End the attempt, in the transaction under way; once. Raises AttemptEnded.

    Whoever closes the account locks the person first and ends attempts then; so does this, and neither waits for
    the other in a ring.
    """
    person = sa.select(User.id).where(User.id == attempt.user_id).with_for_update(read=True).cte("person")
    spent = db.session.execute(
        sa.update(SignInAttempt)
        .where(*is_open(attempt.id, attempt.needs), SignInAttempt.user_id == person.c.id)
        .values(finished_at=utcnow())
        .returning(SignInAttempt.id)
        .execution_options(synchronize_session=False)
    )
    if spent.one_or_none() is None:
        raise AttemptEnded


def end_attempts(session: DatabaseSession, user: User) -> None:
    """End all of the person's, in the transaction under way."""
    session.execute(
        sa.update(SignInAttempt)
        .where(SignInAttempt.user_id == user.id, SignInAttempt.finished_at.is_(None))
        .values(finished_at=utcnow())
        .execution_options(synchronize_session=False)
    )


def claim_try(attempt: SignInAttempt) -> int:
    """Count one more try at the missing step, before it is checked. Returns how many are left after it.

    Raises AttemptEnded when the attempt has none left, or has ended.
    """
    with db.single_statements() as session:
        tries = session.scalar(
            sa.update(SignInAttempt)
            .where(*is_open(attempt.id, attempt.needs), SignInAttempt.failures < MAX_TRIES)
            .values(failures=SignInAttempt.failures + 1)
            .returning(SignInAttempt.failures)
            .execution_options(synchronize_session=False)
        )
    if tries is None:
        raise AttemptEnded
    return MAX_TRIES - tries


def cancel(attempt: SignInAttempt, *, visitor: Visitor) -> None:
    """Its owner thinks better of it. Raises AttemptEnded."""
    with db.transaction():
        spend(attempt)
        record_failure("cancelled", method=first_method(attempt), visitor=visitor, user_id=attempt.user_id)


def first_method(attempt: SignInAttempt) -> str:
    """How the attempt began, in the words of login events."""
    if attempt.provider:
        return attempt.provider
    return "password" if "pwd" in attempt.amr else "passkey"


def expire_attempts(*, seconds: float = 20.0) -> int:
    """Delete attempts whose time is over, in bounded batches; those left unfinished are written down as expired.

    Whoever knew a password and got no further shows up here. Returns how many were deleted.
    """
    deadline = time.monotonic() + seconds
    deleted = 0
    while time.monotonic() < deadline:
        count = _expire_some()
        deleted += count
        if count < ROWS_PER_BATCH:
            break
    return deleted


def _expire_some() -> int:
    with db.transaction() as session:
        over = list(
            session.scalars(
                sa.select(SignInAttempt)
                .where(SignInAttempt.expires_at <= utcnow())
                .limit(ROWS_PER_BATCH)
                .with_for_update(skip_locked=True)
                .execution_options(populate_existing=True)
            )
        )
        for attempt in over:
            if attempt.finished_at is None:
                visitor = Visitor(ip=attempt.ip or Visitor.ip, user_agent=attempt.user_agent)
                method = first_method(attempt)
                record_failure("expired", method=method, visitor=visitor, user_id=attempt.user_id)
            session.delete(attempt)
    return len(over)


def is_open(attempt_id: uuid.UUID | None, needs: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Whether an attempt is this one, waits for this step, and still lives."""
    return (
        SignInAttempt.id == attempt_id,
        SignInAttempt.needs == needs,
        SignInAttempt.finished_at.is_(None),
        SignInAttempt.expires_at > utcnow(),
    )
