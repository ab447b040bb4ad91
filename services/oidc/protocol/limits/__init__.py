"""Limits of what programs ask the issuer: counted by one script in one round trip, the denials of tokens read with it.

A limit is a window that slides: the count of the window before fades out as this one goes on. Keys read
`id-limits/rl:{scope}:ip:{address}:{window}:{number}` or `…:user:{keyed hash}:…` and live for two windows, so that
`ratelimits list` and `reset` find them. While Redis is away the process counts alone, by the `limits` package, at a
quarter of the allowance, and asks again after a second: a request waits for a hung Redis once at most.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis
from authlib.oauth2 import OAuth2Error
from flask import current_app
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from libs.guard.ratelimit import ENHANCED_KEY, KEY_PREFIX, TIGHTENED, counted_address, hashed_name, quarter
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.client_address import client_address
from services.oidc.flows.clients.registered import RegisteredClient
from services.oidc.protocol.limits import script
from services.oidc.protocol.limits.ahead import CountedAhead

log = get_logger("OIDC.limits")

AWAY_INTERVAL_S = 1.0
"""How long a process counts alone before it asks Redis again."""
REFUSAL_KEPT_S = 1.0
"""How long a process remembers that somebody was refused: a flood then costs no store a question."""
MOST_REFUSALS = 10_000
SCOPES = {
    "oidc_token": ("TOKEN_REQUESTS_PER_ADDRESS", "TOKEN_REQUESTS_PER_CLIENT"),
    "oidc_par": ("TOKEN_REQUESTS_PER_ADDRESS", "TOKEN_REQUESTS_PER_CLIENT"),
    "oidc_device": ("TOKEN_REQUESTS_PER_ADDRESS", "TOKEN_REQUESTS_PER_CLIENT"),
    "oidc_userinfo": ("USERINFO_REQUESTS_PER_ADDRESS", "USERINFO_REQUESTS_PER_PERSON"),
    "oidc_authorize": ("AUTHORIZATION_REQUESTS_PER_ADDRESS", "AUTHORIZATION_REQUESTS_PER_ADDRESS"),
    "oidc_register": ("REGISTRATION_REQUESTS_PER_ADDRESS", "REGISTRATION_REQUESTS_PER_ADDRESS"),
}
"""By scope the settings with the allowance of an address, and of whoever has proven to be somebody."""


class TooManyRequests(OAuth2Error):
    """A limit was met; `retry_after` says in how many seconds it no longer holds."""

    error = "temporarily_unavailable"
    status_code = 429

    def __init__(self, retry_after: int):
        super().__init__()
        self.retry_after = retry_after

    def get_headers(self) -> list[tuple[str, str]]:
        return [*super().get_headers(), ("Retry-After", str(self.retry_after))]


@dataclass(frozen=True)
class Limit:
    """One count: whose, and how much is allowed."""

    key: str
    allowed: RateLimitItem
    name: str
    """In Redis, up to the number of its window."""
    numbers: str
    """For the script: the allowance, the one in enhanced mode, the window in ms."""
    tightened: str
    """The same where enhanced mode leaves a quarter."""


def admit(
    scope: str,
    *,
    client: RegisteredClient | None = None,
    person: str | None = None,
    denials: Sequence[str] = (),
) -> list[str | None]:
    """Count this request by its address and by whoever has proven to send it; read denials on the way.

    `scope` is one of SCOPES. `client` is one that was authenticated: a public client proves nothing, so that it
    counts by its address alone and nobody uses up its allowance. `person` names whose token is presented.
    Returns the values of the named denials, none while Redis cannot be asked.
    Raises TooManyRequests, an OAuth2Error that says when to come back.
    """
    return _admit(scope, _limits_of(scope, client, person), denials)


def _admit(
    scope: str, limits: Sequence[Limit], denials: Sequence[str], asked: script.Question | None = None
) -> list[str | None]:
    found = None
    if asked is None and not denials and _alone.ahead.take(_whose(limits)):
        return []
    if asked is not None or time.monotonic() >= _alone.until:
        found = _by_script(scope, limits, denials, asked)
    if found is None:
        _by_myself(scope, limits)
        return []
    return found


class Visit:
    """One request on its way past the limits: counted once, at the first question that Redis is asked for it."""

    def __init__(self, scope: str):
        self.scope = scope
        self.client: RegisteredClient | None = None
        """Who has proven to send it."""
        self.person: str | None = None
        """Whose token was presented."""
        self._is_counted = False
        self._limits: tuple[Any, Sequence[Limit]] | None = None
        self._asked: script.Question | None = None

    def _whose(self) -> Sequence[Limit]:
        """The limits of who is known by now; looked up again once somebody more is."""
        who = (self.client, self.person)
        if self._limits is None or self._limits[0] != who:
            self._limits = who, _limits_of(self.scope, *who)
        return self._limits[1]

    def look_ahead(self) -> None:
        """Raise TooManyRequests for whoever was refused a moment ago, before PostgreSQL is asked anything."""
        if self._is_counted:
            return
        try:
            _refuse_again(self.scope, self._whose())
        except TooManyRequests:
            self._is_counted = True
            raise

    def ask(self) -> None:
        """Send the question ahead, without denials, for whoever has work to do until count() hears the answer."""
        self.look_ahead()
        if self._is_counted or is_away():
            return
        limits = self._whose()
        if _alone.ahead.take(_whose(limits)):
            self._is_counted = True
            return
        try:
            self._asked = _question(self.scope, limits, ())
        except redis.RedisError as error:
            note_away(error)

    def count(self, denials: Sequence[str] = ()) -> list[str | None]:
        """Count the request and read the denials; a second time only read them. Raises TooManyRequests."""
        if not self._is_counted:
            self._is_counted = True
            asked, self._asked = self._asked, None
            return _admit(self.scope, self._whose(), denials, asked)
        return _read(denials)


def is_away() -> bool:
    """Whether Redis gave no answer a moment ago and is not to be asked in this request."""
    return time.monotonic() < _alone.until


def note_away(error: redis.RedisError) -> None:
    """Redis gave no answer: the process goes on alone for a moment."""
    _alone.until = time.monotonic() + AWAY_INTERVAL_S
    parts_of(current_app).enhanced.note_away()
    log.warning("redis_not_asked", error=type(error).__name__)


class _Alone:
    """What the process counts by itself, and until when."""

    def __init__(self) -> None:
        self.until = float("-inf")
        self.strategy = MovingWindowRateLimiter(MemoryStorage())
        self.refused: dict[str, float] = {}
        self.ahead = CountedAhead()
        self.lock = threading.Lock()


_alone = _Alone()


def forget() -> None:
    """Count anew and ask Redis again; for tests."""
    _alone.__init__()  # type: ignore[misc]
    script.forget()


@lru_cache(maxsize=16)
def _parsed(allowance: str) -> RateLimitItem:
    return parse(allowance)


@lru_cache(maxsize=16)
def _wider(one: str, other: str) -> str:
    return max(one, other, key=lambda text: _parsed(text).amount / _parsed(text).get_expiry())


@lru_cache(maxsize=10_000)
def _of_address(scope: str, address: str, allowance: str) -> Limit:
    return _limit(f"rl:{scope}:ip:{counted_address(address)}:", _parsed(allowance))


@lru_cache(maxsize=10_000)
def _of_known(scope: str, secret_key: str, known: str, allowance: str) -> Limit:
    return _limit(f"rl:{scope}:user:{hashed_name(secret_key, known)}:", _parsed(allowance))


def _limit(key: str, allowed: RateLimitItem) -> Limit:
    full, window_ms = allowed.amount, allowed.get_expiry() * 1000
    return Limit(
        key=key,
        allowed=allowed,
        name=f"{KEY_PREFIX}/{key}{window_ms}:",
        numbers=f"{full} {full} {window_ms}",
        tightened=f"{full} {quarter(full)} {window_ms}",
    )


def _limits_of(scope: str, client: RegisteredClient | None, person: str | None) -> list[Limit]:
    settings = parts_of(current_app).settings
    for_address, for_known = SCOPES[scope]
    of_address, of_known = getattr(settings, for_address), getattr(settings, for_known)
    if client is not None and client.auth_method == "none":
        client = None
    known = person or (client.client_id if client else None)
    address = client_address()
    if known is None:
        return [_of_address(scope, address, of_address)]
    # One server sends all that its client asks: what is proven has the wider allowance there, too.
    wider = _wider(of_address, of_known)
    return [_of_address(scope, address, wider), _of_known(scope, settings.SECRET_KEY, known, of_known)]


def _question(scope: str, limits: Sequence[Limit], denials: Sequence[str]) -> script.Question:
    """Raises redis.RedisError."""
    keys = [ENHANCED_KEY, *[limit.name for limit in limits], *denials]
    numbers = " ".join([limit.tightened if scope in TIGHTENED else limit.numbers for limit in limits])
    # What is asked with denials is asked each time: only then are they known.
    allowance = min([limit.allowed.amount for limit in limits])
    wanted = 1 if denials else _alone.ahead.wanted(_whose(limits), allowance)
    return script.Question(parts_of(current_app).redis, keys, numbers, wanted)


def _whose(limits: Sequence[Limit]) -> tuple[str, str]:
    return limits[0].name, limits[-1].name


def _by_script(
    scope: str, limits: Sequence[Limit], denials: Sequence[str], asked: script.Question | None
) -> list[str | None] | None:
    """Ask Redis. Returns the denials; None when it could not count. Raises TooManyRequests."""
    parts = parts_of(current_app)
    if asked is None:
        _refuse_again(scope, limits)
    try:
        wait_ms, enhanced, counted, *found = (asked or _question(scope, limits, denials)).answer()
    except redis.RedisError as error:
        note_away(error)
        return None
    parts.enhanced.note(enhanced)
    if wait_ms == 0 and not denials:
        _alone.ahead.keep(_whose(limits), counted)
    if wait_ms > 0:
        raise _refused(scope, limits, wait_ms / 1000)
    if wait_ms < 0:
        # It is full, or takes no writes: what it holds is true all the same.
        _by_myself(scope, limits)
    return list(found)


def _by_myself(scope: str, limits: Sequence[Limit]) -> None:
    """Count in this process, at a quarter. Raises TooManyRequests."""
    _refuse_again(scope, limits)
    for limit in limits:
        allowed = limit.allowed
        item = type(allowed)(quarter(allowed.amount), allowed.multiples)
        if not _alone.strategy.hit(item, limit.key):
            reset_at = _alone.strategy.get_window_stats(item, limit.key).reset_time
            raise _refused(scope, limits, max(reset_at - time.time(), 0))


def _read(denials: Sequence[str]) -> list[str | None]:
    if not denials or is_away():
        return []
    client: Any = parts_of(current_app).redis
    try:
        return list(client.mget(denials))
    except redis.RedisError as error:
        note_away(error)
        return []


def _refused(scope: str, limits: Sequence[Limit], wait_s: float) -> TooManyRequests:
    until = time.monotonic() + min(wait_s, REFUSAL_KEPT_S)
    with _alone.lock:
        if len(_alone.refused) >= MOST_REFUSALS:
            _alone.refused.clear()
        # By the narrowest of the counts: a client that is over its own does not take its neighbours along.
        _alone.refused[limits[-1].key] = until
    return _counted(scope, wait_s)


def _refuse_again(scope: str, limits: Sequence[Limit]) -> None:
    """Raises TooManyRequests for whoever was refused a moment ago."""
    until = _alone.refused.get(limits[-1].key)
    if until is None:
        return
    left_s = until - time.monotonic()
    if left_s > 0:
        raise _counted(scope, left_s)
    _alone.refused.pop(limits[-1].key, None)


def _counted(scope: str, wait_s: float) -> TooManyRequests:
    parts_of(current_app).metrics.rate_limit_triggered.labels(scope=scope).inc()
    return TooManyRequests(max(math.ceil(wait_s), 1))
