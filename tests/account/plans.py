"""How PostgreSQL goes about the queries of a list: which index it reads, and how much of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from tests.bench.seed import Seed


@contextmanager
def seeded(app: Flask, *, users: int, events: int) -> Iterator[None]:
    """A database in which lists are long, and its statistics know; afterwards it is as before."""
    url = parts_of(app).settings.DATABASE_URL
    connection = psycopg2.connect(url)
    seed = Seed(connection, users=users)
    try:
        seed.make_users()
        seed.make_events(events)
        seed.analyse()
        yield
    finally:
        seed.remove()
        connection.close()


def plans_of(app: Flask, table: str, action: Callable[[], Any]) -> list[dict[str, Any]]:
    """The nodes of the plans that read the table while the action runs, each with what it did (EXPLAIN ANALYZE)."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            statements.append(cursor.mogrify(statement, parameters).decode())

    with app.app_context():
        engine = parts_of(app).db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            action()
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        nodes: list[dict[str, Any]] = []
        with engine.connect() as connection:
            for statement in statements:
                answer = connection.exec_driver_sql(
                    "EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("%", "%%")
                ).scalar_one()
                plan = answer if isinstance(answer, list) else json.loads(answer)
                nodes += _walk(plan[0]["Plan"])
    found = [node for node in nodes if node.get("Relation Name") == table]
    assert found, f"nothing read {table}"
    return found


def _walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _walk(part)


def assert_flat(nodes: list[dict[str, Any]], *, index: str | None = None, most: int = 6_000) -> None:
    """Everything was read by an index, one of them this one, and nowhere more than `most` rows."""
    for node in nodes:
        assert node["Node Type"] != "Seq Scan", node
        read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        assert read * node["Actual Loops"] <= most, node
    if index is not None:
        assert index in {part.get("Index Name") for node in nodes for part in _walk(node)}, nodes
