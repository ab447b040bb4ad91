"""When each session was last used: noted in Redis by whoever reads one, folded into the rows by a task."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import redis
import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.service import parts_of
from services.account.extensions import db
from services.account.models import SignInSession

ROWS_PER_BATCH = 500


def fold_seen(*, seconds: float = 30.0) -> int:
    """Fold the uses that readers noted as `seen:{sid}` into the rows. Returns how many. Raises redis.RedisError."""
    client: Any = parts_of(current_app).redis
    deadline = time.monotonic() + seconds
    folded, cursor = 0, 0
    while True:
        cursor, keys = client.scan(cursor, match="seen:*", count=ROWS_PER_BATCH)
        seen = seen_of([key.removeprefix("seen:") for key in keys])
        if seen:
            with db.transaction() as session:
                note_use(session, seen)
            folded += len(seen)
        if keys:
            # A use noted meanwhile is lost to the second only; the next one is noted again.
            client.delete(*keys)
        if cursor == 0 or time.monotonic() > deadline:
            return folded


def seen_of(sids: Sequence[str]) -> list[tuple[str, datetime]]:
    """When Redis last saw these sessions used; nothing when it does not answer."""
    if not sids:
        return []
    try:
        client: Any = parts_of(current_app).redis
        times = client.mget([f"seen:{sid}" for sid in sids])
    except redis.RedisError:
        return []
    return [
        (sid, datetime.fromtimestamp(int(at), utcnow().tzinfo))
        for sid, at in zip(sids, times, strict=True)
        if at and at.isdigit() and len(sid) == 36
    ]


def note_use(session: DatabaseSession, seen: Sequence[tuple[str, datetime]]) -> None:
    uses = sa.values(
        sa.column("id", sa.Uuid(as_uuid=False)), sa.column("at", sa.DateTime(timezone=True)), name="uses"
    ).data(list(seen))
    # A row that somebody is just changing is passed over: whoever ends several sessions locks them in another order.
    free = (
        sa.select(SignInSession.id)
        .where(SignInSession.id.in_([sid for sid, _ in seen]))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("free")
    )
    session.execute(
        sa.update(SignInSession)
        .where(
            SignInSession.id == uses.c.id,
            SignInSession.id == free.c.id,
            SignInSession.last_seen_at < uses.c.at,
        )
        .values(last_seen_at=uses.c.at)
        .execution_options(synchronize_session=False)
    )
