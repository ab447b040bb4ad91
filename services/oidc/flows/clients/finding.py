"""Finding clients: by their id, all of them, for reading and for changing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2.errors
import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.orm import selectinload

from libs.web.problems import Problem
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import CLIENT_ID, forget
from services.oidc.models import Client


class UnknownClient(Problem):
    """No client has this id."""

    status, slug, title = 404, "unknown-client", lazy_gettext("There is no client with this id")


def get_client(client_id: str) -> Client:
    """The client, enabled or not. Raises UnknownClient."""
    client = db.session.get(Client, client_id) if CLIENT_ID.match(client_id) else None
    if client is None:
        raise UnknownClient
    return client


def lock_client(session: Any, client_id: str) -> Client:
    """The client as it is now, for the transaction under way alone. Raises UnknownClient.

    Grants may refer to it meanwhile (FOR NO KEY UPDATE): whoever ends a person's access holds grants already when
    PostgreSQL looks at the client of each, and must not wait for whoever holds the client and waits for its grants.
    """
    client: Client | None = None
    if CLIENT_ID.match(client_id):
        client = session.get(Client, client_id, with_for_update={"key_share": True}, populate_existing=True)
    if client is None:
        raise UnknownClient
    return client


@contextmanager
def still_there(client_id: str) -> Iterator[None]:
    """For what is stored for a client that this process remembers: somebody may have deleted it a moment ago.

    Raises UnknownClient.
    """
    try:
        yield
    except sa.exc.IntegrityError as error:
        if not isinstance(error.orig, psycopg2.errors.ForeignKeyViolation):
            raise
        forget(client_id)
        raise UnknownClient from error


def list_clients() -> list[Client]:
    """All clients by name."""
    return list(db.session.scalars(sa.select(Client).order_by(sa.func.lower(Client.name), Client.client_id)))


def read_whole(client_id: str | None = None) -> list[Client]:
    """One client, or all by name, with their secrets, held by no transaction. Raises UnknownClient."""
    query = (
        sa.select(Client)
        .options(selectinload(Client.secrets))
        .order_by(sa.func.lower(Client.name), Client.client_id)
    )
    if client_id is not None:
        query = query.where(Client.client_id == client_id)
    with db.single_statements() as session:
        found = list(session.scalars(query)) if client_id is None or CLIENT_ID.match(client_id) else []
    if client_id is not None and not found:
        raise UnknownClient
    return found
