"""Bearers: access tokens of our own issuer, verified at our own APIs against keys that an event brought.

No HTTP: `oidc.keys_changed` left the issuer's public keys in a row of each service that has an API.
"""

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import redis
import sqlalchemy as sa
from flask import Request, current_app, g
from flask_babel import lazy_gettext
from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import import_key
from joserfc.jws import JWSAlgModel, JWSRegistry
from sqlalchemy.dialects.postgresql import JSONB, insert

from libs.database import Database, Timestamp, is_away, utcnow
from libs.observe.logs import get_logger
from libs.people import denials
from libs.web.problems import Problem, Unavailable

log = get_logger("libs.bearer")

ACCESS_TOKEN_TYPE = "at+jwt"
MAX_LENGTH = 8192
"""Longer text is no token of ours and is refused unread."""
KINDS = {"ES256": "EC", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}
"""What our issuer signs with, and the kind of key; one of another algorithm is left alone until a release knows it."""
KEYS_LIFETIME = timedelta(seconds=5)
"""A key that came or went is seen by every process within this time."""
LOOK_INTERVAL = timedelta(seconds=1)
"""How often a kid that nobody knows makes a process look again, at most."""
API_SCOPES: dict[str, Any] = {
    "me": lazy_gettext("see and change your account here, and where you are signed in"),
    "users:read": lazy_gettext("see everybody's accounts, as far as your role allows it"),
    "users:write": lazy_gettext("change everybody's accounts, as far as your role allows it"),
    "applications:read": lazy_gettext(
        "see who asks to join and who is invited, as far as your role allows it"
    ),
    "applications:write": lazy_gettext("decide who joins, and invite people, as far as your role allows it"),
    "messages:read": lazy_gettext("see which mail was sent and which was not, as far as your role allows it"),
    "messages:write": lazy_gettext(
        "send mail again and let addresses have mail again, as far as your role allows it"
    ),
    "clients:read": lazy_gettext("see the apps that sign people in here, as far as your role allows it"),
    "clients:write": lazy_gettext("register and change apps, as far as your role allows it"),
}
"""The scopes of our own APIs in the words of a question to a person, in the order in which they are asked."""
OWN_SCOPES = frozenset({"me"})
"""What anybody may allow; the others are for people with a role."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{1,1000}\Z")


# -- reading -----------------------------------------------------------------------------------------------------


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


def _decode(segment: str) -> dict[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# -- the issuer's keys -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IssuerKey:
    """A public key of the issuer, parsed."""

    alg: str
    jwk: Any


class IssuerKeys:
    """The row in which a service keeps the issuer's public keys, and what a process remembers of it."""

    def __init__(self, db: Database):
        self.db = db
        self.table = sa.Table(
            "issuer_keys",
            db.metadata,
            sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("jwks", JSONB, nullable=False),
            sa.Column("received_at", Timestamp, nullable=False),
            sa.CheckConstraint("id = 1", name="one_row"),
        )
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._by_kid: dict[str, IssuerKey] | None = None
        self._is_outdated = False

    def remember(self, *, version: int, jwks: Mapping[str, Any]) -> None:
        """Take the keys over, unless newer ones are known: in whatever order the events come."""
        values = {"version": version, "jwks": dict(jwks), "received_at": utcnow()}
        with self.db.transaction() as session:
            session.execute(
                insert(self.table)
                .values(id=1, **values)
                .on_conflict_do_update(
                    index_elements=[self.table.c.id], set_=values, where=self.table.c.version < version
                )
            )
            self.db.after_commit(self.forget)

    def forget(self) -> None:
        """Look at the row again at the next token."""
        self._looked_at = float("-inf")

    def find(self, kid: str) -> IssuerKey | None:
        """The published key of this id. One that is unknown makes us look again, once a second at most.

        Raises TokensUnavailable while the issuer has not told us of any key: nobody can say then what is good.
        """
        key = self._load(KEYS_LIFETIME).get(kid) or (known := self._load(LOOK_INTERVAL)).get(kid)
        if key is None and not known:
            raise TokensUnavailable(retry_after=5)
        return key

    def _load(self, lifetime: timedelta) -> dict[str, IssuerKey]:
        """The keys, at most so old. While the database is away the last ones known serve on."""
        known = self._by_kid
        if known is not None and time.monotonic() - self._looked_at < lifetime.total_seconds():
            return known
        # One thread looks; the others go on with what is known.
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known
        try:
            row = self.db.fetch_one(sa.select(self.table.c.jwks))
            self._by_kid = _parse(row.jwks if row is not None else {})
            if not self._by_kid:
                log.error("issuer_keys_missing")
            self._is_outdated = False
        except sa.exc.SQLAlchemyError as error:
            if known is None or not is_away(error):
                raise
            if not self._is_outdated:  # said once per outage
                log.warning("issuer_keys_not_read", error=type(error).__name__)
            self._is_outdated = True
        finally:
            self._looked_at = time.monotonic()
            self._lock.release()
        return self._by_kid or {}


