"""The life of a message: every state it can reach, every way there, and nothing else sets a state.

    queued ──► sending ──► sent
      ▲        ▲     │
      │        │     ├──► deferred      a passing answer, a cap, a worker that died: due again later
      │        └─────┼────────┘
      │              ├──► failed        refused for good, or too late
      │              ├──► parked        no mail could be made of it, a day of tries was in vain, or its workers die
      │              └──► suppressed    its address is written to no more
      └── staff try again ── failed, parked, suppressed

    queued, sending, deferred ──a restore of the database──► held ──staff release it──► queued

`sending` is leased: until `due_at` a worker holds it, and that moment is the proof. Workers take several at once; an
attempt counts (`tries`, `last_attempt`) from the moment when its conversation may begin. What was taken and not begun
goes back as it came. A lease that ran out is the sweep's: the attempt is `lost`, and the message is due again.
"""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from libs.database import Timestamp
from libs.prepared import Prepared
from services.notification.models import Attempt, Message

MOVES = {
    "queued": {"sending", "sent", "held"},
    "deferred": {"sending", "sent", "held"},
    "sending": {"sent", "queued", "deferred", "failed", "parked", "suppressed", "held"},
    # Since a restore: it may have left before.
    "held": {"queued"},
    # A worker that was taken for dead may still report that the server has the mail.
    "failed": {"queued", "sent"},
    "parked": {"queued", "sent"},
    "suppressed": {"queued", "sent"},
    "sent": set(),
}
STANDS = ("failed", "parked", "suppressed")
"""Where nothing more happens by itself."""
LEASE = timedelta(minutes=2)
"""Longer than any conversation with a server may last."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
MOST_TRIES = 100
"""With the waits between them: about a day."""
MOST_LOST = 5
"""So many workers in a row that did not survive a message are no accident."""
TOO_LATE, TOO_MANY_TRIES, REFUSED, UNWRITABLE = "too_late", "too_many_tries", "refused", "unwritable"
SUPPRESSED, LOST = "suppressed", "lost"
ENDS = {
    TOO_LATE: "failed",
    REFUSED: "failed",
    TOO_MANY_TRIES: "parked",
    UNWRITABLE: "parked",
    LOST: "parked",
    SUPPRESSED: "suppressed",
}
"""Why a message does not leave, and where it stands then."""
ATTEMPT = ("message_id", "number", "started_at", "duration_ms", "result", "answer")
"""What is written down of an attempt, by its columns."""
CAPPED = "capped"
"""Why a message waits that nobody tried: its address had enough mail for now."""


class IllegalMove(Exception):
    """A way that the picture above does not have: a bug in the caller."""


# -- one message, under its row's lock -----------------------------------------------------------------------------


def put_back(message: Message, *, now: datetime) -> None:
    """A passing failure: due again later."""
    _move(message, "deferred")
    message.due_at = now + wait_after(message.tries)


def recover(message: Message, *, lost: int, now: datetime) -> None:
    """Its worker died, so many in a row: due at once after the first, later ones apart from their fellow victims."""
    _move(message, "deferred")
    message.due_at = now + (wait_after(lost) if lost > 1 else timedelta())


def give_back(message: Message, *, due_at: datetime, reason: str | None = None) -> None:
    """Taken, and not begun: it waits on as before."""
    _move(message, "deferred" if message.last_attempt else "queued")
    message.due_at, message.reason = due_at, reason


def take_back_attempt(message: Message) -> None:
    """Begun, but nobody was spoken to: the try is not spent, and its number is free."""
    message.tries -= 1
    message.last_attempt -= 1


def mark_sent(message: Message, *, now: datetime) -> None:
    """The server has it. What opened doors is forgotten."""
    _move(message, "sent")
    message.sent_at, message.reason, message.sealed_context = now, None, None


def end(message: Message, reason: str) -> None:
    """Nothing more happens by itself. A mail whose link is dead loses its content too."""
    _move(message, ENDS[reason])
    message.reason = reason
    if reason == TOO_LATE:
        message.sealed_context = None


def queue_again(message: Message, *, now: datetime) -> None:
    """Staff want another round of tries."""
    _move(message, "queued")
    message.due_at, message.tries, message.reason = now, 0, None


def is_too_late(message: Message, *, now: datetime) -> bool:
    return message.expires_at is not None and message.expires_at <= now


def wait_after(tries: int) -> timedelta:
    """How long to wait after so many tries: doubling, with jitter so that a crowd spreads out."""
    wait = min(FIRST_WAIT * 2 ** min(tries - 1, 20), LONGEST_WAIT)
    return wait * random.uniform(0.8, 1.2)  # noqa: S311  not a secret


def _move(message: Message, state: str) -> None:
    if state not in MOVES[message.state]:
        raise IllegalMove(f"{message.state} to {state}")
    message.state = state


# -- the same moves as statements: thousands of messages take them in a minute ---------------------------------------


def _may_become(state: str) -> sa.ColumnElement[bool]:
    return sa.or_(*(Message.state == start for start, ends in MOVES.items() if state in ends))


def taking(which: Iterable[sa.ColumnElement[bool]]) -> sa.CTE:
    """Lease up to `most` due messages until `lease_ends`, the longest due first, past what other workers hold."""
    chosen = (
        sa.select(Message.id, Message.due_at)
        .where(_may_become("sending"), Message.due_at <= sa.bindparam("now"), *which)
        .order_by(Message.due_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    return (
        sa.update(Message)
        .where(Message.id == chosen.c.id)
        .values(state="sending", due_at=sa.bindparam("lease_ends", type_=Timestamp))
        .returning(*Message.__table__.c, chosen.c.due_at.label("was_due_at"))
        .cte("taken")
    )


def _beginning() -> sa.Update:
    """Messages of one batch: their lease is the same."""
    return (
        sa.update(Message)
        .where(
            Message.id == sa.func.any(_array("begun_ids", sa.Uuid())),
            Message.state == "sending",
            Message.due_at == sa.bindparam("begun_lease", type_=Timestamp),
        )
        .values(tries=Message.tries + 1, last_attempt=Message.last_attempt + 1, reason=None)
        .returning(Message.id, Message.last_attempt)
    )


def _sending() -> sa.Select[Any]:
    """Messages are sent and their attempts are written down; the next ones of the same worker begin."""
    kinds = {name: Attempt.__table__.c[name].type for name in ATTEMPT} | {"sent_at": Timestamp}
    arrays = sa.func.unnest(*(_array(f"ended_{name}", kind) for name, kind in kinds.items()))
    columns = (sa.column(name, kind) for name, kind in kinds.items())
    ended = sa.select(arrays.table_valued(*columns, name="row").render_derived()).cte("ended")
    moved = (
        sa.update(Message)
        # From wherever it is, however late: that the server has it is a fact.
        .where(Message.id == ended.c.message_id, Message.state != "sent")
        .values(state="sent", sent_at=ended.c.sent_at, reason=None, sealed_context=None)
        .returning(Message.id)
        .cte("moved")
    )
    written = postgresql_insert(Attempt).from_select(ATTEMPT, sa.select(*(ended.c[name] for name in ATTEMPT)))
    written = written.on_conflict_do_update(
        index_elements=[Attempt.message_id, Attempt.number],
        set_={name: written.excluded[name] for name in ("duration_ms", "result", "answer")},
    )
    begun = _beginning().cte("begun")
    return sa.select(begun.c.id, begun.c.last_attempt).add_cte(moved, written.cte("written"))


def _array(name: str, kind: Any) -> sa.ColumnElement[Any]:
    """A parameter whose type the server need not guess."""
    return sa.cast(sa.bindparam(name, type_=sa.ARRAY(kind)), sa.ARRAY(kind))


BEGIN = Prepared(_beginning())
SENT_AND_BEGIN = Prepared(_sending(), on_server=True)
"""Answer id and number of each attempt that begins: of no message that somebody else has by now."""
