"""PostgreSQL: naming convention, keys, aware UTC times, transactions, migrations."""

import os
import secrets
import select
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Session

from libs.observe.logs import get_logger
from libs.prepared import Prepared
from libs.settings import ServiceSettings

log = get_logger("libs.database")

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
MIGRATION_LOCK_TIMEOUT_MS = 4000
MIGRATION_STATEMENT_TIMEOUT_MS = 5000
MIGRATION_ADVISORY_LOCK = 0x1D5EED
PING_AFTER_IDLE_S = 5.0
SILENCE_S = 1.5
"""After this long without a word from the server during a statement, it is asked for a sign of life."""
SILENCE_OF_IDLE_S = 0.5
"""The same while an idle connection is tested."""
SIGN_OF_LIFE_S = 1.0

Timestamp = sa.DateTime(timezone=True)


def utcnow() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time of making (RFC 9562 §5.7), so that new rows sit together in an index."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def first_uuid7(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of a moment: ids of rows made since then are not smaller."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return uuid.UUID(int=(milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | 0x2 << 62)


class Database(SQLAlchemy):
    """Flask-SQLAlchemy with the house's naming, and one way to change data: transaction()."""

    def __init__(self) -> None:
        base = type(
            "Base", (DeclarativeBase,), {"metadata": sa.MetaData(naming_convention=NAMING_CONVENTION)}
        )
        # Values stay readable after the commit: flows hand models to doors.
        super().__init__(model_class=base, session_options={"expire_on_commit": False})
        self._twins: dict[sa.Engine, sa.Engine] = {}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commit what the block did, or nothing of it. A flow inside a flow joins the outer transaction."""
        session: Session = self.session()
        if "callbacks" in session.info:
            yield session
            return
        callbacks: list[Callable[[], Any]] = []
        session.info["callbacks"] = callbacks
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            del session.info["callbacks"]
        for callback in callbacks:
            try:
                callback()
            except Exception as error:
                # What is committed is true: one effect that failed must neither deny it nor stop the others.
                log.error("after_commit_failed", error=type(error).__name__, exc_info=error)

    def after_commit(self, callback: Callable[[], Any]) -> None:
        """Run the callback once the transaction under way is committed; never when it is rolled back."""
        self.session().info["callbacks"].append(callback)

    @contextmanager
    def single_statements(self) -> Iterator[Session]:
        """A session whose every statement stands alone: no BEGIN and COMMIT around one SELECT, one round trip each.

        Inside a transaction that has begun this joins it: a request never waits for a second connection while it
        holds a first.
        """
        session = self._session_in_transaction()
        if session is not None:
            yield session
            return
        with Session(self._autocommitting(), expire_on_commit=False) as own:
            yield own

    def fetch_all(self, statement: sa.Executable | Prepared, parameters: Any = None) -> Sequence[sa.Row[Any]]:
        """The rows of one statement that stands alone, without the ORM: for hot paths, the hottest of them Prepared.

        A change with RETURNING is committed when this returns. Within a transaction under way it belongs to that.
        """
        session = self._session_in_transaction()
        if session is not None:
            whole = statement.statement if isinstance(statement, Prepared) else statement
            return session.execute(whole, parameters).all()
        if isinstance(statement, Prepared):
            return statement.rows(self.engine, parameters or {})
        with self.engine.connect() as connection:
            # At the driver: SQLAlchemy's execution option does the same, and takes as long as the statement.
            driver: Any = connection.connection.dbapi_connection
            driver.autocommit = True
            try:
                return connection.execute(statement, parameters).all()
            finally:
                if not driver.closed:
                    driver.autocommit = False

    def fetch_one(self, statement: sa.Executable | Prepared, parameters: Any = None) -> sa.Row[Any] | None:
        """The only row of one statement, or None; as fetch_all()."""
        rows = self.fetch_all(statement, parameters)
        return rows[0] if rows else None

    def _session_in_transaction(self) -> Session | None:
        """The session of the transaction under way; none is made only to look."""
        if not self.session.registry.has():
            return None
        session: Session = self.session()
        return session if session.in_transaction() else None

    def _autocommitting(self) -> sa.Engine:
        """The engine's twin for statements that stand alone; made once, for making it takes longer than a statement."""
        engine = self.engine
        twin = self._twins.get(engine)
        if twin is None:
            twin = self._twins[engine] = engine.execution_options(isolation_level="AUTOCOMMIT")
        return twin


def engine_options(settings: ServiceSettings) -> dict[str, Any]:
    """Pool and time limits of a service's engine."""
    return {
        "pool_size": settings.DB_POOL_SIZE,
        "max_overflow": settings.DB_MAX_OVERFLOW,
        "pool_timeout": settings.DB_POOL_TIMEOUT_MS / 1000,
        "pool_use_lifo": True,
        # Error texts must not carry the values of a statement: some are secrets.
        "hide_parameters": True,
        "connect_args": {
            "connection_factory": patient(connect_within=settings.DB_CONNECT_TIMEOUT_S),
            "application_name": f"id-{settings.SERVICE}",
            "options": f"-c statement_timeout={settings.DB_STATEMENT_TIMEOUT_MS} -c timezone=UTC"
            " -c idle_in_transaction_session_timeout=60000",
            # The kernel gives up on a server that went away without a word.
            "tcp_user_timeout": settings.DB_STATEMENT_TIMEOUT_MS + 1000,
        },
    }


class ServerSilent(psycopg2.OperationalError):
    """The server took the connection and says nothing any more."""


class PatientConnection(psycopg2.extensions.connection):
    """A connection that stops waiting for a server that hangs; libpq alone would wait for ever."""

    connect_within = 5.0
    silence = SILENCE_S


def patient(*, connect_within: float) -> type[PatientConnection]:
    """The class of an engine's connections; `connect_within` in seconds."""
    return type("PatientConnection", (PatientConnection,), {"connect_within": connect_within})


def _wait(connection: Any) -> None:
    """psycopg2's way to wait (for every connection of the process), with an end where the server is silent.

    A long statement is the server's to end, by its statement_timeout; here only a server is given up that
    answers nobody.
    """
    began = time.monotonic()
    is_patient = isinstance(connection, PatientConnection)
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        is_connecting = connection.status == psycopg2.extensions.STATUS_SETUP
        limit = None
        if is_patient and is_connecting:
            limit = max(connection.connect_within - (time.monotonic() - began), 0)
        elif is_patient:
            limit = connection.silence
        wish = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        waiting = select.poll()
        waiting.register(connection.fileno(), wish)
        if waiting.poll(None if limit is None else limit * 1000):
            continue
        if is_connecting:
            raise ServerSilent("the database did not answer a new connection in time")
        if not gives_sign_of_life(connection.info.host, connection.info.port):
            raise ServerSilent("the database does not answer any more")


def is_away(error: BaseException) -> bool:
    """Whether the database could not be asked at all; False where it refused what was asked of it.

    A lock, statement or deadlock that the server ended (SQLSTATE 55, 57014, 40) is an answer.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if not isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)):
        return False
    code = getattr(error.orig, "pgcode", None) or ""
    return error.connection_invalidated or code in ("", "25006") or code.startswith(("08", "53", "57P"))


def gives_sign_of_life(host: str, port: int) -> bool:
    """Whether a PostgreSQL server answers a newcomer's first message (SSLRequest) within SIGN_OF_LIFE_S."""
    try:
        if host.startswith("/"):
            caller = socket.socket(socket.AF_UNIX)
            caller.settimeout(SIGN_OF_LIFE_S)
            caller.connect(f"{host}/.s.PGSQL.{port}")
        else:
            caller = socket.create_connection((host, port), timeout=SIGN_OF_LIFE_S)
        with caller:
            caller.sendall(struct.pack("!ii", 8, 80877103))
            caller.recv(1)
    except OSError:
        return False
    return True


psycopg2.extensions.set_wait_callback(_wait)


def init_database(app: Flask, db: Database, settings: ServiceSettings, migrations: Path) -> None:
    """Bind the service's database and migration history to its app."""
    from flask_migrate import Migrate

    app.config["SQLALCHEMY_DATABASE_URI"] = settings.sqlalchemy_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings)
    db.init_app(app)
    Migrate(app, db, directory=str(migrations), compare_type=True, compare_server_default=False)
    with app.app_context():
        _ping_idle_connections(db.engine)
        _switch_without_asking(db.engine)
        if hasattr(os, "register_at_fork"):
            # A forked child must not speak on its parent's connections.
            engine = db.engine
            os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))


