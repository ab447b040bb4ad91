"""Delivery: a worker takes messages that are due, hands each over with no transaction open, and writes down its end."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe import tracing
from libs.observe.logs import get_logger, set_correlation_id
from services.notification.extensions import tasks
from services.notification.flows.delivery import claiming, sending, settling
from services.notification.flows.delivery.claiming import Held
from services.notification.flows.delivery.health import mail_health
from services.notification.flows.delivery.settling import Ended
from services.notification.flows.delivery.sweeping import recover, sweep
from services.notification.transport import Outcome

__all__ = ["deliver", "deliver_due", "mail_health", "recover", "sweep"]

log = get_logger("notification.delivery")

BATCH = 20
"""Taken with one statement. What the time does not suffice for goes back."""
GO_ON_FOR_S = 2.0
"""How long one task takes up further messages."""
TOGETHER_S = 0.02
MOST_TOGETHER = 5
"""So many mails are written down together where the server takes them in so little time. A crash repeats no more."""
GOING_ON = threading.BoundedSemaphore(2)
"""So many threads of a process do: the others stay free for events, and more would only wait for one another."""


def deliver(*, message_id: uuid.UUID) -> str | None:
    """Try to deliver a message that is due. Returns the attempt's result, None when there was nothing to do.

    Side by side and repeated calls are harmless: one gets the lease. A crash after the server took the mail
    and before that is written down repeats it once, under the same Message-ID.
    """
    if sending.is_left_alone():
        return None
    results = _work_off(claiming.take(message_id), deadline=float("inf"))
    return results[0] if results else None


def deliver_due() -> int:
    """Deliver what is due, for GO_ON_FOR_S: a backlog needs no task for each message. Returns how many were tried.

    What is left then is for another task, at the end of the queue.
    """
    if not GOING_ON.acquire(blocking=False):
        return 0
    try:
        return _deliver_due(time.monotonic() + GO_ON_FOR_S)
    finally:
        GOING_ON.release()


def _deliver_due(deadline: float) -> int:
    tried = 0
    while not sending.is_left_alone():
        held = claiming.take_due(BATCH)
        if held is None:
            break
        tried += len(_work_off(held, deadline=deadline))
        if held and time.monotonic() >= deadline:
            # Most likely given back; and if it is done, its task goes on with the others all the same.
            tasks.send("deliver", str(held[-1].id))
            break
    return tried


def _work_off(held: Sequence[Held], *, deadline: float) -> list[str]:
    """One after the other until the deadline. Returns the results.

    The end of some and the beginning of the next are one statement: as many as take no longer than TOGETHER_S. So of
    all that a dead worker held those few alone had begun, and are `lost`.
    """
    results: list[str] = []
    waiting = deque(held)
    begun = deque(claiming.begin(_next(waiting, 1)))
    while begun or waiting:
        ended, is_left_alone = [], False
        began = now = time.monotonic()
        while begun and not is_left_alone and now - began < TOGETHER_S:
            try:
                ended.append(_end(*begun[0]))
                begun.popleft()
            except sending.LeftAlone:
                is_left_alone = True
            except sa.exc.OperationalError:
                settling.settle(ended)
                raise
            now = time.monotonic()
        results += [end.outcome.result for end in ended]
        if is_left_alone or now >= deadline:
            settling.settle(ended)
            settling.give_back(waiting, begun=begun)
            break
        fit = int(TOGETHER_S * len(ended) / (now - began)) if ended else 1
        following = [] if begun else _next(waiting, min(max(fit, 1), MOST_TOGETHER))
        begun.extend(settling.settle(ended, following=following))
    return results


def _next(waiting: deque[Held], most: int) -> list[Held]:
    """What was tried before goes alone: it may be what workers do not survive."""
    chosen: list[Held] = []
    while waiting and len(chosen) < most and not (chosen and (chosen[0].tries or waiting[0].tries)):
        chosen.append(waiting.popleft())
    return chosen


def _end(message: Held, attempt: int) -> Ended:
    """Try to deliver. Raises LeftAlone."""
    set_correlation_id(message.correlation_id)
    began = time.monotonic()
    number, named = message.correlation_id, {"message_id": str(message.id), "template": message.template}
    with tracing.sending("mail", number=number, **named):
        outcome = _try(message)
        tracing.note(result=outcome.result)
    return Ended(message, attempt, outcome, ended_at=utcnow(), took_s=time.monotonic() - began)


def _try(message: Held) -> Outcome:
    """Raises LeftAlone, and OperationalError with the database away: then nothing can be written down."""
    try:
        return sending.send(message)
    except sending.Unwritable as error:
        return Outcome("unwritable", str(error))
    except (sending.LeftAlone, sa.exc.OperationalError):
        raise  # the lease runs out by itself
    except Exception as error:
        # A message that trips a fault of ours waits like any other, and the rest goes on.
        log.error("delivery_broke", message_id=str(message.id), exc_info=error)
        return Outcome("deferred", f"A fault of ours: {type(error).__name__}.")
