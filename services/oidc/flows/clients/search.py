"""Staff look for clients: by name, id or host of a redirect URI, by state; newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.oidc.extensions import db
from services.oidc.models import Client

MAX_SEARCH_LENGTH = 200
STATES: Mapping[str, Any] = {
    "enabled": Client.is_enabled,
    "disabled": sa.not_(Client.is_enabled),
    "public": Client.auth_method == "none",
    "first_party": Client.is_first_party,
    "dynamic": Client.registration_token_digest.is_not(None),
}
"""What clients may be filtered by."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of the list; the next one begins `after` the client of this time and id. None at its end."""

    clients: Sequence[Client]
    after: tuple[datetime, str] | None


def search_clients(
    *, text: str = "", state: str | None = None, after: tuple[datetime, str] | None = None, limit: int = 50
) -> Page:
    """Clients, newest first: of a word of STATES, with `text` in the name or a redirect URI's host, or as the id."""
    keys = (Client.created_at, Client.client_id)
    query = sa.select(Client).order_by(*[key.desc() for key in keys]).limit(limit + 1)
    wanted = " ".join(text.replace("\x00", "").split())[:MAX_SEARCH_LENGTH].lower()
    if wanted:
        query = query.where(_is_like(wanted))
    if state is not None:
        query = query.where(STATES[state])
    if after is not None:
        query = query.where(sa.tuple_(*keys) < sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    with db.single_statements() as session:
        found = list(session.scalars(query))
    shown = found[:limit]
    return Page(clients=shown, after=_place_of(shown[-1]) if len(found) > limit else None)


def _place_of(client: Client) -> tuple[datetime, str]:
    return client.created_at, client.client_id


def _is_like(text: str) -> sa.ColumnElement[bool]:
    uri = sa.func.unnest(Client.redirect_uris).column_valued("uri")
    host = sa.func.split_part(sa.func.split_part(uri, "://", 2), "/", 1)
    in_host = sa.select(sa.literal(1)).where(sa.func.lower(host).contains(text, autoescape=True)).exists()
    in_name = sa.func.lower(Client.name).contains(text, autoescape=True)
    return sa.or_(in_name, sa.func.lower(Client.client_id) == text, in_host)
