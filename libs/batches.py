"""Rows changed batch by batch, each batch a transaction of its own: re-encryption, and whatever fills a new column.

What is left shows in the rows themselves (`WHERE new IS NULL`): a run that is cut short, by SIGTERM, by kill -9 or by
its time, loses no more than the batch under way, and the next one goes on there. A batch holds its rows locked and
passes over those that somebody else holds: it waits for nobody, loses nobody's change, and nobody waits for it longer
than it takes.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from libs.database import Database
from libs.observe.logs import get_logger

log = get_logger("libs.batches")

ROWS_PER_BATCH = 200
LONGEST_LOOK_S = 20
"""A look through a table may take longer than a request's statements."""
PASSES = 3
"""How often one run looks for rows that somebody held a moment ago."""
TELL_AGAIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """Which rows of a table are due, what is read of them beside their key, and what each becomes.

    `becomes` returns the new values of a row, or None where there are none for it: that row stays due.
    """

    table: sa.Table
    is_due: Sequence[sa.ColumnElement[bool]]
    reads: Sequence[sa.ColumnElement[Any]]
    becomes: Callable[[sa.Row[Any]], Mapping[str, Any] | None]

    @property
    def key(self) -> list[sa.Column[Any]]:
        return list(self.table.primary_key.columns)


@dataclass
class Changed:
    """What a run did, and what it left."""

    done: int = 0
    impossible: int = 0
    """Rows that became nothing."""
    left: int = 0
    """Rows that are due still: somebody held them, or the time was over."""


@contextmanager
def patient(db: Database) -> Iterator[Session]:
    """A transaction whose statements may look through a whole table."""
    with db.transaction() as session:
        session.execute(sa.text(f"SET LOCAL statement_timeout = '{LONGEST_LOOK_S}s'"))
        yield session


def change_rows(
    db: Database,
    change: Change,
    *,
    until: float | None = None,
    batch: int = ROWS_PER_BATCH,
    told: Callable[[int], None] = lambda rows: None,
) -> Changed:
    """Change what is due, until nothing is, or until this moment of time.monotonic().

    `told` hears after each batch how many rows are done by then; the log does so now and then.
    """
    result, told_at = Changed(left=_count_due(db, change)), time.monotonic()
    for _ in range(PASSES if result.left else 0):
        result.impossible = 0
        for done, impossible in _batches(db, change, batch):
            result.done += done
            result.impossible += impossible
            told(result.done)
            if time.monotonic() - told_at > TELL_AGAIN_S:
                log.info("rows_changed", table=change.table.name, rows=result.done)
                told_at = time.monotonic()
            if _is_over(until):
                break
        result.left = max(_count_due(db, change) - result.impossible, 0)
        if not result.left or _is_over(until):
            break
    return result


def _is_over(until: float | None) -> bool:
    return until is not None and time.monotonic() > until


def _batches(db: Database, change: Change, size: int) -> Iterator[tuple[int, int]]:
    """Go through the table once, by primary key. Yields of each batch how many rows were changed, and could not be."""
    key, last = change.key, None
    while True:
        done = impossible = 0
        with patient(db) as session:
            query = (
                sa.select(*key, *change.reads)
                .where(*change.is_due)
                .order_by(*key)
                .limit(size)
                .with_for_update(key_share=True, skip_locked=True)
            )
            if last is not None:
                query = query.where(sa.tuple_(*key) > last)
            rows = session.execute(query).all()
            for row in rows:
                values = change.becomes(row)
                if values is None:
                    impossible += 1
                    continue
                is_row = [column == value for column, value in zip(key, row, strict=False)]
                session.execute(sa.update(change.table).where(*is_row).values(values))
                done += 1
        if not rows:
            return
        last = tuple(rows[-1][: len(key)])
        yield done, impossible


def _count_due(db: Database, change: Change) -> int:
    with patient(db) as session:
        return session.execute(
            sa.select(sa.func.count()).select_from(change.table).where(*change.is_due)
        ).scalar_one()
