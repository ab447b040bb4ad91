"""Everything that staff see of one person on one page; no secret is among it, and no password ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.account.extensions import audit, db
from services.account.flows.login_events import Attempt, Wanted, list_login_events
from services.account.flows.passwords import UNUSABLE
from services.account.flows.recovery_codes import count_left
from services.account.flows.sessions import list_sessions
from services.account.models import (
    KnownDevice,
    LinkedIdentity,
    Passkey,
    PasswordCredential,
    SignInSession,
    TOTPCredential,
    User,
)

LISTED = 20
"""Rows of each table of the page, the newest."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A person, how they can sign in, where they are signed in, what happened. Lists hold the LISTED newest."""

    user: User
    has_password: bool
    totp: TOTPCredential | None
    recovery_codes_left: int
    passkeys: Sequence[Passkey]
    links: Sequence[LinkedIdentity]
    devices: Sequence[KnownDevice]
    sessions: Sequence[SignInSession]
    attempts: Sequence[Attempt]
    done_to: Sequence[sa.Row[Any]]
    """Audit entries about the person."""
    done_by: Sequence[sa.Row[Any]]
    """Audit entries of what the person did to others and to themselves."""


def look_at(user: User) -> Overview:
    """All of it, as it is now."""
    sessions = [row for row, _ in list_sessions(sub=user.sub)]
    attempts = list_login_events(Wanted(sub=user.sub), limit=LISTED).rows
    name = f"user:{user.sub}"
    with db.transaction() as session:
        password = session.scalar(
            sa.select(PasswordCredential.hash).where(PasswordCredential.user_id == user.id)
        )

        def of(table: Any, newest: Any, *conditions: sa.ColumnElement[bool]) -> Sequence[Any]:
            query = sa.select(table).where(table.user_id == user.id, *conditions)
            query = query.order_by(newest.desc()).limit(LISTED)
            return session.scalars(query.execution_options(populate_existing=True)).all()

        totp = of(TOTPCredential, TOTPCredential.id, TOTPCredential.confirmed_at.is_not(None))
        return Overview(
            user=user,
            has_password=password not in (None, UNUSABLE),
            totp=totp[0] if totp else None,
            recovery_codes_left=count_left(session, user_id=user.id),
            passkeys=of(Passkey, Passkey.id),
            links=of(LinkedIdentity, LinkedIdentity.id),
            devices=of(KnownDevice, KnownDevice.last_seen_at),
            sessions=sessions,
            attempts=attempts,
            done_to=audit.entries(target=name, limit=LISTED),
            done_by=audit.entries(actor=name, limit=LISTED),
        )
