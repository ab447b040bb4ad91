"""The sessions' fast copies in Redis, and the debts: what Redis has yet to be told.

A debt is written with the change that makes it true and settled right after the commit; what Redis did not take
then, a task repeats until it does. Locks are taken on the user first, then on the session, everywhere.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

import redis
import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.people.denials import deny
from libs.people.sessions import Session, copy_key
from libs.service import parts_of
from services.account.extensions import db
from services.account.models import RedisDebt, SignInSession, User

log = get_logger("account.copies")

DEBTS_PER_BATCH = 200


def claims_of(user: User) -> dict[str, object]:
    """The standard claims of a person, as sessions and events carry them."""
    claims: dict[str, object] = {
        **user.profile,
        "name": user.name,
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "locale": user.locale,
        "updated_at": int(user.updated_at.timestamp()),
    }
    if user.zoneinfo:
        claims["zoneinfo"] = user.zoneinfo
    if "phone_number" in user.profile:
        # Nobody has called it.
        claims["phone_number_verified"] = False
    return claims


def shared_session(row: SignInSession, user: User) -> Session:
    """The session as every service sees it."""
    return Session(
        sid=row.id,
        sub=user.sub,
        auth_time=int(row.auth_time.timestamp()),
        amr=list(row.amr),
        acr=row.acr,
        # Staff who must bring a second factor have no role until they did.
        roles=[] if user.needs_second_factor and row.acr == "1" else list(user.roles),
        status=user.status,
        claims=claims_of(user),
        claims_version=user.version,
        absolute_end=int(row.absolute_end.timestamp()),
    )


def is_live() -> sa.ColumnElement[bool]:
    """Whether a session's row may still be used: not ended, not idle for too long, not past its end."""
    now = utcnow()
    idle_since = now - parts_of(current_app).settings.SESSION_IDLE_LIFETIME
    return sa.and_(
        SignInSession.ended_at.is_(None),
        SignInSession.absolute_end > now,
        SignInSession.last_seen_at > idle_since,
    )


def write_copy(digest: str) -> Session | None:
    """Copy a live session to Redis under its row's lock; None when there is no such session.

    The lock keeps out a revocation between reading and writing, and the lock on the user a change of claims.
    Raises redis.RedisError when Redis is away or full.
    """
    parts = parts_of(current_app)
    with db.transaction() as session:
        fresh = {"populate_existing": True}
        user = session.scalar(
            sa.select(User)
            .join(SignInSession, SignInSession.user_id == User.id)
            .where(SignInSession.secret_digest == digest)
            .with_for_update(read=True, of=User)
            .execution_options(**fresh)
        )
        row = session.scalar(
            sa.select(SignInSession)
            .where(SignInSession.secret_digest == digest, is_live())
            .with_for_update()
            .execution_options(**fresh)
        )
        if user is None or row is None or not user.is_active:
            return None
        now = utcnow()
        shared = shared_session(row, user)
        life = min(parts.settings.SESSION_IDLE_LIFETIME, row.absolute_end - now)
        parts.redis.set(copy_key(digest), shared.to_json(), ex=max(int(life.total_seconds()), 1))
        row.last_seen_at = now
    return shared


def rewrite_copies(user_id: uuid.UUID) -> None:
    """Bring a person's existing copies up to date; a missing one comes back by /login/resume.

    Raises redis.RedisError.
    """
    parts = parts_of(current_app)
    with db.transaction() as session:
        user = session.scalar(
            sa.select(User)
            .where(User.id == user_id)
            .with_for_update(read=True)
            .execution_options(populate_existing=True)
        )
        if user is None:
            return
        rows = session.scalars(sa.select(SignInSession).where(SignInSession.user_id == user_id, is_live()))
        pipeline = parts.redis.pipeline(transaction=False)
        for row in rows:
            # XX: a copy that was just deleted must not come back.
            pipeline.set(
                copy_key(row.secret_digest), shared_session(row, user).to_json(), xx=True, keepttl=True
            )
        pipeline.execute()


def owe(*debts: tuple[str, str]) -> None:
    """Record what Redis must be told (kind, subject) in the transaction under way, and tell it after the commit."""
    if not debts:
        return
    rows = [RedisDebt(kind=kind, subject=subject) for kind, subject in debts]
    db.session.add_all(rows)
    db.after_commit(lambda: _settle_or_leave(rows))


def _settle_or_leave(rows: Sequence[RedisDebt]) -> bool:
    try:
        _settle(rows)
    except (redis.RedisError, sa.exc.SQLAlchemyError) as error:
        # What was decided is committed; the task repeats the rest.
        log.warning("redis_debts_left", count=len(rows), error=type(error).__name__)
        return False
    return True


def _settle(rows: Sequence[RedisDebt]) -> None:
    parts = parts_of(current_app)
    subjects: dict[str, list[str]] = {
        kind: [] for kind in ("delete_copy", "rewrite_copies", "deny_sub", "deny_sid")
    }
    # Access tokens of that time have died by themselves after this; a late denial would hit newer ones.
    too_late = utcnow() - parts.settings.ACCESS_TOKEN_LIFETIME - timedelta(minutes=1)
    for row in rows:
        if not row.kind.startswith("deny_") or row.created_at > too_late:
            subjects[row.kind].append(row.subject)
    if subjects["delete_copy"]:
        parts.redis.delete(*(copy_key(digest) for digest in subjects["delete_copy"]))
    if subjects["deny_sub"] or subjects["deny_sid"]:
        deny(parts.redis, parts.settings, subs=subjects["deny_sub"], sids=subjects["deny_sid"])
    for user_id in dict.fromkeys(subjects["rewrite_copies"]):
        rewrite_copies(uuid.UUID(user_id))
    with db.transaction() as session:
        session.execute(sa.delete(RedisDebt).where(RedisDebt.id.in_([row.id for row in rows])))


def settle_debts(*, seconds: float = 20.0) -> int:
    """Tell Redis what it has yet to be told, oldest first, for at most so many seconds.

    Returns how many debts were settled.
    """
    deadline = time.monotonic() + seconds
    settled = 0
    while time.monotonic() < deadline:
        with db.transaction() as session:
            rows = list(session.scalars(sa.select(RedisDebt).order_by(RedisDebt.id).limit(DEBTS_PER_BATCH)))
        if not rows or not _settle_or_leave(rows):
            break
        settled += len(rows)
    return settled
