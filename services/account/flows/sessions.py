"""Sign-in sessions: begun, found again, resumed, listed, cleared. Not OAuth tokens: those are oidc's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.people.sessions import MAX_ACCOUNTS, Session, make_secret, secret_digest
from libs.service import parts_of
from libs.web.problems import Problem, Unavailable
from services.account.extensions import audit, db
from services.account.flows.copies import is_live, owe, shared_session, write_copy
from services.account.flows.revoking import Revoked, revoke_access
from services.account.models import SignInSession, User

log = get_logger("account.sessions")

MAX_USER_AGENT = 400
SEEN_PRECISION = timedelta(minutes=5)
"""How exactly a row knows its last use; the task folds at this interval."""
ROWS_PER_BATCH = 500
CLEANUP_KEY = "cleanup:clear_expired_sessions"


class CannotResume(Unavailable):
    """The session is alive, and Redis did not take its copy."""


class UnknownSession(Problem):
    """The person has no such session."""

    status, slug, title = 404, "unknown-session", lazy_gettext("There is no such session")


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """A person just signed in. `secrets` is what the browser's cookie holds from now on, the new one first."""

    session: Session
    secrets: list[str]


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """What is left of a browser's cookie; `session` is the current one, None when nobody is signed in."""

    session: Session | None
    secrets: list[str]


@dataclass(frozen=True, kw_only=True)
class HeldSession:
    """A live session of this browser and whose it is."""

    secret: str
    session: Session


# -- beginning -------------------------------------------------------------------------------------------------


def begin_session(
    session: DatabaseSession,
    *,
    user: User,
    amr: Sequence[str],
    acr: str,
    user_agent: str,
    held: Sequence[str],
) -> SignIn:
    """Sign the person in on this browser, in the transaction under way. The caller has locked the user's row.

    Somebody who was signed in here already keeps the session, so that apps bound to it stay signed in, under a
    new secret: the old one is dead. `held` are the secrets of the browser's cookie; beyond MAX_ACCOUNTS the
    oldest account is signed out.
    """
    now = utcnow()
    secret = make_secret()
    mine, others = None, []
    for held_secret, row, owner in _held_rows(session, held):
        if row.user_id == user.id and mine is None:
            mine = session.scalar(
                sa.select(SignInSession)
                .where(SignInSession.secret_digest == row.secret_digest, is_live())
                .with_for_update()
                .execution_options(populate_existing=True)
            )
        elif row.user_id != user.id:
            others.append((held_secret, row, owner))
    for _, row, owner in others[MAX_ACCOUNTS - 1 :]:
        revoke_access(sub=owner.sub, cause="sign_out", sids=[row.id])
    if mine is not None:
        owe(("delete_copy", mine.secret_digest))
    else:
        mine = SignInSession(user_id=user.id, created_at=now)
        session.add(mine)
    mine.secret_digest = secret_digest(secret)
    mine.auth_time = mine.last_seen_at = now
    mine.absolute_end = now + parts_of(current_app).settings.SESSION_ABSOLUTE_LIFETIME
    mine.amr, mine.acr = list(amr), acr
    mine.user_agent = "".join(sign for sign in user_agent if sign.isprintable())[:MAX_USER_AGENT]
    session.flush()
    db.after_commit(lambda: _copy_or_leave(secret_digest(secret)))
    kept = [held_secret for held_secret, _, _ in others[: MAX_ACCOUNTS - 1]]
    return SignIn(session=shared_session(mine, user), secrets=[secret, *kept])


def _copy_or_leave(digest: str) -> None:
    try:
        write_copy(digest)
    except (redis.RedisError, sa.exc.SQLAlchemyError) as error:
        # The person is signed in all the same: /login/resume writes the copy once Redis is back.
        log.warning("session_copy_left", error=type(error).__name__)


# -- finding ---------------------------------------------------------------------------------------------------


