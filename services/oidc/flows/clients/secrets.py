"""Secrets of clients: shown once, kept as hashes; two may hold at once, so that one is changed without a gap."""

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.guard.single_use import digest, make
from services.oidc.extensions import audit, db
from services.oidc.flows.clients.finding import get_client, lock_client
from services.oidc.flows.clients.metadata import InvalidClient
from services.oidc.flows.clients.registered import SECRET_METHODS, forget
from services.oidc.models import Client, ClientSecret

SECRET_OVERLAP = timedelta(days=1)
"""How long the secret before the newest goes on working, unless told otherwise."""
ENDS_SOON = timedelta(days=14)
"""A secret that ends within this time is pointed out."""


def living_secrets(client: Client) -> Sequence[ClientSecret]:
    """The secrets that let the client in now, oldest first."""
    now = utcnow()
    return [secret for secret in client.secrets if secret.expires_at is None or secret.expires_at > now]


def ends_soon(secret: ClientSecret) -> bool:
    return secret.expires_at is not None and secret.expires_at - utcnow() < ENDS_SOON


def rotate_secret(
    client_id: str, *, overlap: timedelta = SECRET_OVERLAP, lifetime: timedelta | None = None
) -> str:
    """Give the client a new secret, its first one too; the one before works on for `overlap`, any older one ends now.

    `lifetime` ends the new one. Raises UnknownClient, InvalidClient for a client that proves itself without a secret.
    """
    with db.transaction() as session:
        client = lock_client(session, client_id)
        text, hashed = make()
        install_secret(client, hashed, overlap=overlap, lifetime=lifetime)
        session.flush()
        db.after_commit(lambda: forget(client_id))
    return text


def install_secret(
    client: Client,
    hashed: str,
    *,
    overlap: timedelta = SECRET_OVERLAP,
    lifetime: timedelta | None = None,
) -> None:
    """Make this the newest secret of a client that is locked. Raises InvalidClient."""
    if client.auth_method not in SECRET_METHODS:
        raise InvalidClient(
            errors={
                "auth_method": lazy_gettext("This client has no secret: it proves itself in another way.")
            }
        )
    now = utcnow()
    until = now + overlap
    living = living_secrets(client)
    newest = living[-1] if living and overlap > timedelta(0) else None
    for secret in list(client.secrets):
        if secret is not newest:
            client.secrets.remove(secret)
    if newest is not None:
        newest.expires_at = min(newest.expires_at or until, until)
    ends_at = now + lifetime if lifetime is not None else None
    add_secret(client, hashed, ends_at=ends_at)
    audit.record(
        "client.secret_rotated",
        target=f"client:{client.client_id}",
        after={
            "earlier_secret_ends_at": newest.expires_at if newest else (now if living else None),
            "ends_at": ends_at,
        },
    )


def add_secret(client: Client, hashed: str, *, ends_at: datetime | None = None) -> None:
    client.secrets.append(ClientSecret(digest=hashed, created_at=utcnow(), expires_at=ends_at))


def first_secret(client: Client) -> str | None:
    """Make a secret for a client that needs one and has none. Returns it, this once."""
    if client.auth_method not in SECRET_METHODS or living_secrets(client):
        return None
    text, hashed = make()
    add_secret(client, hashed)
    return text


def secret_after(changed: Collection[str], client: Client) -> str | None:
    """The first secret of a client that proves itself by one since this change. Returns it, this once."""
    secret = first_secret(client) if "auth_method" in changed else None
    if secret is not None:
        audit.record("client.secret_made", target=f"client:{client.client_id}")
    return secret


def verify_secret(client_id: str, *, secret: str) -> bool:
    """Whether the client would be let in with this secret now. Raises UnknownClient."""
    return holds_secret(get_client(client_id), digest(secret))


def holds_secret(client: Client, hashed: str) -> bool:
    """Whether a secret with this hash lets the client in, compared in constant time."""
    return client.auth_method in SECRET_METHODS and any(
        hmac.compare_digest(hashed, known.digest) for known in living_secrets(client)
    )


def in_rows(client: Client) -> list[dict[str, Any]]:
    """What may be shown of the secrets that hold now: their ages, never anything of themselves."""
    return [
        {
            "id": secret.id,
            "created_at": secret.created_at,
            "last_used_at": secret.last_used_at,
            "expires_at": secret.expires_at,
            "ends_soon": ends_soon(secret),
        }
        for secret in living_secrets(client)
    ]
