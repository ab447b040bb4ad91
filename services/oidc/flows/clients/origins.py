"""Origins: the sites from which browsers may read our answers, those of the clients' redirect URIs."""

import time
from datetime import timedelta
from urllib.parse import urlsplit

import sqlalchemy as sa

from libs.observe.logs import get_logger
from services.oidc.extensions import db
from services.oidc.models import Client

log = get_logger("OIDC.cors")

CACHE_LIFETIME = timedelta(seconds=1)
"""A client that came, changed or went is seen by every process within this time."""
_cache: tuple[float, frozenset[str]] = (float("-inf"), frozenset())


def is_known_origin(origin: str, *, may_ask: bool = True) -> bool:
    """Whether an enabled client returns people to this site; `origin` as browsers write it (RFC 6454 §6.2).

    While the database is away, or `may_ask` says not to wait for it, those known last serve on: who may read an answer
    must never spoil the answer.
    """
    global _cache
    asked_at = time.monotonic()
    if may_ask and asked_at - _cache[0] >= CACHE_LIFETIME.total_seconds():
        _cache = (asked_at, _read_origins())
    return origin in _cache[1]


def _read_origins() -> frozenset[str]:
    # Asked for only when a browser names an origin, which servers never do.
    try:
        rows = db.fetch_all(sa.select(sa.func.unnest(Client.redirect_uris)).where(Client.is_enabled))
    except sa.exc.SQLAlchemyError as error:
        log.warning("origins_not_read", error=type(error).__name__)
        return _cache[1]
    return frozenset(filter(None, (origin_of(uri) for (uri,) in rows)))


def origin_of(uri: str) -> str | None:
    """The origin of a web address, without the port that its scheme means anyway; None of anything else."""
    parts = urlsplit(uri)
    usual_port = {"https": ":443", "http": ":80"}.get(parts.scheme)
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual_port)}" if usual_port else None
