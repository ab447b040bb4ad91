"""The way back for whoever lost every second factor: a wait, with notices, then a mailed link that removes them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.audit import acting_as
from libs.database import utcnow
from libs.guard import single_use
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.attempts import AttemptEnded, find_attempt, spend
from services.account.flows.notices import tell
from services.account.flows.second_factor import remove_all_factors
from services.account.flows.second_step import NEEDS
from services.account.flows.users import find_and_lock, lock_user
from services.account.flows.visitor import Visitor
from services.account.models import PasswordCredential, SecondFactorReset, SignInAttempt, User

ROWS_PER_BATCH = 50


class ResetLinkNotValid(Problem):
    """No such link, or one that was used, cancelled or has expired; or it is not of the person signing in."""

    status, slug = 410, "reset-link-not-valid"
    title = lazy_gettext("This link does not work any more")


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """Where somebody stands on the way back."""

    available_at: datetime
    mailed_at: datetime | None
    is_new: bool


def start_reset(*, attempt_id: uuid.UUID | None, visitor: Visitor) -> WayBack:
    """Begin the wait, and tell its owner at once; one that is under way goes on as it is.

    Whoever asks has passed the first factor in this browser. Raises AttemptEnded.
    """
    attempt = find_attempt(attempt_id, needs=NEEDS)
    settings = parts_of(current_app).settings
    with db.transaction() as session:
        user = _lock_owner(session, attempt)
        _end_unused(session, SecondFactorReset.user_id == user.id)
        known = session.scalar(_open_reset(user))
        if known is not None:
            return WayBack(available_at=known.available_at, mailed_at=known.mailed_at, is_new=False)
        now = utcnow()
        reset = SecondFactorReset(
            user_id=user.id, created_at=now, available_at=now + settings.SECOND_FACTOR_WAIT
        )
        session.add(reset)
        session.flush()
        with acting_as(f"user:{user.sub}"):
            audit.record(
                "second_factor_reset.started",
                target=f"user:{user.sub}",
                after={"available_at": reset.available_at},
            )
        context = {"available_at": reset.available_at.isoformat()}
        tell(session, user=user, template="second_factor_reset_started", visitor=visitor, context=context)
    return WayBack(available_at=reset.available_at, mailed_at=None, is_new=True)


def cancel_resets(session: DatabaseSession, user: User) -> bool:
    """End the way back, in the transaction under way. False when nobody was on it."""
    done = session.scalar(
        sa.update(SecondFactorReset)
        .where(SecondFactorReset.user_id == user.id, SecondFactorReset.ended_at.is_(None))
        .values(ended_at=utcnow(), end_cause="cancelled")
        .returning(SecondFactorReset.id)
        .execution_options(synchronize_session=False)
    )
    if done is None:
        return False
    audit.record("second_factor_reset.cancelled", target=f"user:{user.sub}")
    return True


def cancel_reset(*, sub: str) -> bool:
    """End the way back at the wish of its owner. False when nobody was on it."""
    with db.transaction() as session:
        return cancel_resets(session, lock_user(session, sub=sub))


def mail_due_links() -> int:
    """Mail the link to whoever has waited, at most ROWS_PER_BATCH a call; end those that nobody used.

    Returns how many were mailed.
    """
    now = utcnow()
    with db.transaction() as session:
        _end_unused(session)
        due = session.execute(
            sa.select(SecondFactorReset, User)
            .join(User, User.id == SecondFactorReset.user_id)
            .where(
                SecondFactorReset.ended_at.is_(None),
                SecondFactorReset.mailed_at.is_(None),
                SecondFactorReset.available_at <= now,
                User.status == "active",
            )
            .order_by(SecondFactorReset.available_at)
            .limit(ROWS_PER_BATCH)
            .with_for_update(skip_locked=True, of=SecondFactorReset)
            .execution_options(populate_existing=True)
        ).all()
        for reset, user in due:
            _mail_link(session, reset, user, now)
    return len(due)


def _mail_link(session: DatabaseSession, reset: SecondFactorReset, user: User, now: datetime) -> None:
    settings = parts_of(current_app).settings
    token, reset.token_digest = single_use.make()
    reset.mailed_at = now
    context = {
        "link": f"{settings.PUBLIC_URL}/login/second-factor/reset?token={token}",
        "expires_at": (now + settings.SECOND_FACTOR_LINK_LIFETIME).isoformat(),
    }
    tell(session, user=user, template="second_factor_reset_ready", context=context)


def look_at_reset(*, token: str) -> User:
    """Whose second factors this link removes; spends nothing. Raises ResetLinkNotValid."""
    with db.single_statements() as session:
        user = session.scalar(
            sa.select(User)
            .join(SecondFactorReset, SecondFactorReset.user_id == User.id)
            .where(*_is_link(token), User.status == "active")
        )
    if user is None:
        raise ResetLinkNotValid
    return user


def remove_lost_factors(*, token: str, attempt_id: uuid.UUID | None, visitor: Visitor) -> None:
    """Spend the link: every second factor is gone, all access ends, and a sign-in takes the first factor alone.

    Only its owner can: whoever has passed the first factor in this browser. Raises ResetLinkNotValid, AttemptEnded.
    """
    attempt = find_attempt(attempt_id, needs=NEEDS)
    with db.transaction() as session:
        user = _lock_owner(session, attempt)
        spend(attempt)
        credential = session.get(PasswordCredential, user.id, populate_existing=True)
        if attempt.proof is not None and (credential is None or attempt.proof != credential.hash):
            raise AttemptEnded  # the password was changed since it was entered
        spent = session.scalar(
            sa.update(SecondFactorReset)
            .where(SecondFactorReset.user_id == user.id, *_is_link(token))
            .values(ended_at=utcnow(), end_cause="used")
            .returning(SecondFactorReset.id)
            .execution_options(synchronize_session=False)
        )
        if spent is None:
            raise ResetLinkNotValid
        with acting_as(f"user:{user.sub}"):
            remove_all_factors(session, user, cause="lost")
        tell(session, user=user, template="second_factor_reset_done", visitor=visitor)


def _lock_owner(session: DatabaseSession, attempt: SignInAttempt) -> User:
    """The row of whoever is signing in, fresh and locked. Raises AttemptEnded when they may not any more."""
    user = find_and_lock(session, User.id == attempt.user_id)
    if user is None or not user.is_active:
        raise AttemptEnded
    return user


def _open_reset(user: User) -> sa.Select[tuple[SecondFactorReset]]:
    return sa.select(SecondFactorReset).where(
        SecondFactorReset.user_id == user.id, SecondFactorReset.ended_at.is_(None)
    )


def _is_link(token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        SecondFactorReset.token_digest == single_use.digest(token),
        SecondFactorReset.ended_at.is_(None),
        SecondFactorReset.mailed_at > _unused_since(),
    )


def _end_unused(session: DatabaseSession, *conditions: sa.ColumnElement[bool]) -> None:
    """End what was mailed and not used in time."""
    session.execute(
        sa.update(SecondFactorReset)
        .where(
            SecondFactorReset.ended_at.is_(None), SecondFactorReset.mailed_at <= _unused_since(), *conditions
        )
        .values(ended_at=utcnow(), end_cause="expired")
        .execution_options(synchronize_session=False)
    )


def _unused_since() -> datetime:
    return utcnow() - parts_of(current_app).settings.SECOND_FACTOR_LINK_LIFETIME
