"""Refusals: why requests of clients were refused, kept for a while for staff who are asked about one.

Clients hear the RFC's error code; the exact reason stands here, under the request's id, which every answer carries.
"""

import re
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from libs.database import utcnow, uuid7
from libs.observe.logs import correlation_id, get_logger, redact
from services.oidc.extensions import db
from services.oidc.models import Refusal

log = get_logger("OIDC.refusals")

KEPT_PER_SECOND = 20
"""What one process writes at most in the long run; what is beyond stands in the log alone."""
KEPT_AT_ONCE = 60
PAUSE = timedelta(seconds=5)
"""How long nothing is written after the database failed: refusals must not cost more than answers."""
LONGEST: Mapping[str, int] = {
    "request_id": 64,
    "client_id": 100,
    "endpoint": 100,
    "error": 100,
    "description": 500,
    "detail": 1000,
}
"""Characters; what is longer is cut."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
SHOWN = 50
_INSERT = sa.insert(Refusal.__table__)


class Allowance:
    """A bucket of permissions that fills by KEPT_PER_SECOND, up to KEPT_AT_ONCE."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = float(KEPT_AT_ONCE)
        self._counted_at = time.monotonic()
        self._closed_until = float("-inf")
        self._is_overdrawn = False

    def take(self) -> bool:
        """Whether one more may be written now."""
        now = time.monotonic()
        with self._lock:
            if now < self._closed_until:
                return False
            self._left = min(self._left + (now - self._counted_at) * KEPT_PER_SECOND, KEPT_AT_ONCE)
            self._counted_at = now
            is_granted = self._left >= 1
            if is_granted:
                self._left -= 1
            # Said once for each flood, not for each drop of it.
            is_news = not is_granted and not self._is_overdrawn
            self._is_overdrawn = not is_granted
        if is_news:
            log.warning("refusals_not_kept", reason="too_many")
        return is_granted

    def close(self, pause: timedelta) -> None:
        with self._lock:
            self._closed_until = time.monotonic() + pause.total_seconds()


allowance = Allowance()


def remember(
    *,
    endpoint: str,
    client_id: str | None = None,
    error: str,
    description: str | None = None,
    detail: str | None = None,
) -> None:
    """Keep why this request is refused: `error` and `description` as the client is told, `detail` as it is not.

    Never raises and never spoils what the caller does: within a transaction it is written after the commit, so that
    what is rolled back, which is a failure of ours and no refusal, leaves none. `client_id` is of a client that
    exists. A detail never holds a code, a token, a secret or a verifier; redaction is the net under that.
    """
    try:
        request_id = correlation_id()
        if request_id is None or not allowance.take():
            return
        texts = {
            "request_id": request_id,
            "client_id": client_id,
            "endpoint": endpoint,
            "error": error,
            "description": description,
            "detail": detail,
        }
        values = {name: _kept(text, LONGEST[name]) for name, text in texts.items()}
        session = db.session()
        if "callbacks" in session.info:
            db.after_commit(lambda: _write(values))
            return
        if session.in_transaction():
            # Reads that nobody ended hold a connection: given back, lest we wait for a second while holding a first.
            session.commit()
        _write(values)
    except Exception as failure:
        log.warning("refusal_not_kept", error=type(failure).__name__)


def _write(values: dict[str, Any]) -> None:
    """One statement on a connection of its own, in no transaction."""
    try:
        engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(_INSERT, {**values, "id": uuid7(), "created_at": utcnow()})
    except Exception as failure:
        allowance.close(PAUSE)
        log.warning("refusal_not_kept", error=type(failure).__name__)


def _kept(text: Any, longest: int) -> str | None:
    """A text as it is kept: redacted before it is cut, so that no half of a secret escapes; one printable line."""
    if text is None:
        return None
    readable = "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in redact(str(text))
    )
    return readable if len(readable) <= longest else readable[: longest - 1] + "…"


def explain(request_id: str) -> list[Refusal]:
    """What was refused under this request id, oldest first; nothing for what is no id of ours."""
    if not REQUEST_ID.match(request_id):
        return []
    return _found(Refusal.request_id == request_id, order=Refusal.id)


def recent(client_id: str, *, before: uuid.UUID | None = None, limit: int = SHOWN) -> list[Refusal]:
    """The newest refusals of a client first, older than the one of this id."""
    conditions = [Refusal.client_id == client_id]
    if before is not None:
        conditions.append(Refusal.id < before)
    return _found(*conditions, order=Refusal.id.desc(), limit=limit)


def _found(*conditions: sa.ColumnElement[bool], order: Any, limit: int = SHOWN) -> list[Refusal]:
    with db.single_statements() as session:
        return list(session.scalars(sa.select(Refusal).where(*conditions).order_by(order).limit(limit)))
