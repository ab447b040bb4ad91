"""A JWT that a client made, read strictly: its assertions and its request objects (RFC 8725 §3).

What decides is what the client registered: its keys, its algorithm. Nothing in the token names a key, a certificate
or an address of one; nothing is unpacked or decrypted; nothing is fetched but the client's own jwks_uri.
"""

import base64
import json
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from services.oidc.flows.clients.metadata import CLIENT_ALGORITHMS, usual_name
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.client_keys import client_keys

MAX_LENGTH = 16_000
"""Characters. Longer text is refused unread."""
MAX_KID_LENGTH = 200
TOLERANCE = timedelta(seconds=10)
"""How far a client's clock may be off."""
HEADER = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""What a header may hold. The thumbprints of certificates, which some libraries add, are not looked at."""
LATEST = 2**53
"""Seconds; beyond it numbers are no times."""
_COMPACT = re.compile(r"([A-Za-z0-9_-]{1,2000})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{0,1400})\Z")


class UnusableJWT(Exception):
    """It is refused; the message says why, for the log."""


@dataclass(frozen=True)
class ClientJWT:
    """What a client said, and whether it signed it."""

    claims: dict[str, Any]
    is_signed: bool


def read_client_jwt(
    text: str,
    client: RegisteredClient,
    *,
    types: frozenset[str],
    registered_alg: str | None,
    may_be_unsigned: bool = False,
) -> ClientJWT:
    """The claims of a JWT in compact form that this client signed.

    `types` are the `typ` that it may have, in small letters; none at all is accepted, too. `registered_alg` is the
    one algorithm that the client signs such with; None: any that we know. Raises UnusableJWT.
    """
    header_part, body_part, signature_part = _split(text)
    header = _decode(header_part, "header")
    alg, kid = _check_header(header, types)
    if alg == "none" and may_be_unsigned:
        if signature_part:
            raise UnusableJWT("unsigned, with a signature")
        return ClientJWT(_decode(body_part, "body"), is_signed=False)
    if alg not in CLIENT_ALGORITHMS:
        raise UnusableJWT("an algorithm that clients may not use")
    alg = usual_name(alg)
    if registered_alg is not None and alg != usual_name(registered_alg):
        raise UnusableJWT(f"signed with {alg}, registered for {registered_alg}")
    key = client_keys.find(client, alg=alg, kid=kid)
    if key is None:
        raise UnusableJWT("no key of the client fits, or more than one")
    try:
        is_right = JWSRegistry.algorithms[alg].verify(
            f"{header_part}.{body_part}".encode(), _unpack(signature_part, "signature"), key.jwk
        )
    except (JoseError, ValueError, TypeError) as error:
        raise UnusableJWT("the signature cannot be checked") from error
    if not is_right:
        raise UnusableJWT("the signature is wrong")
    return ClientJWT(_decode(body_part, "body"), is_signed=True)


def claimed_subject(text: str) -> str | None:
    """Whom a JWT says it is about, before anything of it is proven; None for what cannot be read."""
    try:
        subject = _decode(_split(text)[1], "body").get("sub")
    except UnusableJWT:
        return None
    return subject if isinstance(subject, str) else None


def check_times(claims: dict[str, Any], *, longest: timedelta | None = None) -> int | None:
    """Hold a JWT to its own times (RFC 7519 §4.1), give or take TOLERANCE. Returns when it expires.

    With `longest` it must expire, and no later than that from now. Raises UnusableJWT.
    """
    now, tolerance = time.time(), TOLERANCE.total_seconds()
    expires_at = _moment(claims, "exp")
    if expires_at is not None and expires_at <= now - tolerance:
        raise UnusableJWT("expired")
    if longest is not None and (expires_at is None or expires_at > now + longest.total_seconds() + tolerance):
        raise UnusableJWT("no exp" if expires_at is None else "it expires too far in the future")
    for name in ("nbf", "iat"):
        moment = _moment(claims, name)
        if moment is not None and moment > now + tolerance:
            raise UnusableJWT(f"{name} is in the future")
    return int(expires_at) if expires_at is not None else None


def names_in(claims: dict[str, Any], name: str) -> list[str]:
    """The values of a claim that is one string or several. Raises UnusableJWT for anything else."""
    value = claims.get(name)
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) for one in values):
        raise UnusableJWT(f"{name} is not a string")
    return values


def _split(text: str) -> tuple[str, str, str]:
    match = _COMPACT.match(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise UnusableJWT("not a JWS in compact form, or too long")
    header, body, signature = match.groups()
    return header, body, signature


def _check_header(header: dict[str, Any], types: frozenset[str]) -> tuple[str, str | None]:
    """The algorithm and the id of the key."""
    if unknown := set(header) - HEADER:
        raise UnusableJWT(f"header members that are not allowed: {sorted(unknown)!a:.200}")
    alg, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "jwt")
    if not isinstance(alg, str):
        raise UnusableJWT("no alg")
    if not isinstance(kid, (str, type(None))) or (kid is not None and len(kid) > MAX_KID_LENGTH):
        raise UnusableJWT("a kid that is none")
    if not isinstance(kind, str) or kind.lower() not in types | {"jwt"}:
        raise UnusableJWT("of another typ")
    return alg, kid


def _moment(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < LATEST:
        raise UnusableJWT(f"{name} is no time")
    return float(value)


def _unpack(segment: str, what: str) -> bytes:
    if len(segment) % 4 == 1:
        raise UnusableJWT(f"the {what} is not base64url")
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _decode(segment: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(
            _unpack(segment, what).decode(), object_pairs_hook=_members, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise UnusableJWT(f"the {what} is not JSON") from error
    if not isinstance(value, dict):
        raise UnusableJWT(f"the {what} is not an object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers must never see two things in one object (RFC 7515 §4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _no_constant(_: str) -> None:
    raise ValueError("NaN and infinities are not JSON")
