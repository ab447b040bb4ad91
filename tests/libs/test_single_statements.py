"""A statement that stands alone: committed at once, part of a transaction under way, and nothing left behind."""

import time

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.libs import sample
from tests.libs.sample import Note, db

INSERT = sa.insert(Note).returning(Note.id)
COUNT = sa.select(sa.func.count()).where(Note.text == sa.bindparam("text"))


def count(app: Flask, text: str) -> int:
    """As another request sees it."""
    with app.app_context():
        row = db.fetch_one(COUNT, {"text": text})
        return int(row[0]) if row else 0


@pytest.fixture
def text() -> str:
    return f"alone {time.time_ns()}"


def test_it_is_committed_when_it_returns(sample_app: Flask, text: str) -> None:
    with sample_app.app_context():
        row = db.fetch_one(INSERT, {"text": text})
        assert row is not None
        assert row.id
        assert count(sample_app, text) == 1


def test_within_a_transaction_it_belongs_to_that(sample_app: Flask, text: str) -> None:
    with sample_app.app_context():
        with pytest.raises(sample.TooShort), db.transaction() as session:
            session.execute(sa.select(1))
            db.fetch_one(INSERT, {"text": text})
            raise sample.TooShort
        assert count(sample_app, text) == 0


@pytest.mark.parametrize("is_refused", [False, True])
def test_its_connection_keeps_transactions_for_the_next_one(
    sample_app: Flask, text: str, is_refused: bool
) -> None:
    with sample_app.app_context():
        if is_refused:
            with pytest.raises(sa.exc.IntegrityError):
                db.fetch_one(INSERT, {"id": None, "text": None})
        else:
            db.fetch_one(sa.select(1))
        with pytest.raises(sample.TooShort), db.transaction() as session:
            session.execute(INSERT, {"text": text})
            raise sample.TooShort
        assert count(sample_app, text) == 0
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_it_makes_no_session_to_look_for_one(sample_app: Flask) -> None:
    with sample_app.app_context():
        db.fetch_all(sa.select(1))
        assert not db.session.registry.has()
