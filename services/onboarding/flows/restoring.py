"""After a restore: no link and no invitation of before works, since it may have been used or withdrawn meanwhile."""

from typing import Any

import sqlalchemy as sa

from libs.database import utcnow
from services.onboarding.extensions import db
from services.onboarding.models import Invitation, Link


def end_what_may_have_ended() -> dict[str, int]:
    """Let every living link and invitation expire: whoever holds one is told so, and staff or a button send a new one.

    The caller's transaction holds it.
    """
    now = utcnow()
    links = _expire(Link, Link.used_at.is_(None), Link.superseded_at.is_(None), Link.expires_at > now)
    invitations = _expire(Invitation, Invitation.withdrawn_at.is_(None), Invitation.expires_at > now)
    return {"links ended": links, "invitations ended": invitations}


def _expire(table: Any, *which: sa.ColumnElement[bool]) -> int:
    statement = sa.update(table).where(*which).values(expires_at=utcnow())
    done = db.session.execute(statement.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]
