"""Tokens as JWTs: access tokens (RFC 9068) and ID tokens (OpenID Connect Core §2), made and read."""

import base64
import hashlib
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from joserfc.jws import JWSRegistry

from libs.guard import single_use
from libs.people.bearer.tokens import ACCESS_TOKEN_TYPE, api_audience, is_addressed_to, is_in_time, read_token
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.flows.pairwise import session_id_for, subject_for
from services.oidc.flows.resources import audience_of, find_resources
from services.oidc.protocol.claims import id_token_claims
from services.oidc.protocol.keys import keys

ID_TOKEN_TYPE = "JWT"
_in_json = json.JSONEncoder(separators=(",", ":")).encode


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
    """An access token for the audience that its scopes and resources mean: signed (RFC 9068 §2.2), or opaque.

    Whoever issues an opaque one stores its row. Of a signed one `grant_id` names the row that is asked whether it
    still holds. `sid` is left out where the token outlives the session, so that a denial of the session passes
    over it. `roles` are for our own APIs alone.
    """
    if client.access_token_format == "opaque":
        return single_use.make()[0]
    now = int(time.time())
    audience = audience_of(scope.split(), resources=authorization.resources)
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": named_audience(audience),
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


def make_client_token(
    client: RegisteredClient,
    *,
    issuer: str,
    jti: uuid.UUID,
    scope: str,
    audience: list[str],
    issued_at: int,
    lifetime: timedelta,
) -> str:
    """A signed access token of a client by itself: its `sub` is the client (RFC 9068 §2.2), `jti` names its row."""
    claims = {
        "iss": issuer,
        "aud": named_audience(audience),
        "sub": client.client_id,
        "client_id": client.client_id,
        "scope": scope,
        "iat": issued_at,
        "exp": issued_at + int(lifetime.total_seconds()),
        "jti": str(jti),
    }
    return sign(claims, alg=client.access_token_signing_alg, token_type=ACCESS_TOKEN_TYPE)


def named_audience(audience: list[str]) -> str | list[str]:
    """As tokens and introspection name it: one by itself, several as a list (RFC 7519 §4.1.3)."""
    return audience[0] if len(audience) == 1 else audience


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


def read_access_token(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of an access token of ours that is in time and addressed to whom we know; None for anything else."""
    claims = _verified(text, issuer, keys.load().etag)
    if claims is None or not is_in_time(claims):
        return None
    return claims if any(is_addressed_to(claims, one) for one in (issuer, *find_resources())) else None


@lru_cache(maxsize=1000)
def _verified(text: str, issuer: str, keys_etag: str) -> dict[str, Any] | None:
    """What read_token says of a text under these keys: a token comes many times, and its signature stays as it is.

    Nobody changes what is remembered here. With other keys nothing of it counts.
    """
    return read_token(text, token_type=ACCESS_TOKEN_TYPE, issuer=issuer, find_key=keys.find)


def read_id_token_hint(text: str, *, issuer: str) -> dict[str, Any] | None:
    """The claims of an ID token that we signed, expired or not (Core §3.1.2.1); None for anything else.

    Its key may have left the JWKS by then.
    """
    return read_token(text, token_type=ID_TOKEN_TYPE, issuer=issuer, find_key=keys.find_of_old)


def make_userinfo(claims: dict[str, Any], client: RegisteredClient, *, issuer: str, alg: str) -> str:
    """userinfo as a JWT (Core §5.3.2). It names no type, so that it can never pass for another of our tokens."""
    return sign({**claims, "iss": issuer, "aud": client.client_id}, alg=alg, token_type=None)


def sign(claims: dict[str, Any], *, alg: str, token_type: str | None) -> str:
    """A compact JWS by the current key of this algorithm.

    joserfc signs. Its jwt.encode would look through header and claims each time, a third of the time of an ES256;
    both are our own here, and the header is the same for all tokens of a kind. It would also warn of the name EdDSA,
    by which OpenID Connect goes on calling what RFC 9864 calls Ed25519.
    """
    key = keys.signing_key(alg)
    signed = _header(key.alg, key.kid, token_type) + b"." + _segment(_in_json(claims).encode())
    return (signed + b"." + _segment(JWSRegistry.algorithms[key.alg].sign(signed, key.signing))).decode()


@lru_cache(maxsize=100)
def _header(alg: str, kid: str, token_type: str | None) -> bytes:
    header = {"alg": alg, "kid": kid, **({"typ": token_type} if token_type else {})}
    return _segment(json.dumps(header, separators=(",", ":")).encode())


def _segment(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
