"""Bearers: access tokens of our own issuer, verified at our own APIs against keys that an event brought.

No HTTP: `oidc.keys_changed` left the issuer's public keys in a row of each service that has an API.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from flask import Request, current_app, g
from flask_babel import lazy_gettext

from libs.observe.logs import get_logger
from libs.people import denials
from libs.people.bearer.problems import (
    InsufficientScope,
    InvalidToken,
    NoToken,
    StaleSignIn,
    TokensUnavailable,
)
from libs.people.bearer.tokens import (
    ACCESS_TOKEN_TYPE,
    api_audience,
    is_addressed_to,
    is_in_time,
    read_token,
)

log = get_logger("libs.bearer")


@dataclass(frozen=True, kw_only=True)
class Bearer:
    """Whoever sent a request with an access token: a person through a client, or a client by itself."""

    sub: str | None
    """The person; None where a client acts for itself (`sub` is then its own id, RFC 9068 §2.2)."""
    client_id: str
    sid: str | None
    """The sign-in session that the token lives by; None for one of `offline_access`."""
    scopes: frozenset[str]
    roles: tuple[str, ...]
    issued_at: int
    """Epoch seconds."""
    auth_time: int | None = None
    """When the person last proved who they are, in epoch seconds; None for a client by itself."""

    def has_role(self, *roles: str) -> bool:
        """Whether the person came with one of the roles; `admin` implies all."""
        return "admin" in self.roles or any(role in self.roles for role in roles)

    def is_fresh(self, max_age: timedelta) -> bool:
        """Whether the person signed in no longer ago than this."""
        return self.auth_time is not None and self.auth_time >= int(time.time() - max_age.total_seconds())


def authenticate(
    request: Request, *, scope: str, roles: tuple[str, ...], max_age: timedelta | None = None
) -> Bearer:
    """Who bears the request's token, held to a scope and, for a person, to one of the roles.

    Without roles the route is the person's own, so that a client by itself does not enter. The token comes in the
    header alone (RFC 6750 §2.1). `max_age` is how long ago a person may have signed in; a client by itself never does.
    Raises NoToken, InvalidToken, InsufficientScope, StaleSignIn, TokensUnavailable.
    """
    from libs.service import parts_of

    parts = parts_of(current_app)
    issuer = parts.settings.PUBLIC_URL
    claims = read_token(
        _token_of(request), token_type=ACCESS_TOKEN_TYPE, issuer=issuer, find_key=parts.issuer_keys.find
    )
    if claims is None or not is_addressed_to(claims, api_audience(issuer)) or not is_in_time(claims):
        raise InvalidToken
    bearer = _bearer_of(claims)
    if _is_revoked(bearer, parts):
        raise InvalidToken
    if scope not in bearer.scopes:
        raise InsufficientScope(scope, lazy_gettext("It lacks the scope %(scope)s.", scope=scope))
    if bearer.sub is None and not roles:
        raise InsufficientScope(scope, lazy_gettext("It is nobody's own: a client by itself got it."))
    if bearer.sub is not None and roles and not bearer.has_role(*roles):
        raise InsufficientScope(scope, lazy_gettext("It lacks the role %(role)s.", role=" / ".join(roles)))
    if max_age is not None and bearer.sub is not None and not bearer.is_fresh(max_age):
        raise StaleSignIn(max_age)
    g.bearer = bearer
    return bearer


def current_bearer() -> Bearer:
    """Whoever bears the token, in a view declared @bearer."""
    bearer: Bearer = g.bearer
    return bearer


def current_person() -> str:
    """The sub of the person who bears the token, in a view declared @bearer without a role."""
    sub = current_bearer().sub
    assert sub is not None, "only a route with a role lets a client enter by itself"
    return sub


def bearer_name() -> str | None:
    """Under which name a bearer's requests are counted: the person's sub, or the client's id."""
    bearer: Bearer | None = g.get("bearer")
    return (bearer.sub or bearer.client_id) if bearer else None


def _token_of(request: Request) -> str:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        raise NoToken
    return credentials.strip()


def _bearer_of(claims: Mapping[str, Any]) -> Bearer:
    """Raises InvalidToken for a token of another release that lacks what is needed here."""
    try:
        sub, client_id = claims["sub"], claims["client_id"]
        return Bearer(
            sub=sub if sub != client_id else None,
            client_id=client_id,
            sid=claims.get("sid"),
            scopes=frozenset(claims["scope"].split()),
            roles=tuple(claims.get("roles", ())),
            issued_at=int(claims["iat"]),
            auth_time=int(claims["auth_time"]) if "auth_time" in claims else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidToken from error


def _is_revoked(bearer: Bearer, parts: Any) -> bool:
    """Whether a denial reaches the token. Where Redis cannot say, the service's own rows do, or nobody does.

    Raises TokensUnavailable.
    """
    try:
        return denials.is_denied(parts.redis, sub=bearer.sub, sid=bearer.sid, issued_at=bearer.issued_at)
    except redis.RedisError as error:
        log.warning("denials_not_read", error=type(error).__name__)
        still_holds = parts.token_still_holds(bearer) if parts.token_still_holds else None
        if still_holds is None:
            raise TokensUnavailable(retry_after=5) from error
        return not still_holds
