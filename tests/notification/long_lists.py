"""Lists of messages as long as years make them, and the searches of staff in them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of

# What stands is old: nothing newer is like it.
_INSERT = """
    INSERT INTO messages (id, deduplication_key, header_id, template, recipient, locale, created_at, state, due_at,
        tries, last_attempt, correlation_id)
    SELECT ('0100' || lpad(to_hex(n), 8, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, 'seed-' || n, '<x>',
        CASE WHEN n % 50 = 0 THEN 'account_erased' ELSE 'confirm_address' END,
        'p' || n % (:n / 4) || '@seed.test', 'en', now(),
        CASE WHEN n < :n / 4 THEN 'failed' WHEN n % 1000 = 1 THEN 'parked' ELSE 'sent' END,
        now(), 1, 1, 'c' || n / 3
    FROM generate_series(1, :n) AS n
"""
SEARCHES: dict[str, tuple[dict[str, Any], str | None]] = {
    "all messages": ({}, "pk_messages"),
    "of an address": ({"to": "P77@seed.test"}, None),
    "of the beginning of an address": ({"to": "p77@s*"}, "ix_messages_address"),
    "of a template": ({"template": "account_erased"}, "ix_messages_template_id"),
    "of a state that many old ones are in": ({"states": ("failed",)}, "ix_messages_standing"),
    "that wait for staff": ({"states": ("failed", "parked")}, "ix_messages_standing"),
    "of a template in a state": ({"template": "account_erased", "states": ("sent",)}, None),
    "of a number in the logs": ({"correlation_id": "c777"}, "ix_messages_correlation_id"),
    "of a Message-ID": ({"header_id": f"<{uuid.UUID(int=7).hex}@updspace.test>"}, "pk_messages"),
}
"""What is looked for, and the index that finds it."""


@contextmanager
def seeded(app: Flask, *, messages: int) -> Iterator[None]:
    """Many messages, of which the statistics know; afterwards they are gone."""

    def run(*statements: str) -> None:
        with app.app_context(), parts_of(app).db.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = '300s'"))
            for statement in statements:
                connection.execute(sa.text(statement), {"n": messages} if ":n" in statement else {})

    run(_INSERT, "ANALYZE messages")
    try:
        yield
    finally:
        run("DELETE FROM messages WHERE deduplication_key LIKE 'seed-%'")
        with app.app_context(), parts_of(app).db.engine.connect() as connection:
            plain = connection.execution_options(isolation_level="AUTOCOMMIT")
            plain.execute(sa.text("VACUUM ANALYZE messages"))


def id_of_row(number: int) -> uuid.UUID:
    """The id of a seeded message."""
    return uuid.UUID(f"0100{number:08x}70008000{number:012x}")
