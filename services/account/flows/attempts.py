"""Sign-ins half done: a row each, which opens nothing, is finished once, and does not wait for long."""

import uuid

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.database import utcnow, uuid7
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.factors import Evidence
from services.account.models import SignInAttempt


class AttemptEnded(Problem):
    """There is no such half-done sign-in, or it has ended: the person begins again."""

    status, slug = 409, "attempt-ended"
    title = lazy_gettext("This took too long, or was finished already. Please sign in again.")


def wait_for(
    needs: str, *, user_id: uuid.UUID, evidence: Evidence, proof: str | None, provider: str | None
) -> uuid.UUID:
    """Keep what was proven until the missing step comes. Returns the attempt's id, for this browser alone."""
    now, attempt_id = utcnow(), uuid7()
    life = parts_of(current_app).settings.ATTEMPT_LIFETIME
    with db.single_statements() as session:
        session.execute(
            sa.insert(SignInAttempt).values(
                id=attempt_id,
                user_id=user_id,
                needs=needs,
                amr=list(evidence.amr),
                provider=provider,
                proof=proof,
                created_at=now,
                expires_at=now + life,
            )
        )
    return attempt_id


def find_attempt(attempt_id: uuid.UUID | None, *, needs: str) -> SignInAttempt:
    """A living attempt that waits for this step. Raises AttemptEnded, whatever is wrong with it."""
    with db.single_statements() as session:
        attempt = session.scalar(
            sa.select(SignInAttempt)
            .where(*_is_open(attempt_id, needs))
            .execution_options(populate_existing=True)
        )
    if attempt is None:
        raise AttemptEnded
    return attempt


def spend(attempt: SignInAttempt) -> None:
    """End the attempt, in the transaction under way; once. Raises AttemptEnded."""
    spent = db.session.execute(
        sa.update(SignInAttempt)
        .where(*_is_open(attempt.id, attempt.needs))
        .values(finished_at=utcnow())
        .returning(SignInAttempt.id)
        .execution_options(synchronize_session=False)
    )
    if spent.one_or_none() is None:
        raise AttemptEnded


def _is_open(attempt_id: uuid.UUID | None, needs: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        SignInAttempt.id == attempt_id,
        SignInAttempt.needs == needs,
        SignInAttempt.finished_at.is_(None),
        SignInAttempt.expires_at > utcnow(),
    )
