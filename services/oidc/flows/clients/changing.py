"""Clients: made, changed, given secrets, deleted; by staff, by command, by the launcher."""

import copy
import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.guard.single_use import digest, make
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.flows.clients.metadata import (
    BY_NAME,
    InvalidClient,
    check,
    settings_of,
    tidy,
    unique,
)
from services.oidc.flows.clients.registered import CLIENT_ID, SECRET_METHODS, forget
from services.oidc.models import Client, ClientSecret

DEFAULT_SCOPES = ("openid", "profile", "email")
USUAL: Mapping[str, Any] = {
    "application_type": "web",
    "auth_method": "client_secret_basic",
    "redirect_uris": [],
    "post_logout_redirect_uris": [],
    "grants": ["authorization_code", "refresh_token"],
    "scopes": list(DEFAULT_SCOPES),
    "require_pkce": True,
    "rotate_refresh_tokens": True,
    "is_first_party": False,
    "is_enabled": True,
    "allowed_roles": [],
    "contacts": [],
    "request_uris": [],
    "require_pushed_authorization_requests": False,
    "require_signed_request_object": False,
    "subject_type": "public",
    "id_token_signed_response_alg": "RS256",
    "access_token_format": "jwt",
    "access_token_signing_alg": "ES256",
    "claims_mapping": {},
    "require_auth_time": False,
    "default_acr_values": [],
    "backchannel_logout_session_required": False,
    "frontchannel_logout_session_required": False,
}
"""What a client is unless something else is chosen; what is not here is None."""
SECRET_OVERLAP = timedelta(days=1)
"""How long the secret before the newest goes on working, unless told otherwise."""


class UnknownClient(Problem):
    """No client has this id."""

    status, slug, title = 404, "unknown-client", lazy_gettext("There is no client with this id")


class ClientChanged(Problem):
    """Somebody changed the client since it was looked at."""

    status, slug, title = 412, "client-changed", lazy_gettext("Somebody changed this client meanwhile")


@dataclass(frozen=True)
class CreatedClient:
    """A new client and, this once, its secret; a public client has none."""

    client: Client
    secret: str | None


def create_client(**settings: Any) -> CreatedClient:
    """Register a client: settings by their names in metadata.SETTINGS, the others as usual. Raises InvalidClient."""
    client = Client(**{**usual(), **{name: tidy(name, value) for name, value in settings.items()}})
    check(client)
    with db.transaction() as session:
        session.add(client)
        secret = _add_secret(client) if client.auth_method in SECRET_METHODS else None
        session.flush()
        audit.record("client.created", target=f"client:{client.client_id}", after=settings_of(client))
    return CreatedClient(client, secret)


def usual() -> dict[str, Any]:
    """USUAL, as values of one's own."""
    return copy.deepcopy(dict(USUAL))


def update_client(client_id: str, *, expected: Collection[int] | None = None, **changes: Any) -> Client:
    """Change what is named; None clears what can be None, and leaves the rest as it is.

    `expected` are the versions that the change was made for. Raises UnknownClient, InvalidClient, ClientChanged.
    """
    with db.transaction() as session:
        client = _lock(session, client_id)
        if expected is not None and client.version not in expected:
            raise ClientChanged
        before = settings_of(client)
        # Read before the changes: a query after them would send them to the database unchecked.
        has_secret = bool(client.secrets)
        for name, value in changes.items():
            if value is not None or BY_NAME[name].is_optional:
                setattr(client, name, tidy(name, value))
        with session.no_autoflush:
            if client.auth_method in SECRET_METHODS and not has_secret:
                raise InvalidClient(errors={"auth_method": lazy_gettext("A public client stays public.")})
            check(client)
        after = settings_of(client)
        changed = {name for name in after if after[name] != before[name]}
        if changed:
            client.version += 1
            audit.record(
                "client.updated",
                target=f"client:{client_id}",
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
            )
        session.flush()
        db.after_commit(lambda: forget(client_id))
    return client


