"""Denials: what makes access tokens that are already out there dead before they expire.

Redis keeps `revoked:sub:{sub}` and `revoked:sid:{sid}` = epoch seconds for the longest life of an access token.
"""

import time
from collections.abc import Iterable
from typing import Any, cast

import redis

from libs.settings import Settings


def deny(
    client: redis.Redis, settings: Settings, *, subs: Iterable[str] = (), sids: Iterable[str] = ()
) -> None:
    """Refuse what was issued to these people or sessions until now. Raises redis.RedisError when Redis is away."""
    life = int(settings.ACCESS_TOKEN_LIFETIME.total_seconds()) + 60
    now = int(time.time())
    pipeline = client.pipeline(transaction=False)
    for key in (*(f"revoked:sub:{sub}" for sub in subs), *(f"revoked:sid:{sid}" for sid in sids)):
        pipeline.set(key, now, ex=life)
    pipeline.execute()


def keys_of(*, sub: str | None, sid: str | None, is_offline: bool = False) -> list[str]:
    """The names of the denials that could reach a token. A session's passes over `offline_access` grants."""
    keys = [f"revoked:sub:{sub}"] if sub else []
    if sid and not is_offline:
        keys.append(f"revoked:sid:{sid}")
    return keys


def reach(values: Iterable[str | None], *, issued_at: int) -> bool:
    """Whether one of these denials, as Redis holds them, refuses what was issued then."""
    return any(int(at) >= issued_at for at in values if at is not None)


def is_denied(client: redis.Redis, *, sub: str | None, sid: str | None, issued_at: int) -> bool:
    """Whether a token issued then is refused.

    Raises redis.RedisError when Redis is away; the caller then asks the grant's row.
    """
    keys = keys_of(sub=sub, sid=sid)
    return bool(keys) and reach(cast(list[Any], client.mget(keys)), issued_at=issued_at)