def find_session(digest: str) -> Session | None:
    """The live session of a secret's digest, from its row, whatever Redis says. Notes the use now and then."""
    with db.transaction() as session:
        found = session.execute(
            sa.select(SignInSession, User)
            .join(User, User.id == SignInSession.user_id)
            .where(SignInSession.secret_digest == digest, is_live(), User.status == "active")
            .execution_options(populate_existing=True)
        ).one_or_none()
        if found is None:
            return None
        row, user = found
        now = utcnow()
        if row.last_seen_at < now - SEEN_PRECISION:
            _note_use(session, [(row.id, now)])
        return shared_session(row, user)


def held_sessions(*, secrets: Sequence[str]) -> list[HeldSession]:
    """The live sessions behind a browser's cookie, in its order."""
    with db.transaction() as session:
        return [
            HeldSession(secret=secret, session=shared_session(row, user))
            for secret, row, user in _held_rows(session, secrets)
        ]


def _held_rows(session: DatabaseSession, secrets: Sequence[str]) -> list[tuple[str, SignInSession, User]]:
    digests = {secret_digest(secret): secret for secret in secrets}
    if not digests:
        return []
    rows = session.execute(
        sa.select(SignInSession, User)
        .join(User, User.id == SignInSession.user_id)
        .where(SignInSession.secret_digest.in_(digests), is_live(), User.status == "active")
        .execution_options(populate_existing=True)
    )
    found = {row.secret_digest: (row, user) for row, user in rows}
    return [(secret, *found[digest]) for digest, secret in digests.items() if digest in found]


def resume(*, secrets: Sequence[str]) -> Resumed:
    """Bring back the copy of a browser's current session from its row.

    Secrets that no live row knows fall away, and the next one becomes current. Raises CannotResume when Redis
    does not take the copy.
    """
    alive = [held.secret for held in held_sessions(secrets=secrets)]
    while alive:
        try:
            current = write_copy(secret_digest(alive[0]))
        except redis.RedisError as error:
            raise CannotResume(
                gettext("You are still signed in, and nothing is lost. Please try again in a moment."),
                retry_after=2,
            ) from error
        if current is not None:
            return Resumed(session=current, secrets=alive)
        del alive[0]  # ended between the two looks
    return Resumed(session=None, secrets=[])


# -- the person's own list -------------------------------------------------------------------------------------


