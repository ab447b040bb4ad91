"""Rate limits of pages and APIs: Flask-Limiter on Redis, one key space for all services.

Every key contains `rl:{scope}:ip:{ip}:` or `rl:{scope}:user:{keyed hash}:`, so that a command finds them.
With Redis away limits count in the process, at a quarter of the allowance: never none, never no sign-in.
"""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import redis
from flask import Flask, Response, current_app
from flask_babel import gettext
from flask_limiter import Limiter, RequestLimit
from flask_limiter.errors import RateLimitExceeded

from libs.guard.keyring import derive
from libs.settings import Settings
from libs.web.client_address import client_address
from libs.web.problems import problem_response

KEY_PREFIX = "id-limits"
MAX_NAME_LENGTH = 1000
_ALLOWANCE = re.compile(r"\d+ per (\d+ )?(second|minute|hour|day)s?")


def hashed_user(settings: Settings, name: str) -> str:
    """A keyed hash of what identifies a person or client, so that Redis holds no address of anybody.

    Case and Unicode forms of one e-mail give one hash.
    """
    # Cut first: normalising a megabyte of combining marks takes minutes.
    folded = unicodedata.normalize("NFKC", name[:MAX_NAME_LENGTH]).strip().casefold()
    key = derive(settings.SECRET_KEY, "ratelimit")
    return hmac.new(key, folded.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


class RateLimiter:
    """The limiter of one service."""

    def __init__(self) -> None:
        self.limiter = Limiter(
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

        @app.errorhandler(RateLimitExceeded)
        def _exceeded(error: RateLimitExceeded) -> Response:
            return too_many(error)

    def limit(
        self,
        scope: str,
        allowance: str,
        *,
        by: Callable[[], str | None] | None = None,
        when: Callable[[], bool] | None = None,
    ) -> Callable[[Any], Any]:
        """Limit a view: `allowance` such as `10 per minute`, per address, or per user when `by` names one.

        Views that share a scope share its count; a blueprint may be limited as a whole. POST is what counts, since
        looking at a form is free; of programs (the issuer's endpoints, the APIs) every request does.
        requests of which it is true count.
        """
        assert _ALLOWANCE.fullmatch(allowance), f"an allowance reads like '10 per minute', not {allowance!r}"

        def key() -> str:
            from libs.service import parts_of

            name = by() if by else None
            if name:
                return f"rl:{scope}:user:{hashed_user(parts_of(current_app).settings, name)}:"
            return f"rl:{scope}:ip:{client_address()}:"

        return self.limiter.shared_limit(
            lambda: self._allowance(allowance),
            scope=scope,
            key_func=key,
            methods=None if scope == "api" or scope.startswith("oidc_") else ["POST"],
            exempt_when=(lambda: not when()) if when else None,
        )

    def _allowance(self, full: str) -> str:
        """The allowance that holds now: a quarter, at least one, while this process counts alone."""
        if not self.limiter._storage_dead:
            return full
        count, per, span = full.partition(" per ")
        return f"{max(int(count) // 4, 1)}{per}{span}"


def too_many(error: RateLimitExceeded) -> Response:
    """429 with Retry-After, counted by scope."""
    from libs.service import parts_of

    parts = parts_of(current_app)
    limit: RequestLimit | None = parts.limiter.limiter.current_limit
    scope = error.limit.scope or "other" if error.limit else "other"
    parts.metrics.rate_limit_triggered.labels(scope=scope).inc()
    import time

    wait = max(int(limit.reset_at - time.time()) + 1, 1) if limit else 60
    return problem_response(
        429,
        "too-many-requests",
        gettext("Too many tries in a short time"),
        gettext("Wait %(seconds)s seconds, then try again.", seconds=wait),
        retry_after=wait,
    )


def find_keys(
    client: redis.Redis, settings: Settings, *, ip: str | None = None, user: str | None = None
) -> Iterator[str]:
    """The names of the limits that hold now, of everybody or of one address or user, found by SCAN."""
    if ip:
        pattern = f"*rl:*:ip:{_literal(ip)}:*"
    elif user:
        pattern = f"*rl:*:user:{hashed_user(settings, user)}:*"
    else:
        pattern = "*rl:*:*:*"
    for key in client.scan_iter(match=pattern, count=1000):
        yield key.decode() if isinstance(key, bytes) else key


def reset(
    client: redis.Redis, settings: Settings, *, ip: str | None = None, user: str | None = None
) -> list[str]:
    """Forget the counts of one address or one user. Returns the names that were deleted."""
    assert ip or user, "name an address or a user"
    keys = list(find_keys(client, settings, ip=ip, user=user))
    if keys:
        client.delete(*keys)
    return keys


def _literal(text: str) -> str:
    """Text that SCAN's pattern takes as it is."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
