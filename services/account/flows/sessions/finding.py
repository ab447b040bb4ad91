"""Sessions found again: by the secret in a cookie, from the rows where the copy is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import redis
import sqlalchemy as sa
from flask_babel import gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.people.sessions import Session, secret_digest
from libs.web.problems import Unavailable
from services.account.extensions import db
from services.account.flows.copies import is_live, shared_session, write_copy
from services.account.flows.sessions.use import note_use
from services.account.models import SignInSession, User

SEEN_PRECISION = timedelta(minutes=5)
"""How exactly a row knows its last use; the task folds at this interval."""


class CannotResume(Unavailable):
    """The session is alive, and Redis did not take its copy."""


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


def find_session(digest: str) -> Session | None:
    """The live session of a secret's digest, from its row, whatever Redis says. Notes the use now and then."""
    with db.single_statements() as session:
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
            note_use(session, [(row.id, now)])
        return shared_session(row, user)


def held_sessions(*, secrets: Sequence[str]) -> list[HeldSession]:
    """The live sessions behind a browser's cookie, in its order."""
    with db.single_statements() as session:
        return [
            HeldSession(secret=secret, session=shared_session(row, user))
            for secret, row, user in held_rows(session, secrets)
        ]


def held_rows(session: DatabaseSession, secrets: Sequence[str]) -> list[tuple[str, SignInSession, User]]:
    """The live rows behind a browser's cookie with whose they are, in its order."""
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
