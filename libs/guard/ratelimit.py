"""Rate limits of pages and APIs: Flask-Limiter on Redis, one key space for all services.

Every key contains `rl:{scope}:ip:{ip}:` or `rl:{scope}:user:{keyed hash}:`, so that a command finds them; where
neighbours count together, `rl:{scope}:net:{network}:`, and all together `rl:{scope}:all:`.
With Redis away limits count in the process, at a quarter of the allowance: never none, never no sign-in.
Enhanced mode tightens some scopes to a quarter too, in all services at once, for as long as staff have said.
"""

import hashlib
import hmac
import ipaddress
import math
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from flask import Flask, Response, current_app, request
from flask_babel import lazy_gettext, ngettext
from flask_limiter import Limiter, RequestLimit
from flask_limiter.errors import RateLimitExceeded

from libs.guard.keyring import derive
from libs.settings import Settings
from libs.web.client_address import client_address
from libs.web.problems import Problem, problem_response

KEY_PREFIX = "id-limits"
ENHANCED_KEY = f"{KEY_PREFIX}:enhanced"
"""While it exists enhanced mode is on; it holds the end, epoch seconds."""
TIGHTENED = frozenset({"login", "register", "oidc_token"})
"""The scopes of which enhanced mode leaves a quarter."""
MAX_NAME_LENGTH = 1000
_ALLOWANCE = re.compile(r"\d+ per (\d+ )?(second|minute|hour|day)s?")


class TooManyTries(Problem):
    """A limit was met; `retry_after` says when it no longer holds."""

    status, slug, title = 429, "too-many-requests", lazy_gettext("Too many tries in a short time")


def wait_in_words(seconds: int) -> str:
    """How long to wait, as people count it."""
    if seconds <= 90:
        return ngettext(
            "Wait %(num)s second, then try again.", "Wait %(num)s seconds, then try again.", seconds
        )
    return ngettext(
        "Wait %(num)s minute, then try again.",
        "Wait %(num)s minutes, then try again.",
        math.ceil(seconds / 60),
    )


