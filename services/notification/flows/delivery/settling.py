"""Writing down how attempts ended."""

import functools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from libs.database import is_away, utcnow
from libs.observe.logs import get_logger, set_correlation_id
from libs.service import parts_of
from services.notification.extensions import db
from services.notification.flows import lifecycle, suppressions
from services.notification.flows.delivery import claiming, ending
from services.notification.flows.delivery.claiming import Begun, Held
from services.notification.flows.delivery.health import FAILS
from services.notification.models import Attempt, Message
from services.notification.transport import Outcome

log = get_logger("notification.delivery")

Result = TypeVar("Result")
PAUSES_S = (0.2, 1.0, 3.0)
"""How long to wait for a database that went away in the middle of a delivery."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    message: Held
    attempt: int
    outcome: Outcome
    ended_at: datetime
    took_s: float

    @property
    def is_plain(self) -> bool:
        """Sent, as nearly all are, and nothing else is to be learnt from it."""
        return self.outcome.result == "sent" and self.message.suppressed is None

    def values(self) -> dict[str, Any]:
        """By the columns of its attempt, and when it ended."""
        return {
            "message_id": self.message.id,
            "number": self.attempt,
            "started_at": self.ended_at - timedelta(seconds=self.took_s),
            "duration_ms": round(self.took_s * 1000),
            "result": self.outcome.result,
            "answer": self.outcome.answer,
        }


def settle(ended: Sequence[Ended], *, following: Sequence[Held] = ()) -> list[Begun]:
    """Write down how attempts ended, and begin with the messages that follow. Returns what was begun."""
    for end in ended:
        if not end.is_plain:
            _settle_alone(end)
    sent = [end for end in ended if end.is_plain]
    begun = _patiently(_writing(sent, following)) if sent else claiming.begin(following)
    for end in ended:
        set_correlation_id(end.message.correlation_id)
        parts_of(current_app).metrics.emails_sent.labels(result=end.outcome.result).inc()
        record = log.info if end.outcome.result == "sent" else log.warning
        record(
            "mail_" + end.outcome.result,
            message_id=str(end.message.id),
            template=end.message.template,
            attempt=end.attempt,
            duration_ms=round(end.took_s * 1000),
        )
    return begun


def give_back(waiting: Collection[Held], *, begun: Collection[Begun] = ()) -> None:
    """What there was no time for waits on as before; what was begun, and nobody was spoken to, spent no try."""
    leases = {message.id: message for message in (*(message for message, _ in begun), *waiting)}
    if not leases:
        return
    are_begun = {message.id for message, _ in begun}
    with db.transaction() as session:
        mine = session.scalars(
            sa.select(Message)
            .where(Message.id.in_(leases), Message.state == "sending")
            .order_by(Message.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        for message in mine:
            if message.due_at != leases[message.id].lease_ends:
                continue  # somebody else has it by now
            if message.id in are_begun:
                lifecycle.take_back_attempt(message)
            lifecycle.give_back(message, due_at=leases[message.id].was_due_at)


def _patiently(write: Callable[[], Result]) -> Result:
    for pause_s in PAUSES_S:
        try:
            return write()
        except Exception as error:
            if not isinstance(error, sa.exc.OperationalError) and not is_away(error):
                raise
            # The server may have the mail: forgetting that would send it twice.
            time.sleep(pause_s)
    return write()


def _settle_alone(end: Ended) -> None:
    """What cannot be written down of one mail must not cost the others their ends: its lease runs out."""
    try:
        _patiently(functools.partial(_settle, end))
    except Exception as error:
        log.error("mail_end_not_written", message_id=str(end.message.id), exc_info=error)


def _writing(sent: Sequence[Ended], following: Sequence[Held]) -> Callable[[], list[Begun]]:
    """What writes down that these are sent and begins the next, once: it may be called again after it has failed."""
    is_repeated = False

    def write() -> list[Begun]:
        nonlocal is_repeated
        if not is_repeated:
            is_repeated = True
            return _settle_sent(sent, following)
        # The statement may have begun them, and its answer was lost: they are due again instead of begun twice.
        _settle_sent(sent, ())
        give_back(following)
        return []

    return write


def _settle_sent(sent: Sequence[Ended], following: Sequence[Held]) -> list[Begun]:
    rows = [{**end.values(), "sent_at": end.ended_at} for end in sent]
    ended = {f"ended_{name}": [row[name] for row in rows] for name in rows[0]}
    begun = db.fetch_all(lifecycle.SENT_AND_BEGIN, {**ended, **claiming.beginning(following)})
    return claiming.numbered(begun, following)


def _settle(end: Ended) -> None:
    """Every other end: the message moves if the lease still holds."""
    held, outcome = end.message, end.outcome
    with db.transaction() as session:
        message = session.get(Message, held.id, with_for_update=True, populate_existing=True)
        if message is None:
            return
        keep_attempt(**end.values())
        if outcome.is_about_address:
            suppressions.suppress(email=held.recipient, reason="refused", detail=outcome.answer)
        holds = (message.state, message.last_attempt) == ("sending", end.attempt)
        if outcome.result == "sent":
            suppressions.lift_for_arrival(email=held.recipient, said=suppressions.TAKEN)
            if message.state != "sent":
                # A fact, even when it comes after the lease ran out.
                lifecycle.mark_sent(message, now=end.ended_at)
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


def keep_attempt(**values: object) -> None:
    """Write an attempt down, by its columns; one that was taken for lost may still say how it ended."""
    row = insert(Attempt).values(**values)
    ended = {name: row.excluded[name] for name in ("duration_ms", "result", "answer")}
    db.session.execute(
        row.on_conflict_do_update(index_elements=[Attempt.message_id, Attempt.number], set_=ended)
    )
