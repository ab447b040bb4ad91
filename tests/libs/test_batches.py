"""Rows changed in batches: cut short anywhere it goes on there, and nobody who writes beside it has to wait.

What kill -9 does to it: tests/account/test_data_keys.py.
"""

import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.batches import Change, change_rows
from libs.database import Database
from tests.libs import sample

ROWS = 1000
MOMENT_S = 1.0
"""Ten times what a batch takes on a busy machine."""

crates = sa.Table(
    "crates",
    sa.MetaData(),
    sa.Column("shelf", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("word", sa.Text, nullable=False),
    sa.Column("folded", sa.Text),
    sa.Column("touched", sa.Integer, nullable=False, server_default="0"),
)
FOLDING = Change(
    table=crates,
    is_due=(crates.c.folded.is_(None),),
    reads=(crates.c.word,),
    becomes=lambda row: None if row.word == "UNREADABLE" else {"folded": row.word.lower()},
)


@pytest.fixture
def db(sample_app: Flask) -> Iterator[Database]:
    """A table with a new column that nothing has filled yet."""
    with sample_app.app_context():
        engine = sample.db.engine
        crates.create(engine)
        numbers = sa.select(sa.func.generate_series(1, ROWS).label("n")).subquery()
        with engine.begin() as connection:
            rows = sa.select(numbers.c.n % 7, numbers.c.n, sa.func.concat("WORD ", numbers.c.n))
            connection.execute(crates.insert().from_select(["shelf", "place", "word"], rows))
        try:
            yield sample.db
        finally:
            crates.drop(engine)


def count(db: Database, *where: sa.ColumnElement[bool]) -> int:
    with db.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(crates).where(*where)).scalar_one()


def test_a_column_is_filled_batch_by_batch_and_once(db: Database) -> None:
    heard: list[int] = []
    result = change_rows(db, FOLDING, batch=300, told=heard.append)
    assert (result.done, result.impossible, result.left) == (ROWS, 0, 0)
    assert heard == [300, 600, 900, ROWS]
    assert count(db, crates.c.folded == sa.func.lower(crates.c.word)) == ROWS
    assert change_rows(db, FOLDING).done == 0


def test_what_its_time_or_an_error_cuts_short_goes_on_where_it_was(db: Database) -> None:
    short = change_rows(db, FOLDING, batch=100, until=time.monotonic())
    assert (short.done, short.left) == (100, ROWS - 100)

    def stop(rows: int) -> None:
        if rows == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_rows(db, FOLDING, batch=100, told=stop)
    assert count(db, crates.c.folded.is_(None)) == ROWS - 300
    assert change_rows(db, FOLDING).done == ROWS - 300


def test_a_row_that_becomes_nothing_stays_and_stops_no_other(db: Database) -> None:
    with db.engine.begin() as connection:
        connection.execute(crates.update().where(crates.c.place == 3).values(word="UNREADABLE"))
    result = change_rows(db, FOLDING)
    assert (result.done, result.impossible, result.left) == (ROWS - 1, 1, 0)


def test_it_waits_for_no_row_that_somebody_holds(db: Database) -> None:
    with db.engine.begin() as other:
        other.execute(sa.select(crates).where(crates.c.place == 3).with_for_update())
        assert change_rows(db, FOLDING).left == 1
    assert change_rows(db, FOLDING).done == 1


def test_whoever_writes_beside_it_waits_a_moment_at_most_and_loses_nothing(db: Database) -> None:
    engine, is_over = db.engine, threading.Event()
    waits: list[float] = []

    def write() -> None:
        place = 0
        while not is_over.is_set():
            place = place % ROWS + 1
            began = time.monotonic()
            with engine.begin() as connection:
                touch = crates.update().where(crates.c.place == place)
                connection.execute(touch.values(touched=crates.c.touched + 1))
            waits.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        left = change_rows(db, FOLDING).left
    finally:
        is_over.set()
        writer.join()
    assert waits
    assert max(waits) < MOMENT_S
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.sum(crates.c.touched))).scalar_one() == len(waits)
    assert count(db, crates.c.folded.is_(None)) == left
