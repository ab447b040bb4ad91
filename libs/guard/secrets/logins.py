"""Logins of a service's database take turns: the next one is made, the service moves over, the earlier one is closed.

One role owns everything, and logins act as it, so that what they make is its, too. PostgreSQL's administrator is told
by SQL in which the password is a SCRAM verifier: no log and no list of statements learns it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg2.extensions import encrypt_password, quote_ident

from libs.guard.secrets.rings import CannotTurn
from libs.settings import ServiceSettings

MOST_BYTES = 63
"""Of a role's name."""
DIGITS = 8
_EARLIER = sa.text(
    """
    SELECT rolname AS name, rolname = current_user AS is_owner, (
        SELECT count(*) FROM pg_stat_activity
        WHERE usename = rolname AND coalesce(backend_type, 'client backend') = 'client backend'
    ) AS connections
    FROM pg_roles
    WHERE rolname <> :kept AND (rolname = current_user OR (
        starts_with(rolname, :prefix) AND substr(rolname, length(:prefix) + 1) ~ '^[0-9a-f]{8}$'
        AND 'role=' || current_user = ANY (rolconfig)))
    ORDER BY is_owner, name
    """
)
"""Whoever acts as the owner of this very database, and the owner."""


@dataclass(frozen=True)
class Closing:
    """What happens to a login that was used before; no statement while somebody is connected by it."""

    says: str
    statement: str | None


def next_login(connection: sa.Connection, password: str) -> str:
    """Its name: of the database and of the password, so that whoever repeats a step means the same login."""
    return _prefix(connection) + hashlib.sha256(password.encode()).hexdigest()[:DIGITS]


def _prefix(connection: sa.Connection) -> str:
    database: str = connection.execute(sa.text("SELECT current_database()")).scalar_one()
    return f"{database.encode()[: MOST_BYTES - 1 - DIGITS].decode(errors='ignore')}_"


def statements(connection: sa.Connection, password: str) -> Iterator[str]:
    """What makes the next login; again, if that was done before."""
    login = next_login(connection, password)
    driver: Any = connection.connection.dbapi_connection
    owner = connection.execute(sa.text("SELECT current_user")).scalar_one()
    is_there = connection.execute(
        sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :login"), {"login": login}
    ).scalar_one()
    verifier = encrypt_password(password, login, driver, "scram-sha-256")
    role, whose = quote_ident(login, driver), quote_ident(owner, driver)
    yield f"{'ALTER' if is_there else 'CREATE'} ROLE {role} LOGIN PASSWORD '{verifier}';"
    yield f"GRANT {whose} TO {role};"
    yield f"ALTER ROLE {role} SET role TO {whose};"


def address(settings: ServiceSettings, login: str, password: str) -> str:
    """The service's address with another login. What needs escaping is escaped."""
    url = sa.make_url(settings.DATABASE_URL).set(username=login, password=password)
    return url.render_as_string(hide_password=False)


def try_login(settings: ServiceSettings, login: str, password: str, *, owner: str) -> None:
    """Raises CannotTurn where the login does not work yet, or does not act as the owner."""
    url = sa.make_url(settings.sqlalchemy_url).set(username=login, password=password)
    engine = sa.create_engine(
        url, poolclass=sa.NullPool, connect_args={"connect_timeout": settings.DB_CONNECT_TIMEOUT_S}
    )
    try:
        with engine.connect() as connection:
            acts_as = connection.execute(sa.text("SELECT current_user")).scalar_one()
    except sa.exc.OperationalError:
        raise CannotTurn(
            f"The login {login} does not work yet: PostgreSQL's administrator has to run what --sql prints."
        ) from None
    if acts_as != owner:
        raise CannotTurn(
            f"The login {login} acts as {acts_as} and not as {owner}: run what --sql prints again."
        )


def closings(connection: sa.Connection, kept: str) -> Iterator[Closing]:
    """Each login but the one that is kept. Raises CannotTurn where that is the owner: there is no other one yet."""
    owner = connection.execute(sa.text("SELECT current_user")).scalar_one()
    if kept == owner:
        raise CannotTurn(
            f"The Secret names {owner} itself, and no login that acts as it: make the next one first."
        )
    driver: Any = connection.connection.dbapi_connection
    for role in connection.execute(_EARLIER, {"kept": kept, "prefix": _prefix(connection)}):
        name = quote_ident(role.name, driver)
        if role.connections:
            yield Closing(
                f"{role.name}: {role.connections} connection(s) are open by it, so it stays as it is.", None
            )
        elif role.is_owner:
            yield Closing(f"{role.name}: no password opens it any more.", f"ALTER ROLE {name} PASSWORD NULL;")
        else:
            yield Closing(f"{role.name}: goes.", f"DROP ROLE {name};")
