"""How applications are found by what somebody types: by parts among few, by beginnings among all."""

import contextlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from services.onboarding.extensions import db
from services.onboarding.models import NAME_WORDS, Application
from services.onboarding.schemas.forms import LONGEST_EMAIL

CANDIDATES = 200
"""So many applications are taken from each index for one search; more than that is no search."""
TRIED = 5_000
"""So many that begin with the longest of several words are tried by the others."""


def normalise(typed: str) -> str:
    """What was typed, in the form in which names and addresses are compared."""
    return " ".join(typed.replace("\0", "").split())[:LONGEST_EMAIL].lower()


def parts(words: str) -> list[Callable[[Any], sa.ColumnElement[bool]]]:
    """Filters for rows: each word is a part of the name or of the address."""

    def holds(word: str) -> Callable[[Any], sa.ColumnElement[bool]]:
        return lambda row: sa.or_(
            row.email_folded.contains(word, autoescape=True), row.name.icontains(word, autoescape=True)
        )

    return [holds(word) for word in words.split()]


def is_of_domain(words: str) -> sa.ColumnElement[bool]:
    """Whether the address is of the mail domain `@example.org`; one in its own letters is found too."""
    domain = words.removeprefix("@")
    with contextlib.suppress(UnicodeError):  # no domain name: kept as it is, and nobody's
        domain = domain.encode("idna").decode("ascii")
    return sa.func.split_part(Application.email_folded, _sign("@"), _number(2)) == domain


def beginnings(words: str) -> Sequence[uuid.UUID]:
    """The ids of applications whose address or name begins so, at most CANDIDATES from each index.

    Of several words the longest one is looked up, and each of the others has to begin a word of the name. Looked up
    by themselves: within a larger statement they may be planned as a join that reads the whole table.
    """
    longest, others = _longest_first(words.split())
    sources = [_word(number).like(_start(longest), escape="\\") for number in NAME_WORDS]
    if not others:
        sources.append(Application.email_folded.like(_start(longest), escape="\\"))
    return db.session.scalars(sa.union(*[sa.select(_taken(source, others)) for source in sources])).all()


def _taken(source: sa.ColumnElement[bool], others: Sequence[str]) -> sa.Subquery:
    if not others:
        return sa.select(Application.id).where(source).limit(CANDIDATES).subquery()
    tried = sa.select(Application.id, Application.name).where(source).limit(TRIED).subquery()
    name = sa.literal(" ") + sa.func.lower(tried.c.name)
    match = [name.like(f"% {_start(other)}", escape="\\") for other in others]
    return sa.select(tried.c.id).where(*match).limit(CANDIDATES).subquery()


def _longest_first(words: list[str]) -> tuple[str, list[str]]:
    longest = max(words, key=len)
    others = list(words)
    others.remove(longest)
    return longest, others


def _word(number: int) -> sa.ColumnElement[str]:
    """A word of the name, in the words of its index."""
    return sa.func.split_part(sa.func.lower(Application.name), _sign(" "), _number(number))


def _sign(text: str) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{text}'", sa.Text)


def _number(value: int) -> sa.ColumnElement[int]:
    return sa.literal_column(str(value), sa.Integer)


def _start(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
