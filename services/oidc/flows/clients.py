"""Clients: made, changed, given secrets, deleted; by staff, by command, by the launcher."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.guard.single_use import digest, make
from libs.settings import is_loopback
from libs.web.problems import Problem
from services.oidc.extensions import audit, db
from services.oidc.flows.registered_clients import CLIENT_ID, forget
from services.oidc.models import AUTH_METHODS, GRANTS, Client, ClientSecret
from services.oidc.scopes import SCOPES

DEFAULT_SCOPES = ("openid", "profile", "email")
SECRET_OVERLAP = timedelta(days=1)
"""How long the secret before the newest goes on working, unless told otherwise."""
MAX_NAME_LENGTH = 200
MAX_URI_LENGTH = 2000


class InvalidClient(Problem):
    """A client's settings do not go together; `errors` says which."""

    slug, title = "invalid-client-settings", lazy_gettext("These client settings cannot be used")


class UnknownClient(Problem):
    """No client has this id."""

    status, slug, title = 404, "unknown-client", lazy_gettext("There is no client with this id")


@dataclass(frozen=True)
class CreatedClient:
    """A new client and, this once, its secret; a public client has none."""

    client: Client
    secret: str | None


def create_client(
    *,
    name: str,
    redirect_uris: Iterable[str],
    scopes: Iterable[str] = DEFAULT_SCOPES,
    grants: Iterable[str] = GRANTS,
    auth_method: str = "client_secret_basic",
    post_logout_redirect_uris: Iterable[str] = (),
    application_type: str = "web",
    require_pkce: bool = True,
    is_first_party: bool = False,
) -> CreatedClient:
    """Register a client. Raises InvalidClient."""
    client = Client(
        name=name.strip(),
        redirect_uris=_unique(redirect_uris),
        scopes=_unique(scopes),
        grants=_unique(grants),
        auth_method=auth_method,
        post_logout_redirect_uris=_unique(post_logout_redirect_uris),
        application_type=application_type,
        require_pkce=require_pkce,
        rotate_refresh_tokens=True,
        is_first_party=is_first_party,
        is_enabled=True,
    )
    _check(client)
    with db.transaction() as session:
        session.add(client)
        secret = None
        if auth_method != "none":
            secret = _add_secret(client)
        session.flush()
        audit.record("client.created", target=f"client:{client.client_id}", after=settings_of(client))
    return CreatedClient(client, secret)


def update_client(client_id: str, **changes: Any) -> Client:
    """Change what is named; None leaves a setting as it is. Raises UnknownClient, InvalidClient."""
    with db.transaction() as session:
        client = _lock(session, client_id)
        before = settings_of(client)
        # Read before the changes: a query after them would send them to the database unchecked.
        has_secret = bool(client.secrets)
        for name, value in changes.items():
            if value is not None:
                setattr(client, name, _unique(value) if isinstance(value, (list, tuple)) else value)
        if client.auth_method != "none" and not has_secret:
            raise InvalidClient(errors={"auth_method": lazy_gettext("A public client stays public.")})
        _check(client)
        session.flush()
        after = settings_of(client)
        changed = {name for name in after if after[name] != before[name]}
        if changed:
            audit.record(
                "client.updated",
                target=f"client:{client_id}",
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
            )
        db.after_commit(lambda: forget(client_id))
    return client


def rotate_secret(client_id: str, *, overlap: timedelta = SECRET_OVERLAP) -> str:
    """Give the client a new secret; the one before works on for `overlap`, any older one ends now.

    Raises UnknownClient, InvalidClient for a public client.
    """
    with db.transaction() as session:
        client = _lock(session, client_id)
        if client.auth_method == "none":
            raise InvalidClient(lazy_gettext("A public client has no secret."))
        now = utcnow()
        *older, newest = sorted(client.secrets, key=lambda secret: secret.created_at)
        for secret in older:
            client.secrets.remove(secret)
        until = now + overlap
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
        "redirect_uris": _unique(redirect_uris),
        "post_logout_redirect_uris": _unique(post_logout_redirect_uris),
        "scopes": _unique(scopes),
        "grants": list(GRANTS),
        "auth_method": "client_secret_basic" if secret else "none",
        "is_enabled": True,
    }
    with db.transaction() as session:
        client = session.get(Client, client_id, with_for_update=True)
        before = settings_of(client) if client else None
        if client is None:
            client = Client(client_id=client_id, application_type="web", require_pkce=True)
            client.rotate_refresh_tokens, client.is_first_party = True, False
            session.add(client)
        for setting, value in wanted.items():
            setattr(client, setting, value)
        _check(client)
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


