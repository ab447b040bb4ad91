"""Refresh tokens that were perhaps spent: the connection was cut before PostgreSQL had answered.

Their grace lasts until we have answered, so that an outage, however long, ends no honest family. Kept in Redis for all
processes, and in this one, in case that Redis is away as well.
"""

import time
from datetime import timedelta
from typing import Any

import redis
from flask import current_app

from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.protocol import limits

log = get_logger("OIDC.token")

OWED_LIFETIME = timedelta(days=1)
"""How long a client may take to ask again."""
ANSWERED_LIFETIME = timedelta(seconds=30)
"""Once we have answered, what holds for any lost answer holds for this one."""
MOST_REMEMBERED = 10_000


class Unsure:
    """Which tokens, by their digests, we owe an answer."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        """Of this process, by its monotonic clock."""

    def note(self, digest: str) -> None:
        """A statement that spends the token was sent, and its outcome is not known."""
        self._remember(digest, OWED_LIFETIME)
        self._ask("set", _key(digest), int(time.time()), ex=int(OWED_LIFETIME.total_seconds()))
        log.warning("refresh_outcome_unknown")

    def is_owed(self, digest: str) -> bool:
        """Whether the token's first use was perhaps never answered."""
        if self._until.get(digest, 0.0) > time.monotonic():
            return True
        life_s = self._ask("ttl", _key(digest)) or 0  # negative where there is no such key
        if life_s > 0:
            self._remember(digest, timedelta(seconds=life_s))
        return bool(life_s > 0)

    def is_answered(self, digest: str) -> None:
        """The successor is on its way. Costs nothing for a token of which this process knows of no doubt."""
        if self._until.get(digest, 0.0) > time.monotonic():
            self._remember(digest, ANSWERED_LIFETIME)
            self._ask("expire", _key(digest), int(ANSWERED_LIFETIME.total_seconds()))

    def _remember(self, digest: str, life: timedelta) -> None:
        if len(self._until) >= MOST_REMEMBERED:
            self._until.clear()
        self._until[digest] = time.monotonic() + life.total_seconds()

    def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        if limits.is_away():
            return None
        try:
            return getattr(parts_of(current_app).redis, command)(*arguments, **options)
        except redis.RedisError as error:
            limits.note_away(error)
            return None


def _key(digest: str) -> str:
    return f"refresh-unsure:{digest}"
