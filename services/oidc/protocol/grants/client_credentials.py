"""The client credentials grant (RFC 6749 §4.4): a token for a client by itself, and nothing that speaks of a person."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidScopeError
from authlib.oauth2.rfc6749 import grants as authlib
from flask import current_app

from libs.database import utcnow, uuid7
from libs.guard import single_use
from libs.people.bearer.scopes import OWN_SCOPES
from libs.prepared import Prepared
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.resources import audience_of, scopes_at
from services.oidc.models import AccessToken
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.grants.targets import narrowed
from services.oidc.protocol.tokens import make_client_token
from services.oidc.scopes import OFFLINE_ACCESS, SCOPE_CLAIMS

OF_PEOPLE = frozenset({"openid", OFFLINE_ACCESS, *SCOPE_CLAIMS, *OWN_SCOPES})
"""Scopes that mean nothing without a person."""
_INSERT = Prepared(sa.insert(AccessToken.__table__).returning(AccessToken.__table__.c.id))


class ClientCredentialsGrant(authlib.ClientCredentialsGrant):
    """Each token has a row, which one INSERT makes: by it the token is revoked, and found where it is opaque."""

    TOKEN_ENDPOINT_AUTH_METHODS = [name for name in METHODS if name != "none"]
    IS_ITS_OWN_TRANSACTION = True

    def validate_requested_scope(self) -> None:
        """Raises InvalidScopeError for what the client has not, or what only a person can give."""
        wanted = set((self.request.payload.scope or "").split())
        if beyond := wanted - scopes_of(self.request.client):
            self.request.detail = f"not a scope of this client by itself: {' '.join(sorted(beyond))}"
            raise InvalidScopeError

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        client: RegisteredClient = self.request.client
        # Redis counts while the token is made; nothing is stored for whoever is refused.
        self.request.visit.ask()
        asked = (self.request.payload.scope or "").split() or sorted(scopes_of(client))
        resources = narrowed(self.request.resources, scope=" ".join(asked))
        scopes = scopes_at(asked, resources=resources)
        row, token = _make(client, scopes, audience_of(scopes, resources=resources))
        self.request.visit.count()
        db.fetch_one(_INSERT, row)
        return 200, token, self.TOKEN_RESPONSE_HEADER


def scopes_of(client: RegisteredClient) -> set[str]:
    """What the client may do by itself."""
    return set(client.scopes) - OF_PEOPLE


def _make(
    client: RegisteredClient, scopes: list[str], audience: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a token, and the token as it is answered."""
    settings = parts_of(current_app).settings
    lifetime: timedelta = settings.ACCESS_TOKEN_LIFETIME
    token_id, now, scope = uuid7(), utcnow().replace(microsecond=0), " ".join(scopes)
    text, digest = single_use.make() if client.access_token_format == "opaque" else (None, None)
    row = {
        "id": token_id,
        "digest": digest,
        "client_id": client.client_id,
        "scope": scope,
        "audience": audience,
        "created_at": now,
        "expires_at": now + lifetime,
    }
    if text is None:
        text = make_client_token(
            client,
            issuer=settings.PUBLIC_URL,
            jti=token_id,
            scope=scope,
            audience=audience,
            issued_at=int(now.timestamp()),
            lifetime=lifetime,
        )
    token = {"token_type": "Bearer", "access_token": text, "expires_in": int(lifetime.total_seconds())}
    return row, {**token, "scope": scope} if scope else token
