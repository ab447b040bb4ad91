"""The grants of the token endpoint, one module each, and what they issue alike."""

import uuid
from collections.abc import Sequence
from typing import Any

from authlib.oauth2.rfc6749 import InvalidScopeError, OAuth2Request
from authlib.oidc.core.grants.code import OpenIDToken
from flask import current_app

from libs.service import parts_of
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.tokens import Authorization, make_access_token, make_id_token
from services.oidc.scopes import held_by

OFFERED = ("authorization_code", "refresh_token")
"""The grant types that have a module here."""
GRANT_COLUMNS: Sequence[str] = (
    "client_id",
    "sub",
    "sid",
    "is_offline",
    "resources",
    "claims_request",
    "auth_time",
    "acr",
    "amr",
)
"""What a row of a grant has in common with the Authorization made from it."""


def authorization_of(row: Any, *, grant_id: uuid.UUID, nonce: str | None = None) -> Authorization:
    """What a grant's row, with its person's `present_roles` and `person_claims`, lets tokens say now."""
    common = {name: getattr(row, name) for name in GRANT_COLUMNS}
    roles = [role for role in row.roles if role in row.present_roles]
    return Authorization(
        grant_id=grant_id, scope=row.scope, nonce=nonce, roles=roles, claims=row.person_claims, **common
    )


def generate_token(
    grant_type: str,
    client: RegisteredClient,
    user: Authorization,
    scope: str,
    expires_in: int | None = None,
    include_refresh_token: bool = False,
) -> dict[str, Any]:
    """The body of a token response without its refresh token, which each grant stores in its own way."""
    allowed = " ".join(held_by((client.get_allowed_scope(scope) or "").split(), roles=user.roles))
    if not allowed:
        raise InvalidScopeError
    settings = parts_of(current_app).settings
    lifetime = settings.ACCESS_TOKEN_LIFETIME
    return {
        "token_type": "Bearer",
        "access_token": make_access_token(
            user, client, issuer=settings.PUBLIC_URL, scope=allowed, lifetime=lifetime
        ),
        "expires_in": int(lifetime.total_seconds()),
        "scope": allowed,
    }


class IDToken(OpenIDToken):
    """Adds the ID token to responses whose scope holds `openid` (OpenID Connect Core §3.1.3.3, §12.2)."""

    def encode_id_token(self, token: dict[str, Any], request: OAuth2Request) -> str:
        settings = parts_of(current_app).settings
        return make_id_token(
            request.user,
            request.client,
            issuer=settings.PUBLIC_URL,
            access_token=token["access_token"],
            lifetime=settings.ID_TOKEN_LIFETIME,
        )
