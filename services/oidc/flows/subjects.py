"""The issuer's copy of people: the newest of what account's events and the sign-in session say."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from services.oidc.extensions import db
from services.oidc.models import Subject

LAST_VERSION = 2**31 - 1
"""Of the tombstone of somebody who was erased."""


def remember_subject(
    *,
    sub: str,
    version: int,
    status: str,
    roles: list[str],
    claims: Mapping[str, Any],
    is_from_session: bool = False,
) -> None:
    """Take a snapshot of a person over, unless a newer one is known: in whatever order they come.

    A sign-in session may carry fewer roles than the person has: the event of the same version corrects it.
    """
    values = {
        "version": version,
        "status": status,
        "roles": list(roles),
        "claims": dict(claims),
        "updated_at": utcnow(),
    }
    with db.transaction() as session:
        session.execute(
            insert(Subject)
            .values(sub=sub, **values)
            .on_conflict_do_update(
                index_elements=[Subject.sub],
                set_=values,
                where=Subject.version < version if is_from_session else Subject.version <= version,
            )
        )


def remember_revocation(*, sub: str, before: int) -> None:
    """No grant may come of a sign-in of this person before then (epoch seconds); late events undo nothing.

    Holds the person's row until the caller's transaction ends. Somebody not known yet gets one of version 0,
    which any snapshot replaces.
    """
    values = {"version": 0, "status": "active", "roles": [], "claims": {}, "updated_at": utcnow()}
    with db.transaction() as session:
        session.execute(
            insert(Subject)
            .values(sub=sub, revoked_before=before, **values)
            .on_conflict_do_update(
                index_elements=[Subject.sub],
                set_={"revoked_before": sa.func.greatest(Subject.revoked_before, before)},
            )
        )


def bury_subject(*, sub: str, before: int) -> None:
    """Keep nothing of an erased person but their sub, as a snapshot that is newer than any to come.

    No grant may come of a sign-in before then (epoch seconds). Holds the row until the caller's transaction ends.
    """
    tombstone = {
        "version": LAST_VERSION,
        "status": "erased",
        "roles": [],
        "claims": {},
        "updated_at": utcnow(),
    }
    with db.transaction() as session:
        session.execute(
            insert(Subject)
            .values(sub=sub, revoked_before=before, **tombstone)
            .on_conflict_do_update(index_elements=[Subject.sub], set_={"revoked_before": before, **tombstone})
        )


def access_revoked_before(sub: str) -> int:
    """When all access of this person last ended, in epoch seconds; 0 for never.

    Sound only after `remember_subject` in the same transaction: that locks the row, changed or not, so that
    an end of access is either seen here or sees what the caller stores.
    """
    return db.session.execute(sa.select(Subject.revoked_before).where(Subject.sub == sub)).scalar_one()


def find_sub_by_email(email: str) -> str | None:
    """Whose address this is, as far as the issuer has been told; None when nobody's."""
    if "\x00" in email:
        return None  # PostgreSQL knows no such text
    return db.session.execute(
        sa.select(Subject.sub)
        .where(sa.func.lower(Subject.claims["email"].astext) == email.strip().lower())
        .order_by(Subject.updated_at.desc())
        .limit(1)
    ).scalar_one_or_none()
