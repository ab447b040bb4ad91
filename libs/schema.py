"""The database's schema and this release: whether the migrations that it needs have run, and waiting until they have.

A newer schema is enough, since every release runs on that of the next one. An older one is not: what asks for a
column that is not there yet answers wrongly.
"""

import time
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import ProgrammingError

from libs.observe.logs import get_logger, set_service

log = get_logger("libs.schema")

LOOK_AGAIN_S = 1.0
TELL_AGAIN_S = 30.0
NO_SUCH_TABLE = "42P01"


@cache
def revisions(migrations: Path) -> tuple[str, ...]:
    """The numbers of this release's migrations, the newest last, by their files' names; none where it has none."""
    return tuple(
        sorted(file.name.partition("_")[0] for file in (migrations / "versions").glob("[0-9]*_*.py"))
    )


def found_revision(connection: sa.Connection) -> str | None:
    """The newest migration that the database has had, None when it has had none; it takes one statement."""
    try:
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != NO_SUCH_TABLE:
            raise
        connection.rollback()
        return None


def is_behind(found: str | None, known: tuple[str, ...]) -> bool:
    """Whether a database at `found` lacks what a release needs that knows these; one it does not know is newer."""
    return bool(known) and (found is None or found in known[:-1])


def migrations_of(app: Flask) -> Path:
    return Path(app.extensions["migrate"].directory)


def is_migrated(app: Flask) -> bool:
    """Whether the database has what this release needs. Raises SQLAlchemyError."""
    from libs.service import parts_of

    known = revisions(migrations_of(app))
    if not known:
        return True
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return not is_behind(found_revision(connection), known)


def wait_until_migrated(app: Flask) -> None:
    """Return once the database says that it has what this release needs, however long that takes.

    A worker that took tasks before would fail them, while one of the release before, which runs still, would not.
    """
    from libs.service import parts_of

    set_service(parts_of(app).name)
    known, told_at = revisions(migrations_of(app)), float("-inf")
    while True:
        reason = _reason_to_wait(app)
        if not reason:
            return
        if time.monotonic() - told_at > TELL_AGAIN_S:
            log.warning("waiting_for_database", reason=reason, needs=known[-1])
            told_at = time.monotonic()
        time.sleep(LOOK_AGAIN_S)


def _reason_to_wait(app: Flask) -> str:
    try:
        return "" if is_migrated(app) else "migrations"
    except Exception as error:
        # Whatever it is: Celery goes on over what its receivers raise, so that the worker would begin.
        return type(error).__name__
