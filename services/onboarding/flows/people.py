"""A small copy of who people are, so that pages can name reviewers."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from services.onboarding.extensions import db
from services.onboarding.models import IS_REVIEWER, Person

LAST_VERSION = 2**31 - 1
"""Of the tombstone of somebody who was erased."""


def remember_person(
    *, sub: str, version: int, name: str, email: str, roles: list[str], status: str, locale: str
) -> None:
    """Keep a snapshot of a person; one that is not newer than what we have changes nothing."""
    values = {
        "version": version,
        "name": name,
        "email": email,
        "roles": roles,
        "status": status,
        "locale": locale,
    }
    with db.transaction() as session:
        session.execute(
            insert(Person)
            .values(sub=sub, **values)
            .on_conflict_do_update(
                index_elements=["sub"], set_=values, where=Person.version < sa.literal(version)
            )
        )


def bury_person(*, sub: str) -> None:
    """Keep nothing of an erased person but their sub, as a snapshot that is newer than any to come."""
    tombstone = {
        "version": LAST_VERSION,
        "name": "",
        "email": "",
        "roles": [],
        "status": "erased",
        "locale": "",
    }
    with db.transaction() as session:
        session.execute(
            insert(Person)
            .values(sub=sub, **tombstone)
            .on_conflict_do_update(index_elements=["sub"], set_=tombstone)
        )


def is_erased(*, sub: str) -> bool:
    """Whether account has said that this person is gone."""
    return db.session.scalar(sa.select(Person.status).where(Person.sub == sub)) == "erased"


def some_reviewer() -> sa.ColumnElement[bool]:
    """Whether anybody could decide about an application, as a part of a statement."""
    return sa.exists(sa.select(Person.sub).where(IS_REVIEWER))


def names_of(actors: Iterable[str | None]) -> dict[str, str]:
    """The names of actors as the audit writes them (`user:SUB`); those nobody told us of are missing."""
    subs = {actor.removeprefix("user:") for actor in actors if actor and actor.startswith("user:")}
    if not subs:
        return {}
    rows = db.session.execute(sa.select(Person.sub, Person.name).where(Person.sub.in_(subs)))
    return {f"user:{sub}": name for sub, name in rows if name}
