"""Prepared statements: what SQLAlchemy's own execution gives, takes, raises and leaves behind."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from libs.database import Timestamp, uuid7
from libs.prepared import Prepared
from tests.libs import sample
from tests.libs.sample import Note, db

INSERT = Prepared(sa.insert(Note).returning(Note.id))
COUNT = sa.select(sa.func.count()).where(Note.text == sa.bindparam("text"))
KINDS: dict[str, Any] = {
    "number": sa.Uuid(),
    "moment": Timestamp,
    "words": ARRAY(sa.Text),
    "numbers": ARRAY(sa.Integer),
    "tree": JSONB(),
    "yes": sa.Boolean(),
    "text": sa.Text(),
}
VALUES = {
    "number": uuid7(),
    "moment": datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC),
    "words": ["a", "", '"{,}\\', None],
    "numbers": [1, 2],
    "tree": {"a": [1, None, "ü%s"]},
    "yes": True,
    "text": "100 % of 'it' :x",
}
BACK_AGAIN = sa.select(
    sa.literal("constant").label("kind"),
    *(sa.cast(sa.bindparam(name, type_=kind), kind).label(name) for name, kind in KINDS.items()),
)


@pytest.fixture
def text() -> str:
    return f"prepared {time.time_ns()}"


@pytest.mark.parametrize("on_server", [False, True])
@pytest.mark.parametrize("values", [VALUES, dict.fromkeys(VALUES)], ids=["values", "nulls"])
def test_values_go_and_come_as_with_sqlalchemy(
    sample_app: Flask, values: dict[str, Any], on_server: bool
) -> None:
    prepared = Prepared(BACK_AGAIN, on_server=on_server)
    with sample_app.app_context():
        for _ in range(2):
            found = db.fetch_one(prepared, values)
            assert found == db.fetch_one(BACK_AGAIN, values)
            assert found is not None
            assert found._mapping == {"kind": "constant", **values}
            assert (found.kind, found.words) == ("constant", values["words"])


def test_the_server_plans_once_for_each_connection(sample_app: Flask, text: str) -> None:
    counting = Prepared(COUNT, on_server=True)
    known = sa.text("SELECT count(*) FROM pg_prepared_statements WHERE name = :name")
    with sample_app.app_context():
        assert [db.fetch_all(counting, {"text": text})[0][0] for _ in range(8)] == [0] * 8
        assert db.fetch_one(known, {"name": counting._name}) == (1,)
        db.engine.dispose()  # a new connection, which knows nothing
        assert db.fetch_one(known, {"name": counting._name}) == (0,)
        assert db.fetch_all(counting, {"text": text})[0][0] == 0


def test_a_tuple_is_an_array_too(sample_app: Flask) -> None:
    with sample_app.app_context():
        found = db.fetch_one(Prepared(BACK_AGAIN), {**VALUES, "words": ("a", "b")})
        assert found is not None
        assert found.words == ["a", "b"]


def test_it_is_committed_when_it_returns_and_its_connection_keeps_transactions(
    sample_app: Flask, text: str
) -> None:
    with sample_app.app_context():
        assert db.fetch_one(INSERT, {"text": text}) is not None
        with pytest.raises(sample.TooShort), db.transaction() as session:
            session.execute(INSERT.statement, {"text": text})
            raise sample.TooShort
        assert db.fetch_all(Prepared(COUNT), {"text": text})[0][0] == 1
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_within_a_transaction_it_belongs_to_that(sample_app: Flask, text: str) -> None:
    with sample_app.app_context():
        with pytest.raises(sample.TooShort), db.transaction() as session:
            session.execute(sa.select(1))
            db.fetch_one(INSERT, {"text": text})
            raise sample.TooShort
        assert db.fetch_all(COUNT, {"text": text})[0][0] == 0


def test_what_the_server_refuses_is_an_error_of_sqlalchemy_without_its_values(
    sample_app: Flask, text: str
) -> None:
    with sample_app.app_context():
        row = db.fetch_one(INSERT, {"text": text})
        assert row is not None
        again = Prepared(sa.insert(Note).returning(Note.id))
        with pytest.raises(sa.exc.IntegrityError) as refused:
            db.fetch_one(again, {"id": row.id, "text": "a secret value"})
        assert isinstance(refused.value.orig, psycopg2.IntegrityError)
        assert "a secret value" not in str(refused.value)
        assert db.fetch_all(COUNT, {"text": text})[0][0] == 1
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_connection_that_breaks_is_let_go_of(sample_app: Flask) -> None:
    pid = sa.select(sa.func.pg_backend_pid())
    with sample_app.app_context():
        cut = Prepared(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))
        mine = db.fetch_all(pid)[0][0]
        with pytest.raises(sa.exc.OperationalError) as broken:
            db.fetch_one(cut)
        assert broken.value.connection_invalidated
        assert db.fetch_all(Prepared(pid))[0][0] != mine
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_database_that_is_away_is_an_error_of_sqlalchemy(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = sa.create_engine("postgresql+psycopg2://localhost:1/nothing", poolclass=sa.NullPool)
    with pytest.raises(sa.exc.OperationalError):
        Prepared(sa.select(1)).rows(nowhere, {})


def test_a_parameter_that_is_missing_is_an_error(sample_app: Flask) -> None:
    with sample_app.app_context():
        prepared = Prepared(COUNT)
        db.fetch_one(prepared, {"text": "x"})
        with pytest.raises((KeyError, sa.exc.StatementError)):
            db.fetch_one(prepared, {})
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_default_that_only_python_knows_is_refused(sample_app: Flask) -> None:
    table = sa.Table("x", sa.MetaData(), sa.Column("id", sa.Uuid, default=uuid7), sa.Column("y", sa.Text))
    with sample_app.app_context(), pytest.raises(AssertionError, match="among the parameters"):
        db.fetch_one(Prepared(sa.insert(table).returning(table.c.id)), {"y": "z"})


def test_many_threads_use_one_from_its_first_use_on(sample_app: Flask) -> None:
    prepared = Prepared(sa.select(sa.cast(sa.bindparam("n", type_=sa.Integer), sa.Integer).label("n")))
    found: list[int] = []
    barrier = threading.Barrier(4)

    def ask(first: int) -> None:
        barrier.wait(10)
        with sample_app.app_context():
            for n in range(first, first + 25):
                row = db.fetch_one(prepared, {"n": n})
                assert row is not None
                found.append(row.n)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(0, 100, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == list(range(100))
