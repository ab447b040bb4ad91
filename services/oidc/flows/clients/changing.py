"""Clients: made, changed; by staff, by command, by file, by themselves, by the launcher."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask_babel import lazy_gettext

from libs.guard.single_use import digest
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.flows import keys
from services.oidc.flows.clients.ending import end_what_it_was_given
from services.oidc.flows.clients.finding import lock_client
from services.oidc.flows.clients.ids import check_client_id
from services.oidc.flows.clients.metadata import BY_NAME, check, settings_of, tidy, unique
from services.oidc.flows.clients.registered import SECRET_METHODS, forget
from services.oidc.flows.clients.secrets import first_secret, secret_after
from services.oidc.flows.clients.sectors import (
    ABOUT,
    Sector,
    check_sector,
    fetch_sector,
    fetch_sector_for,
)
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
SIGNED_WITH = ("id_token_signed_response_alg", "userinfo_signed_response_alg", "access_token_signing_alg")
"""The settings that name an algorithm of ours."""


class ClientChanged(Problem):
    """Somebody changed the client since it was looked at."""

    status, slug, title = 412, "client-changed", lazy_gettext("Somebody changed this client meanwhile")


@dataclass(frozen=True)
class ChangedClient:
    """A client that was made or changed and, this once, the secret that was made for it, where it needed one."""

    client: Client
    secret: str | None = field(repr=False)


def usual() -> dict[str, Any]:
    """USUAL, as values of one's own."""
    return copy.deepcopy(dict(USUAL))


def create_client(**settings: Any) -> ChangedClient:
    """Register a client: settings by their names in metadata.SETTINGS, the others as usual. Raises InvalidClient."""
    client = new_client(settings)
    sector = fetch_sector(client.sector_identifier_uri)
    with db.transaction() as session:
        secret = add_client(session, client, sector=sector)
    return ChangedClient(client, secret)


def new_client(settings: Mapping[str, Any], **more: Any) -> Client:
    """A client that is in no database yet, checked; `more` are columns that nobody chooses. Raises InvalidClient."""
    chosen = {name: tidy(name, value) for name, value in settings.items()}
    client = Client(**{**usual(), **chosen, **more})
    check(client)
    return client


def add_client(
    session: Any, client: Client, *, sector: Sector | None, secret_digest: str | None = None
) -> str | None:
    """Keep a new client, with the secret of this hash or one that is made and returned. Raises InvalidClient."""
    check_sector(client, sector)
    session.add(client)
    secret = None
    if secret_digest is not None:
        client.secrets.append(ClientSecret(digest=secret_digest))
    else:
        secret = first_secret(client)
    session.flush()
    ensure_keys(client)
    audit.record("client.created", target=f"client:{client.client_id}", after=settings_of(client))
    client_id = client.client_id
    db.after_commit(lambda: forget(client_id))
    return secret


def change_client(
    client_id: str, *, expected: Collection[int] | None = None, **changes: Any
) -> ChangedClient:
    """Change what is named; None clears what can be None, and leaves the rest as it is.

    `expected` are the versions that the change was made for. A client that from now on proves itself by a secret gets
    its first; one that no longer does loses those it had. Raises UnknownClient, InvalidClient, ClientChanged.
    """
    sector = fetch_sector_for(client_id, changes)
    with db.transaction() as session:
        client = lock_client(session, client_id)
        if expected is not None and client.version not in expected:
            raise ClientChanged
        changed = apply_changes(session, client, changes, sector=sector)
        secret = secret_after(changed, client)
        session.flush()
    return ChangedClient(client, secret)


def update_client(client_id: str, *, expected: Collection[int] | None = None, **changes: Any) -> Client:
    """The same for whoever has nobody to show a secret to; rotate_secret makes another one where it is needed."""
    return change_client(client_id, expected=expected, **changes).client


def apply_changes(
    session: Any, client: Client, changes: Mapping[str, Any], *, sector: Sector | None
) -> dict[str, tuple[Any, Any]]:
    """Change a client that is locked. Returns what was and is, by setting. Raises InvalidClient."""
    before = settings_of(client)
    with session.no_autoflush:  # a query in between would send them to the database unchecked
        for name, value in changes.items():
            if value is not None or BY_NAME[name].is_optional:
                setattr(client, name, tidy(name, value))
        check(client)
        after = settings_of(client)
        changed = {name: (before[name], after[name]) for name in after if after[name] != before[name]}
        if set(ABOUT) & set(changed):
            check_sector(client, sector)
        if "auth_method" in changed and client.auth_method not in SECRET_METHODS:
            client.secrets.clear()
    if not changed:
        return {}
    client.version += 1
    client_id = client.client_id
    audit.record(
        "client.updated",
        target=f"client:{client_id}",
        before={name: values[0] for name, values in changed.items()},
        after={name: values[1] for name, values in changed.items()},
    )
    session.flush()
    ensure_keys(client)
    if "is_enabled" in changed and not client.is_enabled:
        end_what_it_was_given(client_id)
    db.after_commit(lambda: forget(client_id))
    return changed


def ensure_keys(client: Client) -> None:
    """See that what the client has chosen can be signed, before it asks."""
    if client.is_enabled:
        keys.ensure_algorithms(getattr(client, name) for name in SIGNED_WITH)


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
    check_client_id(client_id)
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
        client = session.get(Client, client_id, with_for_update={"key_share": True})
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
