"""Staff look for people: by the start of an address or of a word of the name, by mail domain, by state."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from libs.lists import Filter, Page, read_page
from services.account.extensions import db
from services.account.flows.passwords import UNUSABLE
from services.account.flows.users import MAX_EMAIL_LENGTH, normalise_email
from services.account.models import NAME_WORDS, Passkey, PasswordCredential, TOTPCredential, User

STATES = (
    "active",
    "disabled",
    "erasing",
    "no_password",
    "second_factor",
    "no_second_factor",
    "staff",
)
"""What people may be filtered by."""
CANDIDATES = 200
"""So many people are taken from each index for one search; more than that is no search."""


def search_users(
    *, text: str = "", state: str | None = None, before: uuid.UUID | None = None, limit: int = 50
) -> Page[User]:
    """People, newest first: of a word of STATES, and found by `text`.

    That is the start of an address, or of any of the first words of a name; of several words each has to begin one.
    `@example.org` finds the addresses of one mail domain. The page is cut where more fit than can be shown in order.
    """
    assert state is None or state in STATES, state
    wanted = " ".join(text.replace("\x00", "").split())[:MAX_EMAIL_LENGTH]
    sources: Sequence[sa.ColumnElement[bool]] = ()
    filters: list[Filter] = []
    candidates = None
    if wanted.startswith("@"):
        domain = normalise_email(f"any{wanted}").partition("@")[2]
        sources = [sa.func.split_part(User.email_normalised, _sign("@"), _number(2)) == domain]
    elif wanted:
        candidates = _candidates(wanted)
        sources = [User.id.in_(candidates)]
    if state in ("disabled", "erasing", "staff") and not sources:
        sources = [_SHORT[state](User)]
    elif state is not None:
        filters = [_SHORT.get(state) or _LONG[state]]
    with db.single_statements() as session:
        found: Page[User] = read_page(
            session, User, sources=sources, filters=filters, before=before, limit=limit
        )
        if candidates is None or found.is_cut:
            return found
        count = session.scalar(sa.select(sa.func.count()).select_from(candidates.subquery()))
    return Page(rows=found.rows, before=found.before, is_cut=bool(count and count >= CANDIDATES))


def _candidates(text: str) -> sa.CompoundSelect[tuple[uuid.UUID]] | sa.Select[tuple[uuid.UUID]]:
    """The ids of people whose address or name begins so, at most CANDIDATES from each index."""
    words = text.lower().split()
    longest = max(words, key=len)
    others = [f"% {_escaped(word)}%" for word in words]
    conditions = [_word(number).like(_escaped(longest) + "%", escape="\\") for number in NAME_WORDS]
    if len(words) == 1:
        conditions.append(User.email_normalised.like(_escaped(text.casefold()) + "%", escape="\\"))
        others = []
    name = sa.literal(" ") + sa.func.lower(User.name)
    found = [
        sa.select(
            sa.select(User.id)
            .where(condition, *[name.like(other, escape="\\") for other in others])
            .limit(CANDIDATES)
            .subquery()
        )
        for condition in conditions
    ]
    return sa.union(*found)


def _word(number: int) -> sa.ColumnElement[str]:
    """A word of the name, in the words of its index."""
    return sa.func.split_part(sa.func.lower(User.name), _sign(" "), _number(number))


def _sign(text: str) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{text}'", sa.Text)


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(value), sa.Integer)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _lacks(table: Any, user: Any, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether the person has no such row; looked up for each one that is looked at.

    A plain NOT EXISTS may be planned as a join that reads the whole other table.
    """
    found = sa.select(table.user_id).where(table.user_id == user.id, *conditions).limit(1)
    return found.scalar_subquery().is_(None)


def _has_no_second_factor(user: Any) -> sa.ColumnElement[bool]:
    return sa.and_(
        _lacks(TOTPCredential, user, TOTPCredential.confirmed_at.is_not(None)), _lacks(Passkey, user)
    )


_SHORT: dict[str, Filter] = {
    "disabled": lambda user: user.status == sa.literal_column("'disabled'"),
    "erasing": lambda user: user.erase_at.is_not(None),
    "staff": lambda user: user.roles != sa.literal_column("'{}'::text[]"),
}
"""States of few people, with an index each."""
_LONG: dict[str, Filter] = {
    "active": lambda user: user.status == "active",
    "no_password": lambda user: _lacks(PasswordCredential, user, PasswordCredential.hash != UNUSABLE),
    "second_factor": lambda user: sa.not_(_has_no_second_factor(user)),
    "no_second_factor": _has_no_second_factor,
}
