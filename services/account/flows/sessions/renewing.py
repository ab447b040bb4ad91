"""A session under a new secret: whoever copied the old cookie has nothing any more."""

from collections.abc import Sequence

import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession

from libs.observe.logs import get_logger
from libs.people.sessions import make_secret, secret_digest
from services.account.extensions import db
from services.account.flows.copies import is_live, owe, write_copy
from services.account.models import SignInSession

log = get_logger("account.sessions")


def renew_secret(session: DatabaseSession, *, sid: str, held: Sequence[str]) -> list[str] | None:
    """Give the current session of a browser a new secret, in the transaction under way.

    Returns what the browser's cookie holds from then on; None where the session has ended, or has another secret
    by now.
    """
    old, new = secret_digest(held[0]) if held else "", make_secret()
    renewed = session.scalar(
        sa.update(SignInSession)
        .where(SignInSession.id == sid, SignInSession.secret_digest == old, is_live())
        .values(secret_digest=secret_digest(new))
        .returning(SignInSession.id)
        .execution_options(synchronize_session=False)
    )
    if renewed is None:
        return None
    owe(("delete_copy", old))
    db.after_commit(lambda: _copy_or_leave(secret_digest(new)))
    return [new, *held[1:]]


def _copy_or_leave(digest: str) -> None:
    try:
        write_copy(digest)
    except redis.RedisError as error:
        # /login/resume writes the copy once Redis is back.
        log.warning("session_copy_left", error=type(error).__name__)
