"""The life of a message: every state it can reach, every way there, and nothing else sets a state.

    queued ──► sending ──► sent
      ▲        ▲     │
      │        │     ├──► deferred      a passing answer: due again later, and then leased like a queued one
      │        └─────┼────────┘
      │              ├──► failed        refused for good, or too late
      │              └──► parked        no mail could be made of it, or a day of tries was in vain: staff are asked
      └── staff try again ── failed, parked, suppressed
    queued, deferred ──► suppressed     its address is written to no more

`sending` is leased: when the lease runs out its worker is taken for dead and the next one takes over.
"""

import random
from datetime import datetime, timedelta

from services.notification.models import Attempt, Message

MOVES = {
    "queued": {"sending", "sent", "failed", "parked", "suppressed"},
    "deferred": {"sending", "sent", "failed", "parked", "suppressed"},
    "sending": {"sending", "sent", "deferred", "failed", "parked", "suppressed"},
    # A worker that was taken for dead may still report that the server has the mail.
    "failed": {"queued", "sent"},
    "parked": {"queued", "sent"},
    "suppressed": {"queued"},
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
TOO_LATE, TOO_MANY_TRIES, REFUSED, UNWRITABLE = "too_late", "too_many_tries", "refused", "unwritable"
ENDS = {TOO_LATE: "failed", REFUSED: "failed", TOO_MANY_TRIES: "parked", UNWRITABLE: "parked"}
"""Why a message does not leave, and where it stands then."""


class IllegalMove(Exception):
    """A way that the picture above does not have: a bug in the caller."""


def lease(message: Message, *, now: datetime) -> Attempt:
    """Take the message for one attempt; its number is the proof of the lease."""
    _move(message, "sending")
    message.due_at = now + LEASE
    message.tries += 1
    message.last_attempt += 1
    return Attempt(message_id=message.id, number=message.last_attempt, started_at=now)


def mark_sent(message: Message, *, now: datetime) -> None:
    """The server has it. What opened doors is forgotten."""
    _move(message, "sent")
    message.sent_at, message.reason, message.sealed_context = now, None, None


def put_back(message: Message, *, now: datetime) -> None:
    """A passing failure: due again later, or parked when it was one too many."""
    if message.tries >= MOST_TRIES:
        end(message, TOO_MANY_TRIES)
        return
    _move(message, "deferred")
    message.due_at = now + wait_after(message.tries)


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
