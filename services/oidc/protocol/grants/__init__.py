"""The grants of the token endpoint, one module each, and what they issue alike."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import InvalidScopeError, OAuth2Request
from flask import current_app
from sqlalchemy.dialects.postgresql import ARRAY

from libs.database import Timestamp, utcnow, uuid7
from libs.guard.single_use import digest
from libs.service import parts_of
from services.oidc.flows.clients.metadata import DEVICE_CODE
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.resources import audience_of, scopes_at
from services.oidc.models import AccessToken
from services.oidc.protocol.grants.targets import narrowed
from services.oidc.protocol.tokens import Authorization, make_access_token, make_id_token
from services.oidc.scopes import held_by

OFFERED = ("authorization_code", "refresh_token", "client_credentials", DEVICE_CODE)
"""The grant types that have a module here."""
LABELS: Mapping[str, str] = {name: name.rpartition(":")[2] for name in OFFERED}
"""How metrics and logs name each: the last word of a long name."""
GRANT_COLUMNS: Sequence[str] = (
    "client_id",
    "sub",
    "sid",
    "is_offline",
    "claims_request",
    "auth_time",
    "acr",
    "amr",
)
"""What a row of a grant has in common with the Authorization made from it."""


def authorization_of(
    row: Any, *, grant_id: uuid.UUID, nonce: str | None = None, named: Collection[str] = ()
) -> Authorization:
    """What a grant's row, with its person's `present_roles` and `person_claims`, lets tokens say now.

    `named` are the resources that this request narrows its access token to. Raises InvalidTarget.
    """
    common = {name: getattr(row, name) for name in GRANT_COLUMNS}
    roles = [role for role in row.roles if role in row.present_roles]
    return Authorization(
        grant_id=grant_id,
        scope=row.scope,
        resources=narrowed(named, scope=row.scope, granted=row.resources) if named else row.resources,
        nonce=nonce,
        roles=roles,
        claims=row.person_claims,
        **common,
    )


def generate_token(
    grant_type: str,
    client: RegisteredClient,
    user: Authorization,
    scope: str,
    expires_in: int | None = None,
    include_refresh_token: bool = False,
) -> dict[str, Any]:
    """The body of a token response without its refresh token, which each grant stores in its own way.

    With the ID token, where the scope holds `openid` (OpenID Connect Core §3.1.3.3, §12.2): all that can fail is done
    before a code or a refresh token is spent for it.
    """
    held = held_by((client.get_allowed_scope(scope) or "").split(), roles=user.roles)
    allowed = " ".join(scopes_at(held, resources=user.resources))
    if not allowed:
        raise InvalidScopeError
    settings = parts_of(current_app).settings
    issuer, lifetime = settings.PUBLIC_URL, settings.ACCESS_TOKEN_LIFETIME
    access_token = make_access_token(user, client, issuer=issuer, scope=allowed, lifetime=lifetime)
    token = {
        "token_type": "Bearer",
        "access_token": access_token,
        "expires_in": int(lifetime.total_seconds()),
        "scope": allowed,
    }
    if "openid" in allowed.split():
        token["id_token"] = make_id_token(
            user, client, issuer=issuer, access_token=access_token, lifetime=settings.ID_TOKEN_LIFETIME
        )
    return token


# -- rows of opaque access tokens --------------------------------------------------------------------------------


def opaque_values(request: OAuth2Request, token: Mapping[str, Any]) -> dict[str, Any]:
    """What insert_opaque() stores of a token response: the row of an opaque access token, or nothing of a JWT."""
    client: RegisteredClient = request.client
    now = utcnow()
    return {
        "access_id": uuid7(),
        "access_digest": digest(token["access_token"]) if client.access_token_format == "opaque" else None,
        "access_client_id": client.client_id,
        "access_scope": token["scope"],
        "access_audience": audience_of(token["scope"].split(), resources=request.user.resources),
        "access_created_at": now,
        "access_expires_at": now + parts_of(current_app).settings.ACCESS_TOKEN_LIFETIME,
    }


def insert_opaque(grants: sa.FromClause) -> sa.Insert:
    """Stores the row of `opaque_values`, where there is one, for the grant whose `id` the only row of `grants` has.

    Part of the statement that spends the code or the refresh token: there is never the one without the other.
    """
    columns: dict[str, sa.ColumnElement[Any]] = {
        "id": sa.bindparam("access_id", type_=sa.Uuid),
        "digest": sa.bindparam("access_digest", type_=sa.Text),
        "grant_id": grants.c.id,
        "client_id": sa.bindparam("access_client_id", type_=sa.Text),
        "scope": sa.bindparam("access_scope", type_=sa.Text),
        "audience": sa.bindparam("access_audience", type_=ARRAY(sa.Text)),
        "created_at": sa.bindparam("access_created_at", type_=Timestamp),
        "expires_at": sa.bindparam("access_expires_at", type_=Timestamp),
    }
    is_opaque = sa.bindparam("access_digest", type_=sa.Text).is_not(None)
    return sa.insert(AccessToken.__table__).from_select(
        list(columns), sa.select(*columns.values()).select_from(grants).where(is_opaque)
    )
