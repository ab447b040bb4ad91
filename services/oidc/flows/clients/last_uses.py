"""When each client secret was used last, to the minute: noted in the process, written from time to time.

No request waits for it. A process that is killed forgets the minute that it had not written yet.
"""

import threading
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import Flask, current_app

from libs.database import is_away, utcnow
from libs.observe.logs import get_logger
from services.oidc.extensions import db
from services.oidc.models import ClientSecret

log = get_logger("OIDC.clients")

WRITE_INTERVAL = timedelta(seconds=60)

_lock = threading.Lock()
Secret = tuple[str, str]
"""A client's id, and the digest of one of its secrets."""
_noted: dict[Secret, datetime] = {}
_written: dict[Secret, datetime] = {}
"""The last minute of each secret that is in its row already."""
_timer: threading.Timer | None = None


def note(client_id: str, digest: str) -> None:
    """The secret of this digest was used now."""
    global _timer
    secret = (client_id, digest)
    minute = utcnow().replace(second=0, microsecond=0)
    if _noted.get(secret) == minute or _written.get(secret) == minute:
        return
    with _lock:
        _noted[secret] = minute
        if _timer is None:
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            _timer = threading.Timer(WRITE_INTERVAL.total_seconds(), _write_later, (app,))
            _timer.daemon = True
            _timer.start()


def write() -> int:
    """Write what was noted. Returns how many secrets that were."""
    global _timer
    with _lock:
        taken = dict(_noted)
        _noted.clear()
        _timer = None
    if not taken:
        return 0
    uses = sa.values(
        sa.column("client_id", sa.Text),
        sa.column("digest", sa.Text),
        sa.column("used_at", sa.DateTime(timezone=True)),
        name="uses",
    ).data([(*secret, used_at) for secret, used_at in sorted(taken.items())])
    with db.transaction() as session:
        session.execute(
            sa.update(ClientSecret)
            .where(
                ClientSecret.client_id == uses.c.client_id,
                ClientSecret.digest == uses.c.digest,
                sa.or_(ClientSecret.last_used_at.is_(None), ClientSecret.last_used_at < uses.c.used_at),
            )
            .values(last_used_at=uses.c.used_at)
            .execution_options(synchronize_session=False)
        )
    _written.clear()
    _written.update(taken)
    return len(taken)


def _write_later(app: Flask) -> None:
    with app.app_context():
        try:
            write()
        except sa.exc.SQLAlchemyError as error:
            # The next use is noted and written again: nothing but a minute is lost.
            log.warning("secret_uses_not_written", error=type(error).__name__, is_away=is_away(error))
