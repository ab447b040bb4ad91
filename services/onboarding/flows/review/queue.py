"""The queue: applications by filter and search, read by an index however many there are.

What is undecided is little: its filters try at most SCANNED rows a page. docs/decisions/0024 says why it is so.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from libs.audit import current_actor
from services.onboarding.extensions import db
from services.onboarding.flows.review import questions
from services.onboarding.flows.review import search as searching
from services.onboarding.models import STATES, UNDECIDED, Application, Question

PAGE_SIZE = 50
SCANNED = 5_000
"""Rows that are looked at for one page; whoever searches for what is rare goes on from there."""
COUNTED = 2_000
"""Undecided applications that are looked at for the numbers beside the filters."""
GROUPS = ("undecided", "unclaimed", "mine", "others", "waiting")
"""Filters of the undecided: all, nobody's, the actor's, other reviewers', and those that wait for the applicant."""
FILTERS = (*GROUPS, *STATES, "all")


@dataclass(frozen=True)
class Page:
    """A page of the queue. `after` opens the next one; None on the last."""

    applications: Sequence[Application]
    after: uuid.UUID | None = None
    is_cut: bool = False
    """Whether the search stopped early, so that something may be missing here or stand further on."""


def find(
    *,
    state: str = "undecided",
    search: str = "",
    newest_first: bool = False,
    after: uuid.UUID | None = None,
    size: int = PAGE_SIZE,
) -> Page:
    """Applications of a filter (a word of FILTERS), by age.

    Among the undecided `search` finds parts of names and addresses; among all others how an address or a word of a
    name begins, and `@example.org` a mail domain. Pages go on from the last id seen: the hundredth costs what the
    first does.
    """
    assert state in FILTERS, state
    words = searching.normalise(search)
    read = _Reading(newest_first=newest_first, after=after, size=size)
    if state in GROUPS or state in UNDECIDED:
        filters = [*_GROUP_FILTERS.get(state, []), *searching.parts(words)]
        return read.page(_undecided(state), filters)
    of_state = [] if state == "all" else [lambda row: row.state == state]
    if words.startswith("@"):
        return read.page(searching.is_of_domain(words), of_state)
    if words:
        candidates = searching.beginnings(words)
        page = read.page(Application.id.in_(candidates), of_state)
        return Page(page.applications, page.after, is_cut=len(candidates) >= searching.CANDIDATES)
    return read.page(sa.true() if state == "all" else Application.state == state, [])


def find_all(*, most: int, **wanted: Any) -> Page:
    """The same for whoever cannot press "Next page": up to `most` applications, of as many pages as it takes."""
    found: list[Application] = []
    after, is_cut = None, False
    while True:
        page = find(**wanted, after=after, size=most - len(found))
        found += page.applications
        after, is_cut = page.after, page.is_cut and page.after is None
        if after is None or len(found) >= most:
            return Page(found, after, is_cut)


def _undecided(state: str) -> sa.ColumnElement[bool]:
    """The condition that an index serves: a partial one for all that is undecided, else the one of states."""
    if state in ("mine", "others"):
        return Application.state == "in_review"
    return Application.state == state if state in UNDECIDED else Application.state.in_(UNDECIDED)


def _is_claimed(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(row.state == "in_review", row.claimed_by.is_not(None))


def _is_mine(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(row.state == "in_review", row.claimed_by == current_actor())


def _is_anothers(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(row.state == "in_review", row.claimed_by != current_actor())


def _waits_for_the_applicant(row: Any) -> sa.ColumnElement[bool]:
    """The address is not proven yet, or a question not answered."""
    asked = sa.exists().where(Question.application_id == row.id, questions.IS_OPEN)
    return sa.or_(row.confirmed_at.is_(None), asked)


Filter = Callable[[Any], sa.ColumnElement[bool]]
_GROUP_FILTERS: Mapping[str, list[Filter]] = {
    "unclaimed": [lambda row: sa.not_(_is_claimed(row))],
    "mine": [_is_mine],
    "others": [_is_anothers],
    "waiting": [_waits_for_the_applicant],
}


@dataclass(frozen=True, kw_only=True)
class _Reading:
    newest_first: bool
    after: uuid.UUID | None
    size: int

    def page(self, source: sa.ColumnElement[bool], filters: Sequence[Filter]) -> Page:
        """Rows that meet `source`, which an index serves, and `filters`, by which at most SCANNED of them are tried."""
        looked = sa.select(Application).where(source, self._beyond()).order_by(self._by(Application))
        if filters:
            seen = aliased(Application, looked.limit(SCANNED).subquery("seen"))
            query = (
                sa.select(seen)
                .where(*[condition(seen) for condition in filters])
                .order_by(self._by(seen))
                .limit(self.size + 1)
            )
        else:
            query = looked.limit(self.size + 1)
        found = db.session.scalars(query).all()
        if len(found) > self.size:
            return Page(found[: self.size], found[self.size - 1].id)
        if not filters:
            return Page(found)
        end = db.session.scalar(looked.with_only_columns(Application.id).limit(1).offset(SCANNED - 1))
        return Page(found, end, is_cut=end is not None)

    def _beyond(self) -> sa.ColumnElement[bool]:
        if self.after is None:
            return sa.true()
        return Application.id < self.after if self.newest_first else Application.id > self.after

    def _by(self, row: Any) -> Any:
        return row.id.desc() if self.newest_first else row.id


@dataclass(frozen=True)
class Counts:
    """How many are in each of GROUPS. `is_cut` says that only the oldest COUNTED were looked at."""

    by_group: Mapping[str, int]
    is_cut: bool


def count_groups() -> Counts:
    """The numbers beside the filters, from one bounded look at the undecided."""
    seen = aliased(
        Application,
        sa.select(Application)
        .where(Application.state.in_(UNDECIDED))
        .order_by(Application.id)
        .limit(COUNTED)
        .subquery("seen"),
    )
    counts = [
        sa.func.count().filter(*[condition(seen) for condition in filters])
        for filters in (_GROUP_FILTERS[group] for group in GROUPS[1:])
    ]
    total, *rest = db.session.execute(sa.select(sa.func.count(), *counts).select_from(seen)).one()
    return Counts(dict(zip(GROUPS, [total, *rest], strict=True)), is_cut=total >= COUNTED)
