"""After a restore: nobody is signed in, and no link or code of before works. docs/decisions/0031 says why so much."""

from typing import Any

import sqlalchemy as sa

from libs.database import utcnow
from services.account.extensions import db
from services.account.models import (
    EmailChange,
    PasswordLink,
    ProviderVisit,
    RecoveryCode,
    SecondFactorReset,
    SignInAttempt,
    SignInSession,
)

CAUSE = "restored"


def end_what_may_have_ended() -> dict[str, int]:
    """End every session, sign-in under way, link and recovery code; the caller's transaction holds it.

    Any of them may have been ended or used since the backup. The links "It wasn't me" stay: what one has undone since
    is done again, and has to be undone again.
    """
    now = utcnow()
    sessions = _set(SignInSession, SignInSession.ended_at.is_(None), ended_at=now, end_cause=CAUSE)
    _set(SignInAttempt, SignInAttempt.finished_at.is_(None), expires_at=now)
    _set(ProviderVisit, ProviderVisit.used_at.is_(None), expires_at=now)
    # Expired rather than used: whoever holds one is told so, and may ask for a fresh one.
    links = sum(
        _set(table, table.used_at.is_(None), table.expires_at > now, expires_at=now)
        for table in (PasswordLink, EmailChange)
    )
    # Its owner may have cancelled it.
    links += _set(
        SecondFactorReset, SecondFactorReset.ended_at.is_(None), ended_at=now, end_cause="cancelled"
    )
    codes = _set(RecoveryCode, RecoveryCode.used_at.is_(None), used_at=now)
    return {"sessions ended": sessions, "links ended": links, "recovery codes ended": codes}


def _set(table: Any, *which: sa.ColumnElement[bool], **values: Any) -> int:
    statement = sa.update(table).where(*which).values(**values)
    done = db.session.execute(statement.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]
