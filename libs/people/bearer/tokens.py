"""Tokens of our own issuer as text: which of them are what they look like."""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSAlgModel, JWSRegistry

ACCESS_TOKEN_TYPE = "at+jwt"
MAX_LENGTH = 8192
"""Longer text is no token of ours and is refused unread."""
KINDS = {"ES256": "EC", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}
"""What our issuer signs with, and the kind of key; one of another algorithm is left alone until a release knows it."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{1,1000}\Z")


class _OneAlgorithm(JWSRegistry):
    """joserfc's registry with one algorithm in it, and without its warning at EdDSA.

    RFC 9864 gives that a new name per curve; clients and our metadata know Ed25519 by the old one.
    """

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not allowed")
        return self.algorithms[name]


REGISTRIES: Mapping[str, JWSRegistry] = {alg: _OneAlgorithm(algorithms=[alg]) for alg in KINDS}
"""What signs and verifies by one algorithm and no other."""


class PublicKey(Protocol):
    """A parsed key of the issuer."""

    @property
    def alg(self) -> str: ...

    @property
    def jwk(self) -> Any: ...


def api_audience(public_url: str) -> str:
    """The audience of access tokens for our own APIs."""
    return f"{public_url}/api"


def read_token(
    text: str, *, token_type: str, issuer: str, find_key: Callable[[str], PublicKey | None]
) -> dict[str, Any] | None:
    """The claims of what looks exactly like a JWT that our issuer makes and verifies as one; None for anything else.

    Only ever our own tokens are read here, so the header must be of the three members that the issuer writes:
    no `crit`, no key or address of one, and `alg` is the one of the key that `kid` names (RFC 8725 §3).
    """
    if len(text) > MAX_LENGTH or not _COMPACT.match(text):
        return None
    header = _decode(text.split(".", 1)[0])
    if header is None or set(header) != {"alg", "kid", "typ"} or header["typ"] != token_type:
        return None
    key = find_key(header["kid"]) if isinstance(header["kid"], str) else None
    if key is None or header["alg"] != key.alg:
        return None
    try:
        claims = jwt.decode(text, key.jwk, registry=REGISTRIES[key.alg]).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        return None
    return claims


def is_addressed_to(claims: Mapping[str, Any], audience: str) -> bool:
    """Whether `aud`, one or several (RFC 7519 §4.1.3), names this audience."""
    named = claims.get("aud")
    return named == audience or (isinstance(named, list) and audience in named)


def is_in_time(claims: Mapping[str, Any]) -> bool:
    """Whether a token has not expired yet; one that does not say when is none of ours."""
    expires_at = claims.get("exp")
    return isinstance(expires_at, int) and expires_at > time.time()


def _decode(segment: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return value if isinstance(value, dict) else None