def _parse(jwks: Mapping[str, Any]) -> dict[str, IssuerKey]:
    """The keys that sign, by their ids; whatever is no public key of a kind we know is passed over."""
    found = {}
    for member in jwks.get("keys", ()):
        alg, kid = member.get("alg"), member.get("kid")
        if alg not in KINDS or member.get("kty") != KINDS[alg] or member.get("use") != "sig":
            continue
        try:
            found[kid] = IssuerKey(alg, import_key(member))
        except (JoseError, ValueError, TypeError) as error:
            log.error("issuer_key_not_understood", kid=str(kid)[:100], error=type(error).__name__)
    return found


# -- who bears a token -------------------------------------------------------------------------------------------


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


class NoToken(Problem):
    """Nothing was presented: the answer names the scheme and no error (RFC 6750 §3.1)."""

    status, slug, title = 401, "no-token", lazy_gettext("This needs an access token")

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api"'})


class InvalidToken(Problem):
    """Not an access token of ours for this API, or one that holds no more."""

    status, slug, title = (
        401,
        "invalid-token",
        lazy_gettext("The access token is not valid here, or no longer"),
    )

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'})


class InsufficientScope(Problem):
    """The token is good, and not enough: its scope, or the roles of its person (RFC 6750 §3.1)."""

    status, slug, title = 403, "insufficient-scope", lazy_gettext("The access token does not open this")

    def __init__(self, scope: str, detail: Any):
        challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class StaleSignIn(Problem):
    """The token opens this, and its person has to sign in anew first (RFC 9470 §3)."""

    status, slug = 401, "stale-sign-in"
    title = lazy_gettext("This needs a fresh sign-in")

    def __init__(self, max_age: timedelta):
        seconds = int(max_age.total_seconds())
        challenge = f'Bearer realm="api", error="insufficient_user_authentication", max_age="{seconds}"'
        words = lazy_gettext("Ask the issuer again, with max_age=%(seconds)s.", seconds=seconds)
        super().__init__(words, headers={"WWW-Authenticate": challenge})


class TokensUnavailable(Unavailable):
    """Redis is away and no row here can say whether the token was revoked, or the issuer's keys have not come yet."""

    slug, title = "tokens-unavailable", lazy_gettext("We cannot check access tokens right now")


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


def is_addressed_to(claims: Mapping[str, Any], audience: str) -> bool:
    """Whether `aud`, one or several (RFC 7519 §4.1.3), names this audience."""
    named = claims.get("aud")
    return named == audience or (isinstance(named, list) and audience in named)


def is_in_time(claims: Mapping[str, Any]) -> bool:
    """Whether a token has not expired yet; one that does not say when is none of ours."""
    expires_at = claims.get("exp")
    return isinstance(expires_at, int) and expires_at > time.time()


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
