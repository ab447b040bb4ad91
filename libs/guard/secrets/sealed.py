"""Sealed columns: which key seals how many of their rows, and bringing all of them under the first key.

A batch holds its rows locked and passes over those that somebody else holds, so it waits for nobody, loses nobody's
change, and may be cut short at any moment: what is done is done, and the next run finds the rest.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from libs.database import Database
from libs.guard.keyring import CannotOpen, KeyRing
from libs.observe.logs import get_logger

log = get_logger("libs.sealed")

ROWS_PER_BATCH = 200
LONGEST_LOOK_S = 20
"""A look through a table may take longer than a request's statements."""
PASSES = 3
"""How often one run looks for rows that somebody held a moment ago."""


@dataclass(frozen=True)
class SealedColumn:
    """A column whose text DATA_ENCRYPTION_KEYS seals. `place` makes its associated data of the row's primary key."""

    column: Any
    place: Callable[..., str]

    @property
    def table(self) -> sa.Table:
        return self.plain.table

    @property
    def plain(self) -> sa.Column[Any]:
        """The column itself, without the model around it."""
        found: sa.Column[Any] = sa.inspect(self.column).property.columns[0]
        return found

    @property
    def key(self) -> list[sa.Column[Any]]:
        return list(self.table.primary_key.columns)

    def __str__(self) -> str:
        return f"{self.table.name}.{self.plain.name}"


@dataclass
class Resealed:
    """What a run did, and what it left."""

    done: int = 0
    unopened: Counter[str] = field(default_factory=Counter)
    """Rows that no key of the ring opens, by column."""
    left: int = 0
    """Rows that an earlier key seals still: somebody held them, or the time was over."""


@contextmanager
def patient(db: Database) -> Iterator[Session]:
    """A transaction whose statements may look through a whole table."""
    with db.transaction() as session:
        session.execute(sa.text(f"SET LOCAL statement_timeout = '{LONGEST_LOOK_S}s'"))
        yield session


def count_rows(connection: Any, columns: Sequence[SealedColumn]) -> dict[str, dict[str, int]]:
    """How many rows of each column each key seals, by kid; one look through each table."""
    counts: dict[str, dict[str, int]] = {}
    for sealed in columns:
        kid = sa.func.split_part(sealed.plain, ":", 1)
        query = sa.select(kid, sa.func.count()).where(sealed.plain.is_not(None)).group_by(kid)
        counts[str(sealed)] = dict(connection.execute(query).tuples().all())
    return counts


def rows_by_key(counts: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """The rows of all columns together, by kid."""
    together: Counter[str] = Counter()
    for of_column in counts.values():
        together.update(of_column)
    return together


def unopened_keys(connection: Any, keys: KeyRing, columns: Sequence[SealedColumn]) -> list[str]:
    """The kids of the ring under which a row is sealed that does not open: another key has, or had, that name."""
    wrong = set()
    for sealed in columns:
        for kid in keys.keys:
            row = connection.execute(
                sa.select(*sealed.key, sealed.plain.label("sealed"))
                .where(sa.func.starts_with(sealed.plain, f"{kid}:"))
                .limit(1)
            ).one_or_none()
            if row is not None and _opened(keys, sealed, row) is None:
                wrong.add(kid)
    return sorted(wrong)


def reencrypt(
    db: Database,
    keys: KeyRing,
    columns: Sequence[SealedColumn],
    *,
    seconds: float | None = None,
    batch: int = ROWS_PER_BATCH,
    told: Callable[[str, int], None] = lambda column, rows: None,
) -> Resealed:
    """Seal under the first key what another one seals, batch by batch, for at most so many seconds.

    `told` hears of each batch: its column, and how many rows are done by then.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    result = Resealed()
    for sealed in columns:
        left = _count_left(db, keys, sealed)
        for _ in range(PASSES if left else 0):
            result.unopened[str(sealed)] = 0
            for done, unopened in _batches(db, keys, sealed, batch):
                result.done += done
                result.unopened[str(sealed)] += unopened
                told(str(sealed), result.done)
                if deadline is not None and time.monotonic() > deadline:
                    break
            left = _count_left(db, keys, sealed) - result.unopened[str(sealed)]
            if left <= 0 or (deadline is not None and time.monotonic() > deadline):
                break
        result.left += max(left, 0)
    return result


def _batches(db: Database, keys: KeyRing, sealed: SealedColumn, size: int) -> Iterator[tuple[int, int]]:
    """Go through the table once, by primary key. Yields of each batch how many rows were resealed, and not opened."""
    last: tuple[Any, ...] | None = None
    while True:
        done = unopened = 0
        with patient(db) as session:
            query = (
                sa.select(*sealed.key, sealed.plain.label("sealed"))
                .where(*_is_old(keys, sealed))
                .order_by(*sealed.key)
                .limit(size)
                .with_for_update(key_share=True, skip_locked=True)
            )
            if last is not None:
                query = query.where(sa.tuple_(*sealed.key) > last)
            rows = session.execute(query).all()
            for row in rows:
                content = _opened(keys, sealed, row)
                if content is None:
                    unopened += 1
                    continue
                session.execute(
                    sa.update(sealed.table)
                    .where(*_is_row(sealed, row))
                    .values({sealed.plain.name: keys.seal(content, sealed.place(*row[:-1]))})
                )
                done += 1
        if not rows:
            return
        last = tuple(rows[-1][:-1])
        yield done, unopened


def _count_left(db: Database, keys: KeyRing, sealed: SealedColumn) -> int:
    with patient(db) as session:
        return session.execute(
            sa.select(sa.func.count()).select_from(sealed.table).where(*_is_old(keys, sealed))
        ).scalar_one()


def _is_old(keys: KeyRing, sealed: SealedColumn) -> tuple[sa.ColumnElement[bool], ...]:
    return sealed.plain.is_not(None), sa.not_(sa.func.starts_with(sealed.plain, f"{keys.first}:"))


def _is_row(sealed: SealedColumn, row: Any) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in zip(sealed.key, row[:-1], strict=True)]


def _opened(keys: KeyRing, sealed: SealedColumn, row: Any) -> bytes | None:
    try:
        return keys.open(row.sealed, sealed.place(*row[:-1]))
    except CannotOpen:
        return None
