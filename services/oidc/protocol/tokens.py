"""Tokens as JWTs: access tokens (RFC 9068, ES256) and ID tokens (OpenID Connect Core §2, RS256), made and read."""

import base64
import binascii
import json
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from authlib.oidc.core.util import create_half_hash
from joserfc import jwt
from joserfc.errors import JoseError

from services.oidc.protocol.keys import Key, keys

ACCESS_TOKEN_TYPE = "at+jwt"
ID_TOKEN_TYPE = "JWT"
ACCESS_TOKEN_ALG = "ES256"
ID_TOKEN_ALG = "RS256"
MAX_LENGTH = 8192
"""Longer text is no token of ours and is refused unread."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{1,1000}\Z")


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
    nonce: str | None = field(default=None, repr=False)

    def get_user_id(self) -> str:
        return self.sub


def make_access_token(authorization: Authorization, *, issuer: str, scope: str, lifetime: timedelta) -> str:
    """A signed access token for our own endpoints (RFC 9068 §2.2).

    `grant_id` names the row that is asked whether it still holds. `sid` is left out where the token
    outlives the session, so that a denial of the session passes over it.
    """
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": issuer,
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
    return _sign(claims, keys.signing_key(ACCESS_TOKEN_ALG), ACCESS_TOKEN_TYPE)


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


def read_access_token(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of a living access token of ours; None for anything else."""
    claims = _read(text, ACCESS_TOKEN_TYPE, issuer)
    if claims is None or claims.get("aud") != issuer or claims["exp"] <= time.time():
        return None
    return claims


def read_id_token_hint(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of an ID token that we signed, expired or not (Core §3.1.2.1); None for anything else."""
    return _read(text, ID_TOKEN_TYPE, issuer)


def _sign(claims: dict[str, Any], key: Key, token_type: str) -> str:
    return jwt.encode(
        {"alg": key.alg, "kid": key.kid, "typ": token_type}, claims, key.jwk, algorithms=[key.alg]
    )


def _read(text: str, token_type: str, issuer: str) -> dict[str, Any] | None:
    """Verify what looks exactly like a JWT that we make.

    We only ever read our own tokens here, so the header must be of the three members that we write:
    no `crit`, no key or address of one, and `alg` is the one of the key that `kid` names (RFC 8725 §3).
    """
    if len(text) > MAX_LENGTH or not _COMPACT.match(text):
        return None
    header = _decode(text.split(".", 1)[0])
    if header is None or set(header) != {"alg", "kid", "typ"} or header["typ"] != token_type:
        return None
    key = keys.find(header["kid"]) if isinstance(header["kid"], str) else None
    if key is None or header["alg"] != key.alg:
        return None
    try:
        claims = jwt.decode(text, key.jwk, algorithms=[key.alg]).claims
    except (JoseError, ValueError, TypeError):
        return None
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        return None
    return claims


def _decode(segment: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return value if isinstance(value, dict) else None
