"""Writing down how attempts ended."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.notification.extensions import db
from services.notification.flows import lifecycle, suppressions
from services.notification.flows.delivery import claiming, ending
from services.notification.flows.delivery.claiming import Held
from services.notification.flows.delivery.health import FAILS
from services.notification.models import Attempt, Message
from services.notification.transport import Outcome

log = get_logger("notification.delivery")

Result = TypeVar("Result")
PAUSES_S = (0.2, 1.0, 3.0)
"""How long to wait for a database that went away in the middle of a delivery."""


def settle(
    held: Held, attempt: int, outcome: Outcome, *, duration_ms: int, following: Held | None
) -> int | None:
    """Write down how the attempt ended, and begin with the message that follows. Returns that attempt's number.

    Each end is written before the next mail is begun: a crash repeats one mail at most.
    """
    if outcome.result == "sent" and held.suppressed is None:
        begun = _patiently(lambda: _settle_sent(held, attempt, outcome, duration_ms, following))
    else:
        _patiently(lambda: _settle(held, attempt, outcome, duration_ms))
        begun = claiming.begin(following) if following else None
    parts_of(current_app).metrics.emails_sent.labels(result=outcome.result).inc()
    record = log.info if outcome.result == "sent" else log.warning
    record(
        "mail_" + outcome.result,
        message_id=str(held.id),
        template=held.template,
        attempt=attempt,
        duration_ms=duration_ms,
    )
    return begun


def give_back(held: Sequence[Held], *, is_first_begun: bool = False) -> None:
    """What there was no time for waits on as before; `is_first_begun` of the first, that it spent no try."""
    if not held:
        return
    leases = {message.id: message for message in held}
    with db.transaction() as session:
        mine = session.scalars(
            sa.select(Message)
            .where(Message.id.in_(leases), Message.state == "sending", Message.due_at == held[0].lease_ends)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        for message in mine:
            if is_first_begun and message.id == held[0].id:
                lifecycle.take_back_attempt(message)
            lifecycle.give_back(message, due_at=leases[message.id].was_due_at)


def _patiently(write: Callable[[], Result]) -> Result:
    for pause_s in PAUSES_S:
        try:
            return write()
        except sa.exc.OperationalError:
            # The server may have the mail: forgetting that would send it twice.
            time.sleep(pause_s)
    return write()


def _settle_sent(
    held: Held, attempt: int, outcome: Outcome, duration_ms: int, following: Held | None
) -> int | None:
    now = utcnow()
    row = db.fetch_one(
        lifecycle.SENT_AND_BEGIN,
        {
            "now": now,
            "sent_id": held.id,
            "attempt_number": attempt,
            "attempt_started_at": now - timedelta(milliseconds=duration_ms),
            "attempt_duration_ms": duration_ms,
            "attempt_result": outcome.result,
            "attempt_answer": outcome.answer,
            "begun_id": following.id if following else None,
            "begun_lease": following.lease_ends if following else None,
        },
    )
    return row.last_attempt if row else None


def _settle(held: Held, attempt: int, outcome: Outcome, duration_ms: int) -> None:
    """Every other end: the message moves if the lease still holds."""
    now = utcnow()
    with db.transaction() as session:
        message = session.get(Message, held.id, with_for_update=True, populate_existing=True)
        if message is None:
            return
        keep_attempt(
            held.id,
            attempt,
            started_at=now - timedelta(milliseconds=duration_ms),
            duration_ms=duration_ms,
            result=outcome.result,
            answer=outcome.answer,
        )
        if outcome.is_about_address:
            suppressions.suppress(email=held.recipient, reason="refused", detail=outcome.answer)
        holds = (message.state, message.last_attempt) == ("sending", attempt)
        if outcome.result == "sent":
            suppressions.lift_for_arrival(email=held.recipient, said=suppressions.TAKEN)
            if message.state != "sent":
                # A fact, even when it comes after the lease ran out.
                lifecycle.mark_sent(message, now=now)
        elif holds and outcome.result in FAILS:
            put_back(message)
        elif holds:
            ending.end(message, outcome.result)


def put_back(message: Message) -> None:
    """A passing failure: due again later, or parked when it was one too many."""
    if message.tries >= lifecycle.MOST_TRIES:
        ending.end(message, lifecycle.TOO_MANY_TRIES)
    else:
        lifecycle.put_back(message, now=utcnow())


def keep_attempt(message_id: object, number: int, **values: object) -> None:
    """Write an attempt down; one that was taken for lost may still say how it ended."""
    row = insert(Attempt).values(message_id=message_id, number=number, **values)
    ended = {name: row.excluded[name] for name in ("duration_ms", "result", "answer")}
    db.session.execute(
        row.on_conflict_do_update(index_elements=[Attempt.message_id, Attempt.number], set_=ended)
    )
