"""The list of a person's sessions, and ending one from it."""

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.web.problems import Problem
from services.account.extensions import db
from services.account.flows.copies import is_live
from services.account.flows.revoking import Revoked, revoke_access
from services.account.flows.sessions.use import note_use, seen_of
from services.account.models import SignInSession, User


class UnknownSession(Problem):
    """The person has no such session."""

    status, slug, title = 404, "unknown-session", lazy_gettext("There is no such session")


def list_sessions(*, sub: str | None = None, limit: int = 100) -> list[tuple[SignInSession, User]]:
    """Live sessions with whose they are, last used first; of one person or of everybody.

    A row knows its last use to within a few minutes: fold_uses() brings one person's up to date first.
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
    with db.single_statements() as session:
        return [(row, user) for row, user in session.execute(query)]


def fold_uses(*, sub: str) -> None:
    """Fold a person's uses that are still noted in Redis alone into the rows, as far as Redis answers."""
    with db.single_statements() as session:
        sids = list(session.scalars(sa.select(SignInSession.id).join(User).where(User.sub == sub, is_live())))
        seen = seen_of(sids)
        if seen:
            note_use(session, seen)


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