def settings_of(client: Client) -> dict[str, Any]:
    """What was chosen for a client, as commands show it and the audit keeps it."""
    return {
        "name": client.name,
        "application_type": client.application_type,
        "auth_method": client.auth_method,
        "redirect_uris": list(client.redirect_uris),
        "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
        "scopes": list(client.scopes),
        "grants": list(client.grants),
        "require_pkce": client.require_pkce,
        "rotate_refresh_tokens": client.rotate_refresh_tokens,
        "is_first_party": client.is_first_party,
        "is_enabled": client.is_enabled,
    }


def _lock(session: Any, client_id: str) -> Client:
    client = session.get(Client, client_id, with_for_update=True) if CLIENT_ID.match(client_id) else None
    if client is None:
        raise UnknownClient
    return client


def _add_secret(client: Client) -> str:
    text, hashed = make()
    client.secrets.append(ClientSecret(digest=hashed, created_at=utcnow()))
    return text


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))


def _check(client: Client) -> None:
    """Refuse settings that do not go together. Raises InvalidClient with a message per setting."""
    errors: dict[str, Any] = {}
    if client.client_id is not None and not CLIENT_ID.match(client.client_id):
        errors["client_id"] = lazy_gettext("Letters, digits and . _ ~ - only, 100 at most.")
    if not client.name or len(client.name) > MAX_NAME_LENGTH or not client.name.isprintable():
        errors["name"] = lazy_gettext("Give it a name of at most 200 characters.")
    if client.auth_method not in AUTH_METHODS:
        errors["auth_method"] = lazy_gettext("One of: %(words)s.", words=", ".join(AUTH_METHODS))
    if client.application_type not in ("web", "native"):
        errors["application_type"] = lazy_gettext("One of: %(words)s.", words="web, native")
    if unknown := set(client.grants) - set(GRANTS):
        errors["grant"] = lazy_gettext("We do not offer: %(words)s.", words=", ".join(sorted(unknown)))
    if unknown := set(client.scopes) - set(SCOPES):
        errors["scope"] = lazy_gettext("We do not offer: %(words)s.", words=", ".join(sorted(unknown)))
    if "authorization_code" in client.grants and not client.redirect_uris:
        errors["redirect_uri"] = lazy_gettext("Name at least one address to return to.")
    if client.auth_method == "none" and not (client.require_pkce and client.rotate_refresh_tokens):
        errors["require_pkce"] = lazy_gettext("A public client always uses PKCE and rotating refresh tokens.")
    is_native = client.application_type == "native"
    for setting, uris in (
        ("redirect_uri", client.redirect_uris),
        ("post_logout_redirect_uri", client.post_logout_redirect_uris),
    ):
        for uri in uris:
            if not is_acceptable_uri(uri, is_native=is_native):
                errors[setting] = lazy_gettext(
                    "%(uri)s cannot be used: an https address without a fragment is (http on loopback alone).",
                    uri=uri[:200],
                )
    if errors:
        raise InvalidClient(errors=errors)


def is_acceptable_uri(uri: str, *, is_native: bool) -> bool:
    """Whether a browser may be sent there: absolute, https, no fragment, no name and password.

    http is for loopback alone; a scheme of the app's own for native clients, written as a reversed
    domain name (RFC 8252 §7.1), which leaves out javascript: and its like.
    """
    if len(uri) > MAX_URI_LENGTH or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return False
    if "#" in uri or "@" in parts.netloc:
        return False
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme == "http":
        return bool(parts.hostname) and is_loopback(parts.hostname or "")
    return is_native and "." in parts.scheme