def list_sessions(*, sub: str | None = None, limit: int = 100) -> list[tuple[SignInSession, User]]:
    """Live sessions with whose they are, last used first; of one person or of everybody.

    Uses that are still noted in Redis alone are folded in, as far as Redis answers.
    """
    query = (
        sa.select(SignInSession, User)
        .join(User, User.id == SignInSession.user_id)
        .where(is_live())
        .order_by(SignInSession.last_seen_at.desc(), SignInSession.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    if sub is not None:
        query = query.where(User.sub == sub)
    with db.transaction() as session:
        found = [(row, user) for row, user in session.execute(query)]
        if sub is not None and found:
            seen = _seen([row.id for row, _ in found])
            if seen:
                _note_use(session, seen)
                found = [(row, user) for row, user in session.execute(query)]
    return found


def end_session(*, sub: str, sid: str) -> Revoked:
    """End one of a person's sessions from the list; one that has ended already stays so.

    Raises UnknownSession, for another person's too.
    """
    with db.transaction() as session:
        mine = sa.select(SignInSession.id).join(User).where(User.sub == sub, SignInSession.id == sid)
        if session.scalar(mine) is None:
            raise UnknownSession
        return revoke_access(sub=sub, cause="session_ended", sids=[sid])


def end_other_sessions(*, sub: str, keep_sid: str) -> Revoked:
    """End all of a person's sessions but the one they act in."""
    with db.transaction() as session:
        query = (
            sa.select(SignInSession.id)
            .join(User)
            .where(User.sub == sub, SignInSession.id != keep_sid, is_live())
        )
        return revoke_access(sub=sub, cause="session_ended", sids=list(session.scalars(query)))


# -- upkeep ----------------------------------------------------------------------------------------------------


def fold_seen(*, seconds: float = 30.0) -> int:
    """Fold the uses that readers noted as `seen:{sid}` into the rows. Returns how many. Raises redis.RedisError."""
    client: Any = parts_of(current_app).redis
    deadline = time.monotonic() + seconds
    folded, cursor = 0, 0
    while True:
        cursor, keys = client.scan(cursor, match="seen:*", count=ROWS_PER_BATCH)
        seen = _seen([key.removeprefix("seen:") for key in keys])
        if seen:
            with db.transaction() as session:
                _note_use(session, seen)
            folded += len(seen)
        if keys:
            # A use noted meanwhile is lost to the second only; the next one is noted again.
            client.delete(*keys)
        if cursor == 0 or time.monotonic() > deadline:
            return folded


def _seen(sids: Sequence[str]) -> list[tuple[str, datetime]]:
    """When Redis last saw these sessions used; nothing when it does not answer."""
    if not sids:
        return []
    try:
        client: Any = parts_of(current_app).redis
        times = client.mget([f"seen:{sid}" for sid in sids])
    except redis.RedisError:
        return []
    return [
        (sid, datetime.fromtimestamp(int(at), utcnow().tzinfo))
        for sid, at in zip(sids, times, strict=True)
        if at and at.isdigit() and len(sid) == 36
    ]


def _note_use(session: DatabaseSession, seen: Sequence[tuple[str, datetime]]) -> None:
    uses = sa.values(
        sa.column("id", sa.Uuid(as_uuid=False)), sa.column("at", sa.DateTime(timezone=True)), name="uses"
    ).data(list(seen))
    session.execute(
        sa.update(SignInSession)
        .where(SignInSession.id == uses.c.id, SignInSession.last_seen_at < uses.c.at)
        .values(last_seen_at=uses.c.at)
        .execution_options(synchronize_session=False)
    )


def clear_expired_sessions(*, seconds: float = 40.0) -> int:
    """Delete the rows of sessions that expired, and of those that ended long ago, in bounded batches.

    Idle ones are judged once their uses are folded in; with Redis away they are left for the next time.
    Returns how many were deleted.
    """
    settings = parts_of(current_app).settings
    now = utcnow()
    expired = [
        SignInSession.ended_at < now - settings.ENDED_SESSIONS_KEPT,
        sa.and_(SignInSession.ended_at.is_(None), SignInSession.absolute_end <= now),
    ]
    deadline = time.monotonic() + seconds
    try:
        fold_seen(seconds=seconds / 2)
    except redis.RedisError as error:
        log.warning("idle_sessions_left", error=type(error).__name__)
    else:
        idle_since = now - settings.SESSION_IDLE_LIFETIME
        expired.append(sa.and_(SignInSession.ended_at.is_(None), SignInSession.last_seen_at <= idle_since))
    deleted = 0
    for condition in expired:
        while time.monotonic() < deadline:
            with db.transaction() as session:
                batch = sa.select(SignInSession.id).where(condition).limit(ROWS_PER_BATCH)
                batch = batch.with_for_update(skip_locked=True)
                done = session.execute(
                    sa.delete(SignInSession)
                    .where(SignInSession.id.in_(batch))
                    .returning(SignInSession.id)
                    .execution_options(synchronize_session=False)
                )
                count = len(done.all())
            deleted += count
            if count < ROWS_PER_BATCH:
                break
    if deleted:
        with db.transaction():
            audit.record("sessions.cleared", target="sessions:expired", after={"count": deleted})
    _note_cleanup()
    return deleted


def _note_cleanup() -> None:
    try:
        parts_of(current_app).redis.set(CLEANUP_KEY, int(time.time()))
    except redis.RedisError as error:
        log.warning("cleanup_not_noted", error=type(error).__name__)
