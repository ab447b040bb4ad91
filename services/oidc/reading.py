"""Single reads on hot paths: no session, no ORM, no BEGIN and COMMIT around one SELECT."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.oidc.extensions import db


def fetch_all(statement: sa.Executable, parameters: Any = None) -> Sequence[sa.Row[Any]]:
    """The rows of one SELECT, as they are now.

    Inside a transaction that has begun its connection is used: a request never waits for a second one
    while it holds a first.
    """
    session = db.session()
    if session.in_transaction():
        return session.execute(statement, parameters).all()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return connection.execute(statement, parameters).all()


def fetch_one(statement: sa.Executable, parameters: Any = None) -> sa.Row[Any] | None:
    """The only row of one SELECT, or None."""
    rows = fetch_all(statement, parameters)
    return rows[0] if rows else None
