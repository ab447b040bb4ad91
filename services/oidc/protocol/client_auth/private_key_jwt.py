"""private_key_jwt: an assertion that the client signed, good for one request (RFC 7523 §2.2, §3; Core §9)."""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import current_app

from libs.service import parts_of
from services.oidc.protocol.client_jwt import (
    TOLERANCE,
    UnusableJWT,
    check_times,
    claimed_subject,
    names_in,
    read_client_jwt,
)

ASSERTION_TYPE = JWTBearerClientAssertion.CLIENT_ASSERTION_TYPE
PARAMETERS = frozenset({"client_assertion", "client_assertion_type"})
TYPES = frozenset({"client-authentication+jwt"})
LONGEST_LIFETIME = timedelta(hours=1)
"""From now until an assertion expires; libraries that sign for an hour are common."""
MAX_JTI_LENGTH = 500


def is_used(request: OAuth2Request) -> bool:
    """Either parameter is an attempt: half of one must not pass for a public client."""
    return bool(PARAMETERS & request.form.keys())


def claimed_client_id(request: OAuth2Request) -> str | None:
    """Who the assertion says it comes from, proven or not."""
    return claimed_subject(request.form.get("client_assertion", ""))


def authenticate(query_client: Callable[[str], Any], request: OAuth2Request) -> Any:
    """The client whose assertion the form holds. Raises UnusableJWT; redis.RedisError when none can be counted."""
    if request.form.get("client_assertion_type") != ASSERTION_TYPE:
        raise UnusableJWT("another client_assertion_type")
    text = request.form.get("client_assertion", "")
    client_id = claimed_subject(text)
    client = query_client(client_id or "")
    if client is None or request.form.get("client_id", client_id) != client_id:
        raise UnusableJWT("the client is unknown, or another one in the form")
    if client.auth_method != "private_key_jwt":
        # Asked here too, so that nothing is fetched for a client that never signs.
        raise UnusableJWT("the client is registered for another method")
    claims = read_client_jwt(
        text, client, types=TYPES, registered_alg=client.token_endpoint_auth_signing_alg
    ).claims
    _check_claims(claims, client_id=client.client_id, audiences=_audiences(request))
    _spend(claims, client_id=client.client_id)
    return client


def _audiences(request: OAuth2Request) -> set[str]:
    """The issuer, which is best named alone; the token endpoint and the one called, as many do (RFC 9126 §2)."""
    issuer = parts_of(current_app).settings.PUBLIC_URL
    return {issuer, f"{issuer}/oauth2/token", issuer + urlsplit(request.uri).path}


def _check_claims(claims: dict[str, Any], *, client_id: str, audiences: set[str]) -> None:
    """RFC 7523 §3. Raises UnusableJWT."""
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise UnusableJWT("iss and sub are not both the client")
    # Each of them: what is addressed to somebody else too, somebody else could send here.
    if not set(names_in(claims, "aud")) <= audiences:
        raise UnusableJWT("addressed to somebody else")
    check_times(claims, longest=LONGEST_LIFETIME)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
        raise UnusableJWT("no jti")


def _spend(claims: dict[str, Any], *, client_id: str) -> None:
    """Use the assertion up, for as long as it would be accepted. Raises UnusableJWT, redis.RedisError."""
    seconds = int(claims["exp"] - time.time() + TOLERANCE.total_seconds()) + 1
    if not parts_of(current_app).redis.set(_key(client_id, claims["jti"]), 1, nx=True, ex=max(seconds, 1)):
        raise UnusableJWT("this jti has been used")


def _key(client_id: str, jti: str) -> str:
    hashed = hashlib.sha256(f"{client_id} {jti}".encode("utf-8", "surrogatepass"))
    return f"assertion:{hashed.hexdigest()}"
