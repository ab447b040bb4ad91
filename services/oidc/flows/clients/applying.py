"""Clients as a file says: made and changed in one transaction, all of them or none; what is not named stays."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.guard.single_use import digest
from services.oidc.extensions import db
from services.oidc.flows.clients.changing import add_client, apply_changes, new_client
from services.oidc.flows.clients.documents import UnreadableDocument
from services.oidc.flows.clients.ids import check_client_id
from services.oidc.flows.clients.metadata import InvalidClient
from services.oidc.flows.clients.registered import SECRET_METHODS
from services.oidc.flows.clients.secrets import holds_secret, install_secret, secret_after
from services.oidc.flows.clients.sectors import Sector, fetch_sector, fetch_sector_for
from services.oidc.flows.clients.values import read_settings
from services.oidc.models import Client

APPLY_LOCK = 0x01DC_0A11
"""The advisory lock under which files are applied, so that two of them never make one client."""
MOST_CLIENTS = 1000
SHORTEST_SECRET = 32
"""Characters; secrets are kept as SHA-256, which only something random withstands."""
SECRETS = ("secret_sha256", "secret_from_env")


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a file does to one client."""

    client_id: str
    action: str
    """created, updated or unchanged."""
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """What was and what is, by setting."""
    secret: str | None = field(default=None, repr=False)
    """Made for it, this once; never in a dry run."""


@dataclass(frozen=True, kw_only=True)
class _Wish:
    client_id: str
    settings: Mapping[str, Any]
    secret_digest: str | None
    sector: Sector | None


class _DryRun(Exception):
    """Takes everything back."""


def apply_document(document: Any, *, dry_run: bool = False) -> list[Applied]:
    """Make clients as the document says, in its order; with `dry_run` only say what would be done.

    Raises UnreadableDocument, InvalidClient whose errors are named `CLIENT.SETTING`.
    """
    wishes = _read_wishes(document)
    applied: dict[str, Applied] = {}
    errors: dict[str, Any] = {}
    try:
        with db.transaction() as session:
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(APPLY_LOCK)))
            for wish in sorted(wishes, key=lambda wish: wish.client_id):  # locked in one order
                try:
                    applied[wish.client_id] = _apply(session, wish, dry_run=dry_run)
                except InvalidClient as error:
                    errors |= _named(wish.client_id, error)
                    for thing in list(session.dirty):  # of the refused one: all others are sent already
                        session.expire(thing)
            if errors:
                raise InvalidClient(errors=errors)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return [applied[wish.client_id] for wish in wishes]


def _apply(session: Any, wish: _Wish, *, dry_run: bool) -> Applied:
    client = session.get(Client, wish.client_id, with_for_update={"key_share": True}, populate_existing=True)
    if client is None:
        client = new_client(wish.settings, client_id=wish.client_id)
        if wish.secret_digest and client.auth_method not in SECRET_METHODS:
            raise _no_secret()
        secret = add_client(session, client, sector=wish.sector, secret_digest=wish.secret_digest)
        return Applied(
            client_id=wish.client_id,
            action="created",
            changes={name: (None, getattr(client, name)) for name in wish.settings},
            secret=None if dry_run else secret,
        )
    changes = apply_changes(session, client, wish.settings, sector=wish.sector)
    secret = None
    if wish.secret_digest is not None:
        if client.auth_method not in SECRET_METHODS:
            raise _no_secret()
        if not holds_secret(client, wish.secret_digest):
            install_secret(client, wish.secret_digest)
            changes = {**changes, "secret": ("another one", "the one that is named")}
    elif (secret := secret_after(changes, client)) is not None:
        changes = {**changes, "secret": ("none", "a new one")}
    session.flush()
    return Applied(
        client_id=wish.client_id,
        action="updated" if changes else "unchanged",
        changes=changes,
        secret=None if dry_run else secret,
    )


def _no_secret() -> InvalidClient:
    return InvalidClient(
        errors={"secret": lazy_gettext("This client has no secret: it proves itself in another way.")}
    )


# -- reading -----------------------------------------------------------------------------------------------------


def _read_wishes(document: Any) -> list[_Wish]:
    """What the document asks for. Fetches what has to be fetched, before the transaction."""
    if isinstance(document, dict) and set(document) == {"clients"}:
        document = document["clients"]
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise UnreadableDocument(lazy_gettext("It must be a list of clients, or have one under `clients`."))
    if len(document) > MOST_CLIENTS:
        raise UnreadableDocument(lazy_gettext("At most %(count)s clients.", count=MOST_CLIENTS))
    wishes: list[_Wish] = []
    errors: dict[str, Any] = {}
    for number, entry in enumerate(document, 1):
        try:
            client_id = check_client_id(entry.get("client_id"))
        except InvalidClient as error:
            errors |= _named(str(number), error)
            continue
        if any(wish.client_id == client_id for wish in wishes):
            errors[f"{client_id}.client_id"] = lazy_gettext("This client is there twice.")
            continue
        try:
            wishes.append(_read_wish(client_id, entry))
        except InvalidClient as error:
            errors |= _named(client_id, error)
    if errors:
        raise InvalidClient(errors=errors)
    return wishes


def _read_wish(client_id: str, entry: Mapping[str, Any]) -> _Wish:
    settings = read_settings(
        {name: value for name, value in entry.items() if name not in (*SECRETS, "client_id")}
    )
    known = db.fetch_one(sa.select(Client.client_id).where(Client.client_id == client_id))
    wanted = settings.get("sector_identifier_uri")
    sector = fetch_sector_for(client_id, settings) if known else fetch_sector(wanted)
    return _Wish(client_id=client_id, settings=settings, secret_digest=_secret_digest(entry), sector=sector)


def _secret_digest(entry: Mapping[str, Any]) -> str | None:
    """The hash of the secret that an entry names. Raises InvalidClient."""
    named = [name for name in SECRETS if name in entry]
    if not named:
        return None
    value = entry[named[0]]
    if len(named) > 1:
        raise InvalidClient(
            errors={named[1]: lazy_gettext("Either the hash or the name of a variable, not both.")}
        )
    if named[0] == "secret_sha256":
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise InvalidClient(
                errors={
                    "secret_sha256": lazy_gettext("The SHA-256 of a random secret, 64 hexadecimal digits.")
                }
            )
        return value
    secret = os.environ.get(value, "") if isinstance(value, str) else ""
    if len(secret) < SHORTEST_SECRET:
        raise InvalidClient(
            errors={
                "secret_from_env": lazy_gettext(
                    "The environment must hold a random secret of at least %(count)s characters under this name.",
                    count=SHORTEST_SECRET,
                )
            }
        )
    return digest(secret)


def _named(client_id: str, error: InvalidClient) -> dict[str, Any]:
    if not error.errors:
        return {client_id: error.detail or error.title}
    return {f"{client_id}.{name}": words for name, words in error.errors.items()}
