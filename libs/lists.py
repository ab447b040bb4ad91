"""Long lists, newest first: read by an index, and never more than SCANNED rows for one page, however long they are."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

Row = TypeVar("Row")
Filter = Callable[[Any], sa.ColumnElement[bool]]
"""A condition on a row of the table, given as the table."""
SCANNED = 5_000
"""Rows that are looked at for one page. Whoever searches for what is rare goes on from there."""


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Row]):
    """A part of a list. `before` is where the next one begins: older than this id; None at the end of the list."""

    rows: Sequence[Row]
    before: uuid.UUID | None = None
    is_cut: bool = False
    """Whether the search stopped at SCANNED rows, so that there may be more of it further back."""


def read_page(
    session: DatabaseSession,
    table: Any,
    *,
    sources: Sequence[sa.ColumnElement[bool]] = (),
    filters: Sequence[Filter] = (),
    bounds: Sequence[sa.ColumnElement[bool]] = (),
    before: uuid.UUID | None = None,
    limit: int,
) -> Page[Any]:
    """Rows of the table by falling id, which is by falling time.

    Each of `sources` is a condition that an index with the id serves, and a row has to meet one of them; none is the
    whole table. `bounds` are conditions on the id. `filters` are what no index serves: rows are tried by them, at
    most SCANNED of each source.
    """
    limits = [*bounds, table.id < before] if before is not None else list(bounds)
    most = SCANNED if filters else limit + 1
    looked = [
        sa.select(table).where(source, *limits).order_by(table.id.desc()).limit(most)
        for source in sources or [sa.true()]
    ]
    if len(looked) == 1:
        seen = looked[0].subquery("seen")
    else:
        seen = sa.union_all(*[sa.select(one.subquery()) for one in looked]).subquery("seen")
    row = aliased(table, seen)
    found = session.scalars(
        sa.select(row)
        .where(*[condition(row) for condition in filters])
        .order_by(row.id.desc())
        .limit(limit + 1)
        .execution_options(populate_existing=True)
    ).all()
    if len(found) > limit:
        return Page(rows=found[:limit], before=found[limit - 1].id)
    if not filters:
        return Page(rows=found)
    ends = [session.scalar(_last_looked_at(table, one)) for one in looked]
    end = max([one for one in ends if one is not None], default=None)
    if end is None:
        return Page(rows=found)
    # What another source has seen beyond this point comes with the next page.
    return Page(rows=[one for one in found if one.id >= end], before=end, is_cut=True)


def _last_looked_at(table: Any, looked: sa.Select[Any]) -> sa.Select[Any]:
    """The id at which a source stopped at SCANNED rows, where it did."""
    return looked.with_only_columns(table.id).limit(1).offset(SCANNED - 1)


def gather(
    read: Callable[[uuid.UUID | None, int], Page[Row]], *, before: uuid.UUID | None = None, limit: int
) -> Page[Row]:
    """Rows of as many pages as it takes, for whoever cannot press Older: `read` takes where to begin and how many."""
    rows: list[Row] = []
    while True:
        page = read(before, limit - len(rows))
        rows += page.rows
        before = page.before
        if before is None or len(rows) >= limit:
            return Page(rows=rows, before=before, is_cut=page.is_cut)