def rotate_secret(client_id: str, *, overlap: timedelta = SECRET_OVERLAP) -> str:
    """Give the client a new secret; the one before works on for `overlap`, any older one ends now.

    Raises UnknownClient, InvalidClient for a public client.
    """
    with db.transaction() as session:
        client = _lock(session, client_id)
        if client.auth_method not in SECRET_METHODS:
            raise InvalidClient(lazy_gettext("This client has no secret: it proves itself in another way."))
        now = utcnow()
        until = now + overlap
        *older, newest = sorted(client.secrets, key=lambda secret: secret.created_at)
        for secret in older:
            client.secrets.remove(secret)
        newest.expires_at = min(newest.expires_at or until, until)
        if newest.expires_at <= now:
            client.secrets.remove(newest)
        text = _add_secret(client)
        audit.record(
            "client.secret_rotated", target=f"client:{client_id}", after={"earlier_secret_ends_at": until}
        )
        db.after_commit(lambda: forget(client_id))
    return text


def verify_secret(client_id: str, *, secret: str) -> bool:
    """Whether the client would be let in with this secret now. Raises UnknownClient."""
    client = get_client(client_id)
    now, offered = utcnow(), digest(secret)
    return any(
        hmac.compare_digest(offered, known.digest) and (known.expires_at is None or known.expires_at > now)
        for known in client.secrets
    )


def delete_client(client_id: str) -> None:
    """Remove the client with its secrets, consents, grants and tokens. Raises UnknownClient."""
    with db.transaction() as session:
        client = _lock(session, client_id)
        audit.record("client.deleted", target=f"client:{client_id}", before=settings_of(client))
        session.delete(client)
        db.after_commit(lambda: forget(client_id))


def ensure_client(
    *,
    client_id: str,
    name: str,
    redirect_uris: Sequence[str],
    post_logout_redirect_uris: Sequence[str] = (),
    secret: str | None = None,
    scopes: Iterable[str] = (*DEFAULT_SCOPES, "offline_access"),
) -> bool:
    """See that this very client exists, for whoever starts the suite. True when something was changed.

    Without a secret it is a public client. Raises InvalidClient.
    """
    wanted = {
        "name": name,
        "redirect_uris": unique(redirect_uris),
        "post_logout_redirect_uris": unique(post_logout_redirect_uris),
        "scopes": unique(scopes),
        "grants": list(USUAL["grants"]),
        "auth_method": "client_secret_basic" if secret else "none",
        "is_enabled": True,
    }
    with db.transaction() as session:
        client = session.get(Client, client_id, with_for_update=True)
        before = settings_of(client) if client else None
        if client is None:
            client = Client(**{**usual(), **wanted, "client_id": client_id})
            session.add(client)
        for setting, value in wanted.items():
            setattr(client, setting, value)
        with session.no_autoflush:
            check(client)
        has_secret = any(known.digest == digest(secret or "") for known in client.secrets)
        if secret and not has_secret:
            client.secrets[:] = [ClientSecret(digest=digest(secret))]
        elif not secret:
            client.secrets.clear()
        session.flush()
        after = settings_of(client)
        if after == before and has_secret == bool(secret):
            return False
        audit.record("client.ensured", target=f"client:{client_id}", before=before, after=after)
        db.after_commit(lambda: forget(client_id))
    return True


def get_client(client_id: str) -> Client:
    """The client, enabled or not. Raises UnknownClient."""
    client = db.session.get(Client, client_id) if CLIENT_ID.match(client_id) else None
    if client is None:
        raise UnknownClient
    return client


def list_clients() -> list[Client]:
    """All clients by name."""
    return list(db.session.scalars(sa.select(Client).order_by(sa.func.lower(Client.name), Client.client_id)))


def _lock(session: Any, client_id: str) -> Client:
    client = session.get(Client, client_id, with_for_update=True) if CLIENT_ID.match(client_id) else None
    if client is None:
        raise UnknownClient
    return client


def _add_secret(client: Client) -> str:
    text, hashed = make()
    client.secrets.append(ClientSecret(digest=hashed, created_at=utcnow()))
    return text
