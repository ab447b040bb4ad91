"""Finding clients: by their id, all of them, for reading and for changing."""

from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.orm import selectinload

from libs.web.problems import Problem
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import CLIENT_ID
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
    """The client as it is now, for the transaction under way alone. Raises UnknownClient."""
    client: Client | None = None
    if CLIENT_ID.match(client_id):
        client = session.get(Client, client_id, with_for_update=True, populate_existing=True)
    if client is None:
        raise UnknownClient
    return client


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
