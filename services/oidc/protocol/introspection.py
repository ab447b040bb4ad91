"""Introspection (RFC 7662): a client learns about its own tokens, and about nothing else."""

from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Request
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import current_app

from libs.database import utcnow
from libs.guard import single_use
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.pairwise import subject_for
from services.oidc.models import Grant, RefreshToken, Subject
from services.oidc.protocol.client_auth import CONFIDENTIAL_METHODS
from services.oidc.protocol.liveness import is_denied, is_live, live_grant
from services.oidc.protocol.tokens import read_access_token

SHOWN = ("iss", "sub", "aud", "client_id", "scope", "iat", "exp", "jti", "auth_time", "acr", "amr", "sid")


class Introspection(IntrospectionEndpoint):
    """Active or not, for the client that the token was issued to."""

    CLIENT_AUTH_METHODS = list(CONFIDENTIAL_METHODS)

    def check_params(self, request: OAuth2Request, client: RegisteredClient) -> None:
        # token_type_hint only speeds a search up (§2.1); ours needs none.
        if "token" not in request.form:
            raise InvalidRequestError("The parameter token is missing.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> dict[str, Any] | None:
        """What may be told about a living token of anybody's."""
        issuer = parts_of(current_app).settings.PUBLIC_URL
        claims = read_access_token(token_string, issuer=issuer)
        if claims is not None:
            if live_grant(claims) is None:
                return None
            return {**{name: claims[name] for name in SHOWN if name in claims}, "token_type": "Bearer"}
        return _refresh_token(token_string, issuer)

    def check_permission(
        self, token: dict[str, Any], client: RegisteredClient, request: OAuth2Request
    ) -> bool:
        return token["client_id"] == client.client_id

    def create_introspection_payload(self, token: dict[str, Any] | None) -> dict[str, Any]:
        return {"active": True, **token} if token else {"active": False}


def _refresh_token(text: str, issuer: str) -> dict[str, Any] | None:
    row = db.fetch_one(
        sa.select(
            RefreshToken.created_at,
            RefreshToken.expires_at.label("idle_end"),
            Grant.client_id,
            Grant.sub,
            Grant.sid,
            Grant.is_offline,
            Grant.scope,
            Grant.ended_at,
            Grant.expires_at,
            Subject.status,
        )
        .join(Grant, Grant.id == RefreshToken.grant_id)
        .join(Subject, Subject.sub == Grant.sub)
        .where(RefreshToken.digest == single_use.digest(text), RefreshToken.used_at.is_(None))
    )
    if row is None or not is_live(row) or row.idle_end <= utcnow():
        return None
    client = find_client(row.client_id)
    issued_at = int(row.created_at.timestamp())
    if client is None or is_denied(row, issued_at=issued_at):
        return None
    return {
        "iss": issuer,
        "sub": subject_for(client, row.sub),
        "client_id": row.client_id,
        "scope": row.scope,
        "iat": issued_at,
        "exp": int(row.idle_end.timestamp()),
    }
