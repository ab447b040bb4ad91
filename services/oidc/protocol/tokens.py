"""Tokens as JWTs: access tokens (RFC 9068) and ID tokens (OpenID Connect Core §2), made and read."""

import base64
import hashlib
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from joserfc import jwt

from libs.people.bearer import ACCESS_TOKEN_TYPE, api_audience, is_addressed_to, is_in_time, read_token
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.pairwise import session_id_for, subject_for
from services.oidc.flows.resources import audience_of, find_resources
from services.oidc.protocol.claims import id_token_claims
from services.oidc.protocol.keys import keys

ID_TOKEN_TYPE = "JWT"


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What a person gave a client: the row of a grant, as tokens are made from it. Authlib calls it the user."""

    grant_id: uuid.UUID
    client_id: str
    sub: str
    sid: str
    is_offline: bool
    scope: str
    resources: list[str]
    claims_request: dict[str, Any] | None
    auth_time: int
    acr: str
    amr: list[str]
    roles: list[str]
    """Those that the sign-in carried and the person still has."""
    claims: dict[str, Any] = field(repr=False)
    """All that is known of the person."""
    nonce: str | None = field(default=None, repr=False)

    def get_user_id(self) -> str:
        return self.sub


def make_access_token(
    authorization: Authorization, client: RegisteredClient, *, issuer: str, scope: str, lifetime: timedelta
) -> str:
    """A signed access token for the audience that its scopes and resources mean (RFC 9068 §2.2).

    `grant_id` names the row that is asked whether it still holds. `sid` is left out where the token
    outlives the session, so that a denial of the session passes over it. `roles` are for our own APIs alone.
    """
    now = int(time.time())
    audience = audience_of(scope.split(), resources=authorization.resources)
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience[0] if len(audience) == 1 else audience,
        "sub": subject_for(client, authorization.sub),
        "client_id": authorization.client_id,
        "scope": scope,
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
        "jti": secrets.token_urlsafe(16),
        "auth_time": authorization.auth_time,
        "acr": authorization.acr,
        "amr": authorization.amr,
        "grant_id": str(authorization.grant_id),
    }
    if not authorization.is_offline:
        claims["sid"] = session_id_for(client, authorization.sid)
    if api_audience(issuer) in audience:
        claims["roles"] = authorization.roles
    return sign(claims, alg=client.access_token_signing_alg, token_type=ACCESS_TOKEN_TYPE)


def make_id_token(
    authorization: Authorization,
    client: RegisteredClient,
    *,
    issuer: str,
    access_token: str,
    lifetime: timedelta,
) -> str:
    """A signed ID token: who signed in, when and how; what scopes open is asked of userinfo (Core §5.4)."""
    now = int(time.time())
    alg = client.id_token_signed_response_alg
    claims: dict[str, Any] = {
        **id_token_claims(
            client,
            claims=authorization.claims,
            roles=authorization.roles,
            scope=authorization.scope,
            request=authorization.claims_request,
        ),
        "iss": issuer,
        "aud": authorization.client_id,
        "sub": subject_for(client, authorization.sub),
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
        "auth_time": authorization.auth_time,
        "acr": authorization.acr,
        "amr": authorization.amr,
        "sid": session_id_for(client, authorization.sid),
        "at_hash": half_hash(access_token, alg),
    }
    if authorization.nonce is not None:
        claims["nonce"] = authorization.nonce
    return sign(claims, alg=alg, token_type=ID_TOKEN_TYPE)


def half_hash(text: str, alg: str) -> str:
    """The left half of a hash, as at_hash and c_hash have it (Core §3.1.3.6); of EdDSA that is SHA-512."""
    hashed = hashlib.sha512 if alg == "EdDSA" else getattr(hashlib, f"sha{alg[2:]}")
    digest = hashed(text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")


def read_access_token(text: str, *, issuer: str, audience: str | None = None) -> dict[str, Any] | None:
    """The claims of a living access token of ours, for one audience or for any of ours; None for anything else."""
    claims = read_token(text, token_type=ACCESS_TOKEN_TYPE, issuer=issuer, find_key=keys.find)
    audiences = [audience] if audience is not None else [issuer, *find_resources()]
    if claims is None or not is_in_time(claims):
        return None
    return claims if any(is_addressed_to(claims, one) for one in audiences) else None


def read_id_token_hint(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of an ID token that we signed, expired or not (Core §3.1.2.1); None for anything else."""
    return read_token(text, token_type=ID_TOKEN_TYPE, issuer=issuer, find_key=keys.find)


def sign(claims: dict[str, Any], *, alg: str, token_type: str) -> str:
    """A compact JWS by the current key of this algorithm."""
    key = keys.signing_key(alg)
    return jwt.encode(
        {"alg": key.alg, "kid": key.kid, "typ": token_type}, claims, key.jwk, algorithms=[key.alg]
    )
