"""Tokens as JWTs: access tokens (RFC 9068, ES256) and ID tokens (OpenID Connect Core §2, RS256), made and read."""

import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from authlib.oidc.core.util import create_half_hash
from joserfc import jwt

from libs.people.bearer import ACCESS_TOKEN_TYPE, api_audience, is_addressed_to, is_in_time, read_token
from services.oidc.protocol.keys import Key, keys
from services.oidc.scopes import opens_api

ID_TOKEN_TYPE = "JWT"
ACCESS_TOKEN_ALG = "ES256"
ID_TOKEN_ALG = "RS256"


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What a person gave a client: the row of a grant, as tokens are made from it. Authlib calls it the user."""

    grant_id: uuid.UUID
    client_id: str
    sub: str
    sid: str
    is_offline: bool
    scope: str
    auth_time: int
    acr: str
    amr: list[str]
    roles: list[str]
    """Those that the sign-in carried and the person still has."""
    nonce: str | None = field(default=None, repr=False)

    def get_user_id(self) -> str:
        return self.sub


def make_access_token(authorization: Authorization, *, issuer: str, scope: str, lifetime: timedelta) -> str:
    """A signed access token for our own endpoints and, where the scope asks for them, our own APIs (RFC 9068 §2.2).

    `grant_id` names the row that is asked whether it still holds. `sid` is left out where the token
    outlives the session, so that a denial of the session passes over it. `roles` are for our APIs alone.
    """
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": _audience(issuer, scope),
        "sub": authorization.sub,
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
        claims["sid"] = authorization.sid
    if opens_api(scope.split()):
        claims["roles"] = authorization.roles
    return _sign(claims, keys.signing_key(ACCESS_TOKEN_ALG), ACCESS_TOKEN_TYPE)


def _audience(issuer: str, scope: str) -> str | list[str]:
    """Our APIs where a scope of theirs was asked for; userinfo too where it can answer."""
    scopes = scope.split()
    if not opens_api(scopes):
        return issuer
    api = api_audience(issuer)
    return [issuer, api] if "openid" in scopes else api


def make_id_token(
    authorization: Authorization, *, issuer: str, access_token: str, lifetime: timedelta
) -> str:
    """A signed ID token: who signed in, when and how; what scopes open is asked of userinfo (Core §5.4)."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": authorization.client_id,
        "sub": authorization.sub,
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
        "auth_time": authorization.auth_time,
        "acr": authorization.acr,
        "amr": authorization.amr,
        "sid": authorization.sid,
        "at_hash": create_half_hash(access_token, ID_TOKEN_ALG).decode(),
    }
    if authorization.nonce is not None:
        claims["nonce"] = authorization.nonce
    return _sign(claims, keys.signing_key(ID_TOKEN_ALG), ID_TOKEN_TYPE)


def read_access_token(text: str, *, issuer: str, audience: str | None = None) -> dict[str, Any] | None:
    """The claims of a living access token of ours, for one audience or for any of ours; None for anything else."""
    claims = read_token(text, token_type=ACCESS_TOKEN_TYPE, issuer=issuer, find_key=keys.find)
    audiences = [audience] if audience is not None else [issuer, api_audience(issuer)]
    if claims is None or not is_in_time(claims):
        return None
    return claims if any(is_addressed_to(claims, one) for one in audiences) else None


def read_id_token_hint(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of an ID token that we signed, expired or not (Core §3.1.2.1); None for anything else."""
    return read_token(text, token_type=ID_TOKEN_TYPE, issuer=issuer, find_key=keys.find)


def _sign(claims: dict[str, Any], key: Key, token_type: str) -> str:
    return jwt.encode(
        {"alg": key.alg, "kid": key.kid, "typ": token_type}, claims, key.jwk, algorithms=[key.alg]
    )
