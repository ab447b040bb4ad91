"""Origins: the sites from which browsers may read our answers, those of the clients' redirect URIs."""

import time
from datetime import timedelta
from urllib.parse import urlsplit

import sqlalchemy as sa

from services.oidc.extensions import db
from services.oidc.models import Client

CACHE_LIFETIME = timedelta(seconds=1)
"""A client that came, changed or went is seen by every process within this time."""
_cache: tuple[float, frozenset[str]] = (float("-inf"), frozenset())


def is_known_origin(origin: str) -> bool:
    """Whether an enabled client returns people to this site; `origin` as browsers write it (RFC 6454 §6.2)."""
    global _cache
    asked_at = time.monotonic()
    if asked_at - _cache[0] >= CACHE_LIFETIME.total_seconds():
        # Asked for only when a browser names an origin, which servers never do.
        rows = db.fetch_all(sa.select(sa.func.unnest(Client.redirect_uris)).where(Client.is_enabled))
        _cache = (asked_at, frozenset(filter(None, (origin_of(uri) for (uri,) in rows))))
    return origin in _cache[1]


def origin_of(uri: str) -> str | None:
    """The origin of a web address; None of anything else."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.lower()}" if parts.scheme in ("https", "http") else None
