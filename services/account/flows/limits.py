"""Limits in staff's hands: looked at, forgotten, and tightened for a while. Everything but looking is audited."""

from datetime import datetime, timedelta
from typing import Any

from flask import current_app

from libs.guard import ratelimit
from libs.service import parts_of
from services.account.extensions import audit, db


def list_limits(*, ip: str | None = None, user: str | None = None) -> list[dict[str, Any]]:
    """What counts now, of everybody or of one address or person. Raises redis.RedisError, as all of these do."""
    parts = parts_of(current_app)
    keys = sorted(ratelimit.find_keys(parts.redis, parts.settings, ip=ip, user=user))
    return ratelimit.describe(parts.redis, keys)


def reset_limits(*, ip: str | None = None, user: str | None = None) -> list[str]:
    """Forget the counts and delays of an address and its network, or of a person on every device.

    Returns the names of what was forgotten.
    """
    parts = parts_of(current_app)
    with db.transaction():
        keys = ratelimit.reset(parts.redis, parts.settings, ip=ip, user=user)
        target = f"ip:{ip}" if ip else f"email:{user}"
        audit.record("ratelimits.reset", target=target, after={"count": len(keys)})
    return keys


def enhance_limits(*, life: timedelta) -> datetime:
    """Tighten limits in all services and ask for a second step, until the moment that is returned."""
    enhanced = parts_of(current_app).enhanced
    with db.transaction():
        before = enhanced.ends_at()
        ends_at = enhanced.begin(life)
        audit.record(
            "ratelimits.enhanced", target="ratelimits:all", before={"until": before}, after={"until": ends_at}
        )
    return ends_at


def relax_limits() -> bool:
    """Back to the usual limits before the time. False when they held already."""
    with db.transaction():
        was_on = parts_of(current_app).enhanced.end()
        if was_on:
            audit.record("ratelimits.relaxed", target="ratelimits:all")
    return was_on