def quarter(allowance: int) -> int:
    """What is left of an allowance in enhanced mode, and while a process counts alone."""
    return max(allowance // 4, 1)


def counted_address(ip: str) -> str:
    """An address as limits count it. One of IPv6 counts as its /64: whoever has one has all of it."""
    address = ipaddress.ip_address(ip)
    return ip if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def neighbourhood(ip: str) -> str:
    """The network whose addresses most likely belong together: a /24, or a /48 of IPv6."""
    address = ipaddress.ip_address(ip)
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def hashed_user(settings: Settings, name: str) -> str:
    """A keyed hash of what identifies a person or client, so that Redis holds no address of anybody.

    Case and Unicode forms of one e-mail give one hash.
    """
    return hashed_name(settings.SECRET_KEY, name)


def hashes_of_user(settings: Settings, name: str) -> list[str]:
    """That hash, and those under earlier values of SECRET_KEY: by them is found what was written before a rotation."""
    return [hashed_name(key, name) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


def hashed_name(secret_key: str, name: str) -> str:
    """hashed_user() for whoever remembers what it answered: a key is quickly compared, settings are not."""
    # Cut first: normalising a megabyte of combining marks takes minutes.
    folded = unicodedata.normalize("NFKC", name[:MAX_NAME_LENGTH]).strip().casefold()
    key = derive(secret_key, "ratelimit")
    return hmac.new(key, folded.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


class _Limiter(Limiter):
    """Flask-Limiter, which does nothing for a request that no limit of ours is looked up for beforehand.

    Views count for themselves; before them only the limits of a whole blueprint are asked, and a Redis that was
    away whether it is back.
    """

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        if in_middleware and not self._storage_dead:
            limited = self.limit_manager._blueprint_limits
            if not any(name in limited for name in request.blueprints):
                return
        super()._check_request_limit(callable_name, in_middleware)


class RateLimiter:
    """The limiter of one service."""

    def __init__(self) -> None:
        self.scopes: set[str] = set()
        """Of all limits that were declared."""
        self.limiter = _Limiter(
            key_func=client_address,
            strategy="moving-window",
            key_prefix=KEY_PREFIX,
            in_memory_fallback_enabled=True,
            headers_enabled=False,
            swallow_errors=False,
        )

    def init_app(self, app: Flask, settings: Settings) -> None:
        app.config["RATELIMIT_STORAGE_URI"] = settings.REDIS_URL
        timeout = settings.REDIS_TIMEOUT_MS / 1000
        app.config["RATELIMIT_STORAGE_OPTIONS"] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": None,
        }
        self.limiter.init_app(app)
        # Headers about limits, which ours never send, and an end for what ends with the request anyway.
        app.after_request_funcs[None].pop()
        app.teardown_request_funcs[None].pop()

        @app.errorhandler(RateLimitExceeded)
        def _exceeded(error: RateLimitExceeded) -> Response:
            return too_many(error)

    def limit(
        self,
        scope: str,
        allowance: str,
        *,
        by: Callable[[], str | None] | None = None,
        device: Callable[[], str | None] | None = None,
        when: Callable[[], bool] | None = None,
    ) -> Callable[[Any], Any]:
        """Limit a view: `allowance` such as `10 per minute`, per address, or per user when `by` names one.

        Views that share a scope share its count; a blueprint may be limited as a whole. POST is what counts, since
        looking at a form is free; of programs (the issuer's endpoints, the APIs) every request does. With `when`
        only the requests of which it is true count. `device` names a browser that is known for this user: what
        comes from there counts apart, so that nobody else uses it up.
        """
        assert _ALLOWANCE.fullmatch(allowance), f"an allowance reads like '10 per minute', not {allowance!r}"
        self.scopes.add(scope)

        def key() -> str:
            from libs.service import parts_of

            name = by() if by else None
            if name:
                mine = f"rl:{scope}:user:{hashed_user(parts_of(current_app).settings, name)}:"
                own = device() if device else None
                return f"{mine}device:{own}:" if own else mine
            return f"rl:{scope}:ip:{counted_address(client_address())}:"

        return self.limiter.shared_limit(
            lambda: self._allowance(self._tightened(scope, allowance)),
            scope=scope,
            key_func=key,
            methods=None if scope == "api" or scope.startswith("oidc_") else ["POST"],
            exempt_when=(lambda: not when()) if when else None,
        )

    def _allowance(self, full: str) -> str:
        """The allowance that holds now: a quarter, at least one, while this process counts alone."""
        return _quartered(full) if self.limiter._storage_dead else full

    def _tightened(self, scope: str, full: str) -> str:
        """The allowance of a scope, a quarter in enhanced mode. A process that counts alone does not ask Redis."""
        from libs.service import parts_of

        if scope not in TIGHTENED or self.limiter._storage_dead:
            return full
        enhanced = parts_of(current_app).enhanced
        is_on = enhanced.is_on()
        if enhanced.is_away:
            # One time-out of a hung Redis is enough: this request's count is not sent after the question.
            self.limiter._storage_dead = True
            return full
        return _quartered(full) if is_on else full


def _quartered(full: str) -> str:
    count, per, span = full.partition(" per ")
    return f"{quarter(int(count))}{per}{span}"


def too_many(error: RateLimitExceeded) -> Response:
    """429 with Retry-After, counted by scope."""
    from libs.service import parts_of

    parts = parts_of(current_app)
    limit: RequestLimit | None = parts.limiter.limiter.current_limit
    scope = error.limit.scope or "other" if error.limit else "other"
    parts.metrics.rate_limit_triggered.labels(scope=scope).inc()
    wait = max(int(limit.reset_at - time.time()) + 1, 1) if limit else 60
    return problem_response(
        TooManyTries.status, TooManyTries.slug, TooManyTries.title, wait_in_words(wait), retry_after=wait
    )


class EnhancedMode:
    """The one switch that tightens limits in all services, as one process sees it: at most half a second late.

    Whoever reads ENHANCED_KEY in passing notes it here, so that it costs no round trip of its own.
    With Redis away what was seen last goes on until its end.
    """

    LOOK_INTERVAL_S = 0.5
    AWAY_INTERVAL_S = 1.0

    def __init__(self, client: Callable[[], redis.Redis]):
        self._client = client
        self._ends_at = 0.0
        self._look_again_at = 0.0
        self.is_away = False
        """Whether Redis gave no answer when it was asked last."""

    def is_on(self) -> bool:
        return self.ends_at() is not None

    def ends_at(self) -> datetime | None:
        """When it ends by itself; None while limits are as usual. Never raises."""
        if time.monotonic() >= self._look_again_at:
            # Others of this process go by what is known meanwhile.
            self._look_again_at = time.monotonic() + self.LOOK_INTERVAL_S
            try:
                client: Any = self._client()
                self.note(client.get(ENHANCED_KEY))
            except redis.RedisError:
                self.note_away()
        return datetime.fromtimestamp(self._ends_at, UTC) if self._ends_at > time.time() else None

    def note(self, value: str | None) -> None:
        """What ENHANCED_KEY holds at this moment."""
        self._ends_at = float(value) if value else 0.0
        self.is_away = False
        self._look_again_at = time.monotonic() + self.LOOK_INTERVAL_S

    def note_away(self) -> None:
        """Redis did not answer a moment ago: it is not asked again at once."""
        self.is_away = True
        self._look_again_at = time.monotonic() + self.AWAY_INTERVAL_S

    def begin(self, life: timedelta) -> datetime:
        """Tighten limits for so long from now on. Returns the end. Raises redis.RedisError."""
        seconds = max(int(life.total_seconds()), 1)
        ends_at = int(time.time()) + seconds
        self._client().set(ENHANCED_KEY, ends_at, ex=seconds)
        self.note(str(ends_at))
        return datetime.fromtimestamp(ends_at, UTC)

    def end(self) -> bool:
        """Back to the usual limits. False when they held already. Raises redis.RedisError."""
        was_on = bool(self._client().delete(ENHANCED_KEY))
        self.note(None)
        return was_on


def find_keys(
    client: redis.Redis, settings: Settings, *, ip: str | None = None, user: str | None = None
) -> Iterator[str]:
    """The names of the limits that hold now, of everybody or of one address or user, found by SCAN.

    An address brings its network's along.
    """
    if ip:
        patterns = [
            f"*rl:*:ip:{_literal(counted_address(ip))}:*",
            f"*rl:*:net:{_literal(neighbourhood(ip))}:*",
        ]
    elif user:
        patterns = [f"*rl:*:user:{hashed}:*" for hashed in hashes_of_user(settings, user)]
    else:
        patterns = ["*rl:*:*:*"]
    for pattern in patterns:
        for key in client.scan_iter(match=pattern, count=1000):
            yield key.decode() if isinstance(key, bytes) else key


def describe(client: Any, keys: list[str]) -> list[dict[str, Any]]:
    """What each limit has counted, how long the next try must wait, and when all of it is forgotten."""
    looks = client.pipeline(transaction=False)
    for key in keys:
        looks.type(key).pttl(key)
    answers = looks.execute() if keys else []
    kinds, lives = answers[::2], answers[1::2]
    counts = client.pipeline(transaction=False)
    for key, kind in zip(keys, kinds, strict=True):
        if kind == "hash":  # growing delays
            counts.hmget(key, "tries", "until")
        elif kind == "list":  # a moving window
            counts.llen(key)
        else:
            counts.get(key)
    rows = []
    for key, life_ms, found in zip(keys, lives, counts.execute() if keys else [], strict=True):
        count, until_ms = found if isinstance(found, list) else (found, None)
        wait = math.ceil(float(until_ms) / 1000 - time.time()) if until_ms else 0
        rows.append(
            {
                "limit": key,
                "count": int(count or 0),
                "wait_seconds": max(wait, 0),
                "seconds_left": max(life_ms // 1000, 0),
            }
        )
    return rows


def reset(
    client: redis.Redis, settings: Settings, *, ip: str | None = None, user: str | None = None
) -> list[str]:
    """Forget the counts and delays of one address and its network, or of one user on every device.

    Returns the names that were deleted.
    """
    assert ip or user, "name an address or a user"
    keys = list(find_keys(client, settings, ip=ip, user=user))
    if keys:
        client.delete(*keys)
    return keys


def _literal(text: str) -> str:
    """Text that SCAN's pattern takes as it is."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
