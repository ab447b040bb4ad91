"""Data keys take turns: re-encryption by itself and by command, and what is left of it for whoever watches."""

import json
import time
from collections.abc import Callable
from typing import Any

import redis
from flask import current_app

from libs.batches import ROWS_PER_BATCH, patient
from libs.guard.secrets.sealed import Resealed, count_rows, reencrypt, rows_by_key
from libs.messaging.worker import LONGEST_TASK_S
from libs.observe.logs import get_logger
from libs.observe.metrics import GaugeSamples
from libs.service import Parts, parts_of

log = get_logger("libs.sealed")

NOTE_LIFETIME_S = 86_400


def reencrypt_some() -> Resealed:
    """As far as a task's time reaches; a later one goes on where this one stops."""
    return run(seconds=LONGEST_TASK_S / 3)


def run(
    *,
    seconds: float | None = None,
    batch: int = ROWS_PER_BATCH,
    told: Callable[[str, int], None] = lambda column, rows: None,
) -> Resealed:
    """Re-encrypt this service's sealed columns; it leaves an entry in the audit, and a note of what is left."""
    parts = parts_of(current_app)
    done = 0

    def note(column: str, rows: int) -> None:
        nonlocal done
        done = rows
        told(column, rows)

    try:
        result = reencrypt(parts.db, parts.data_keys, parts.sealed, seconds=seconds, batch=batch, told=note)
    finally:
        if done:  # cut short or not
            with parts.db.transaction():
                after = {"rows": done, "key": parts.data_keys.first}
                parts.audit.record("secrets.reencrypted", target="secrets:DATA_ENCRYPTION_KEYS", after=after)
            log.info("rows_reencrypted", rows=done, kid=parts.data_keys.first)
    _leave_note(parts, result)
    return result


def rows_by_kid(parts: Parts) -> dict[str, int]:
    """How many rows of this service's database each data key seals."""
    with patient(parts.db) as session:
        return dict(rows_by_key(count_rows(session, parts.sealed)))


def _leave_note(parts: Parts, result: Resealed) -> None:
    note = {"at": int(time.time()), "left": result.left, "unopened": result.unopened.total()}
    try:
        parts.redis.set(_note_key(parts.name), json.dumps(note), ex=NOTE_LIFETIME_S)
    except redis.RedisError as error:
        log.warning("reencryption_not_noted", error=type(error).__name__)


def gauges(parts: Parts) -> GaugeSamples:
    """What the last run left, without a look at the tables; nothing where no column is sealed."""
    if not parts.sealed:
        return
    client: Any = parts.redis
    text = client.get(_note_key(parts.name))
    if text:
        note, service = json.loads(text), {"service": parts.name}
        yield "id_sealed_rows_left", "Rows that an earlier data key seals still", service, note["left"]
        yield "id_sealed_rows_unopened", "Rows that no data key opens", service, note["unopened"]


def _note_key(service: str) -> str:
    return f"reencryption:{service}"
