"""Sealed columns: which key seals how many of their rows, and bringing all of them under the first key.

It goes batch by batch (libs/batches.py): cut short at any moment, what is done is done; the next run finds the rest.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from libs.batches import ROWS_PER_BATCH, Change, change_rows
from libs.database import Database
from libs.guard.keyring import CannotOpen, KeyRing


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
    until = None if seconds is None else time.monotonic() + seconds
    result = Resealed()
    for sealed in columns:
        before = result.done
        changed = change_rows(
            db,
            _resealing(keys, sealed),
            until=until,
            batch=batch,
            told=lambda rows, before=before, column=str(sealed): told(column, before + rows),  # type: ignore[misc]
        )
        result.done += changed.done
        result.left += changed.left
        if changed.impossible:
            result.unopened[str(sealed)] = changed.impossible
    return result


def _resealing(keys: KeyRing, sealed: SealedColumn) -> Change:
    """What brings the rows of a column under the first key."""

    def becomes(row: Any) -> Mapping[str, Any] | None:
        content = _opened(keys, sealed, row)
        return None if content is None else {sealed.plain.name: keys.seal(content, sealed.place(*row[:-1]))}

    return Change(
        table=sealed.table,
        is_due=(sealed.plain.is_not(None), sa.not_(sa.func.starts_with(sealed.plain, f"{keys.first}:"))),
        reads=(sealed.plain.label("sealed"),),
        becomes=becomes,
    )


def _opened(keys: KeyRing, sealed: SealedColumn, row: Any) -> bytes | None:
    try:
        return keys.open(row.sealed, sealed.place(*row[:-1]))
    except CannotOpen:
        return None