def _ping_idle_connections(engine: sa.Engine) -> None:
    """Test a pooled connection before use when it sat idle, so that a restarted server costs nobody an error.

    Busy connections skip the extra round trip that pool_pre_ping would always make.
    """

    @event.listens_for(engine, "checkin")
    def _note_time(connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, proxy: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() - idle_since < PING_AFTER_IDLE_S:
            return
        connection.silence = SILENCE_OF_IDLE_S
        try:
            if not engine.dialect.do_ping(connection):
                raise DisconnectionError
        except ServerSilent:
            # A new connection would wait for the same server.
            raise
        except Exception as error:
            raise DisconnectionError from error
        connection.silence = SILENCE_S


def _switch_without_asking(engine: sa.Engine) -> None:
    """Let a connection go to AUTOCOMMIT and back within the driver, which tells the server nothing.

    The dialect's own way back names an isolation level, and that is a statement: one round trip per read.
    """

    def switch(connection: Any, level: str) -> None:
        connection.autocommit = level == "AUTOCOMMIT"

    engine.dialect.set_isolation_level = switch  # type: ignore[method-assign,assignment]


def upgrade(app: Flask) -> None:
    """Bring the app's database to its newest migration, in this process."""
    from flask_migrate import upgrade as run_upgrade

    with app.app_context():
        run_upgrade(directory=app.extensions["migrate"].directory)


def run_migrations() -> None:
    """What every service's migrations/env.py does: one transaction under an advisory lock, with time limits.

    A second migrator waits for the first and then finds nothing left to do.
    """
    from alembic import context
    from flask import current_app

    database: SQLAlchemy = current_app.extensions["migrate"].db
    config = context.config
    if not config.attributes.get("connection"):
        url = database.engine.url
        # An own connection: the pool's statement time-out is for requests.
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={
                "connection_factory": patient(connect_within=5),
                "options": f"-c lock_timeout={MIGRATION_LOCK_TIMEOUT_MS}"
                f" -c statement_timeout={MIGRATION_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
        )
        with engine.connect() as connection:
            _migrate(context, connection, database)
        engine.dispose()
    else:
        _migrate(context, config.attributes["connection"], database)


def _migrate(context: Any, connection: sa.Connection, database: SQLAlchemy) -> None:
    def no_empty_revisions(_context: Any, _revision: Any, directives: list[Any]) -> None:
        # `db check` reads its directive afterwards: only `db revision --autogenerate` may lose an empty one.
        is_writing = getattr(context.config.cmd_opts, "autogenerate", False)
        is_empty = (
            directives and directives[0].upgrade_ops is not None and directives[0].upgrade_ops.is_empty()
        )
        if is_writing and is_empty:
            directives.clear()

    with connection.begin():
        connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
        connection.execute(sa.text("SET LOCAL statement_timeout = '60s'"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_ADVISORY_LOCK})
        connection.execute(sa.text(f"SET LOCAL lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}"))
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {MIGRATION_STATEMENT_TIMEOUT_MS}"))
        context.configure(
            connection=connection,
            target_metadata=database.metadata,
            compare_type=True,
            process_revision_directives=no_empty_revisions,
        )
        context.run_migrations()
