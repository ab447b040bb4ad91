"""Sector identifiers: the document that says which redirect URIs are one sector (OpenID Connect Registration §5).

It is fetched before the transaction that relies on it; inside, the client is only compared with what was there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from services.oidc.extensions import db
from services.oidc.flows.clients.fetching import CannotFetch, fetch_json
from services.oidc.flows.clients.metadata import InvalidClient, is_acceptable_uri, tidy
from services.oidc.models import Client

ABOUT = ("sector_identifier_uri", "redirect_uris")
"""What a change must touch for the document to be asked."""


@dataclass(frozen=True)
class Sector:
    """What the document said when it was fetched."""

    uri: str
    redirect_uris: frozenset[str]


def fetch_sector(uri: str | None) -> Sector | None:
    """The sector behind an address; None for none. Raises InvalidClient."""
    if uri is None or not is_acceptable_uri(uri, is_native=False):
        return None  # the rules of the settings say what is wrong with it
    try:
        found = fetch_json(uri)
    except CannotFetch as error:
        raise _refused(lazy_gettext("It could not be read: %(why)s.", why=str(error))) from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _refused(lazy_gettext("There must be a JSON array of redirect URIs."))
    return Sector(uri, frozenset(found))


def fetch_sector_for(client_id: str, changes: Mapping[str, Any]) -> Sector | None:
    """The sector of a client after these changes; None where they do not touch it. Raises InvalidClient."""
    if not any(name in changes for name in ABOUT):
        return None
    row = db.fetch_one(sa.select(Client.sector_identifier_uri).where(Client.client_id == client_id))
    present = row.sector_identifier_uri if row else None
    return fetch_sector(tidy(ABOUT[0], changes[ABOUT[0]]) if ABOUT[0] in changes else present)


def check_sector(client: Client, sector: Sector | None) -> None:
    """Every redirect URI must stand in the document. Raises InvalidClient."""
    if client.sector_identifier_uri is None:
        return
    if sector is None or sector.uri != client.sector_identifier_uri:
        raise _refused(lazy_gettext("It was changed meanwhile: try again."))
    if missing := [uri for uri in client.redirect_uris if uri not in sector.redirect_uris]:
        raise _refused(lazy_gettext("The document does not name %(uri)s.", uri=missing[0]))


def _refused(words: Any) -> InvalidClient:
    return InvalidClient(errors={"sector_identifier_uri": words})
