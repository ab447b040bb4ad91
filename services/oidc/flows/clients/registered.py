"""Clients as the protocol sees them: plain values in the process, compared with their rows every second."""

import dataclasses
import hmac
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from libs.database import utcnow
from libs.guard.single_use import digest
from services.oidc.extensions import db
from services.oidc.flows.clients import last_uses
from services.oidc.models import Client, ClientSecret

CACHE_LIFETIME = timedelta(seconds=1)
"""A change to a client is seen by every process within this time."""
CLIENT_ID = re.compile(r"[A-Za-z0-9._~-]{1,100}\Z")
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
_ON_LOOPBACK = re.compile(r"(?P<before>http://(?:127\.0\.0\.1|\[::1\]))(?::(?P<port>[0-9]{1,5}))?(?=[/?]|\Z)")


@dataclass(frozen=True, kw_only=True)
class RegisteredClient(ClientMixin):
    """An enabled client. The methods are the questions that Authlib asks."""

    client_id: str
    name: str
    application_type: str
    auth_method: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    grants: frozenset[str]
    require_pkce: bool
    rotate_refresh_tokens: bool
    is_first_party: bool
    allowed_roles: frozenset[str]
    client_uri: str | None
    logo_uri: str | None
    policy_uri: str | None
    tos_uri: str | None
    jwks: dict[str, Any] | None
    jwks_uri: str | None
    token_endpoint_auth_signing_alg: str | None
    request_object_signing_alg: str | None
    request_uris: tuple[str, ...]
    require_pushed_authorization_requests: bool
    require_signed_request_object: bool
    subject_type: str
    sector_identifier_uri: str | None
    id_token_signed_response_alg: str
    userinfo_signed_response_alg: str | None
    access_token_format: str
    access_token_signing_alg: str
    claims_mapping: dict[str, Any]
    initiate_login_uri: str | None
    default_max_age: int | None
    require_auth_time: bool
    default_acr_values: tuple[str, ...]
    backchannel_logout_uri: str | None
    backchannel_logout_session_required: bool
    frontchannel_logout_uri: str | None
    frontchannel_logout_session_required: bool
    secrets: tuple[tuple[str, datetime | None], ...] = field(repr=False)
    """The digest of each, and when it ends."""
    stamp: str = field(repr=False)
    """Another one after each change."""

    @property
    def sector(self) -> str:
        """The host that stands for all clients who may know a person by the same number (Core §8.1)."""
        uri = self.sector_identifier_uri or (self.redirect_uris[0] if self.redirect_uris else "")
        return urlsplit(uri).hostname or self.client_id

    def may_be_used_by(self, roles: Iterable[str]) -> bool:
        """Whether somebody with these roles may use the app; `admin` implies all."""
        held = set(roles)
        return not self.allowed_roles or "admin" in held or bool(self.allowed_roles & held)

    @property
    def client_metadata(self) -> Mapping[str, Any]:
        """What Authlib's endpoints look up by its registered name."""
        return {"post_logout_redirect_uris": self.post_logout_redirect_uris}

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """The one to use where a request names none: there must be no choice."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What of a granted scope the client still may have; None when nothing is left."""
        return " ".join(word for word in (scope or "").split() if word in self.scopes) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether it is registered, character by character; only a native client's loopback port may vary."""
        if redirect_uri in self.redirect_uris:
            return True
        if self.application_type != "native":
            return False
        without_port = _without_loopback_port(redirect_uri)
        return without_port is not None and any(
            _without_loopback_port(known) == without_port for known in self.redirect_uris
        )

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether it is one of its secrets. SHA-256 is enough: they are random, and compared in constant time."""
        offered, now = digest(client_secret), utcnow()
        matching = [
            known
            for known, expires_at in self.secrets
            if hmac.compare_digest(offered, known) and (expires_at is None or expires_at > now)
        ]
        for known in matching:
            last_uses.note(self.client_id, known)
        return bool(matching)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """At the token endpoint in the one way that it is registered for (RFC 7591 §2).

        A secret may come in either form elsewhere: that registration says nothing about other endpoints.
        """
        if endpoint != "token" and self.auth_method in SECRET_METHODS:
            return method in SECRET_METHODS
        return method == self.auth_method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grants


def _without_loopback_port(uri: str) -> str | None:
    """The URI with its port left out, when it is http on a loopback address (RFC 8252 §7.3); else None.

    By the letter but for the port: what would parse to the same address is another string all the same.
    """
    match = _ON_LOOPBACK.match(uri)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    return match["before"] + uri[match.end() :]


class _Cache:
    """The clients that this process was asked for lately. One statement a second says which of them changed."""

    def __init__(self) -> None:
        self.clients: dict[str, RegisteredClient] = {}
        self.asked_for: set[str] = set()
        self.looked_at = float("-inf")
        self.lock = threading.Lock()

    def refresh(self) -> None:
        """See that nothing known here is older than CACHE_LIFETIME."""
        if time.monotonic() - self.looked_at < CACHE_LIFETIME.total_seconds():
            return
        # One thread looks; the others go on with what is known.
        if not self.lock.acquire(blocking=False):
            return
        try:
            began = time.monotonic()
            # What nobody asked for since the last look is read again when somebody does.
            kept = {name: one for name, one in list(self.clients.items()) if name in self.asked_for}
            self.asked_for = set()
            found = db.fetch_all(_STAMPS, {"ids": list(kept)}) if kept else ()
            stamps = {row.client_id: row.stamp for row in found}
            self.clients = {name: one for name, one in kept.items() if stamps.get(name) == one.stamp}
            self.looked_at = began
        finally:
            self.lock.release()


_cache = _Cache()


def find_client(client_id: str | None) -> RegisteredClient | None:
    """The enabled client of this id, at most CACHE_LIFETIME old; None for anything else that may be sent."""
    if not client_id or not CLIENT_ID.match(client_id):
        return None
    _cache.refresh()
    client = _cache.clients.get(client_id)
    if client is None:
        client = _read(client_id)
        if client is not None:
            _cache.clients[client_id] = client
    _cache.asked_for.add(client_id)
    return client


def forget(client_id: str) -> None:
    """Read it again at the next request; for whoever has just changed it in this process."""
    _cache.clients.pop(client_id, None)


_LIVING = (
    # An expired secret is read along: time alone must not change the stamp.
    sa.select(
        ClientSecret.client_id,
        sa.func.array_agg(aggregate_order_by(ClientSecret.digest, ClientSecret.id)).label("digests"),
        sa.func.array_agg(aggregate_order_by(ClientSecret.expires_at, ClientSecret.id)).label("ends"),
        sa.cast(
            sa.func.array_agg(
                aggregate_order_by(sa.func.concat(ClientSecret.id, ClientSecret.expires_at), ClientSecret.id)
            ),
            sa.Text,
        ).label("stamp"),
    )
    .where(ClientSecret.client_id == Client.client_id)
    .group_by(ClientSecret.client_id)
    .lateral("living")
)
_STAMP = sa.func.concat(sa.text("clients.xmin"), "/", _LIVING.c.stamp).label("stamp")
"""The transaction that wrote the client's row last, and its secrets: whoever changes them, in whatever way."""
_STAMPS = (
    sa.select(Client.client_id, _STAMP)
    .outerjoin(_LIVING, sa.true())
    .where(Client.client_id == sa.func.any(sa.bindparam("ids", type_=ARRAY(sa.Text))), Client.is_enabled)
)
_CLIENT = (
    sa.select(*Client.__table__.columns, _LIVING.c.digests, _LIVING.c.ends, _STAMP)
    .outerjoin(_LIVING, sa.true())
    .where(Client.client_id == sa.bindparam("id"), Client.is_enabled)
)


def _read(client_id: str) -> RegisteredClient | None:
    row = db.fetch_one(_CLIENT, {"id": client_id})
    if row is None:
        return None
    values = {name: getattr(row, name) for name in _FIELDS}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = _FIELDS[name](value)
    secrets = tuple(zip(row.digests or (), row.ends or (), strict=True))
    return RegisteredClient(**values, secrets=secrets, stamp=row.stamp)


_FIELDS: dict[str, Callable[[Iterable[str]], Any]] = {
    item.name: frozenset if "frozenset" in str(item.type) else tuple
    for item in dataclasses.fields(RegisteredClient)
    if item.name not in ("secrets", "stamp")
}
"""The columns that are taken over, and what a list of theirs becomes."""
