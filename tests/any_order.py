"""Events delivered as a road that repeats and overtakes delivers them: in any order, twice, ten times side by side."""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from libs.database import utcnow
from libs.messaging.events import Event
from libs.service import parts_of
from tests.conftest import envelope_of

SHUFFLES = 8
PRODUCERS = {"notification.mail_requested.v1": "onboarding"}
Life = tuple[Sequence[Event], Callable[[], Any]]
"""What happens to one person, in the order in which it happened; and what the service keeps of it, without ids."""


def end_alike(app: Flask, begin: Callable[[], Life]) -> Any:
    """Assert that every order of a life's events, each repeated, ends in the same state; returns that."""
    events, outcome = begin()
    for envelope in _envelopes(app, events):
        _receive(app, envelope)
    _try_again(app)
    expected = outcome()
    for seed in range(SHUFFLES):
        events, outcome = begin()
        envelopes = _envelopes(app, events) * 2
        random.Random(seed).shuffle(envelopes)
        for envelope in envelopes:
            _receive(app, envelope)
        _try_again(app)
        order = [envelope["name"] for envelope in envelopes]
        assert outcome() == expected, f"shuffle {seed}: {order}"
    events, outcome = begin()
    _side_by_side(app, _envelopes(app, events))
    _try_again(app)
    assert outcome() == expected, "ten times side by side"
    return expected


def _envelopes(app: Flask, events: Sequence[Event]) -> list[dict[str, Any]]:
    return [
        envelope_of(app, event, PRODUCERS.get(event.NAME, event.NAME.partition(".")[0])) for event in events
    ]


def _receive(app: Flask, envelope: dict[str, Any]) -> None:
    with app.app_context():
        parts_of(app).inbox.receive(envelope)


def _side_by_side(app: Flask, envelopes: list[dict[str, Any]]) -> None:
    start, failures = threading.Barrier(10), []

    def deliver(seed: int) -> None:
        mine = random.Random(seed).sample(envelopes, len(envelopes))
        start.wait()
        for envelope in mine:
            try:
                _receive(app, envelope)
            except Exception as error:  # its producer would send it again: the others do
                failures.append(error)

    threads = [threading.Thread(target=deliver, args=(seed,)) for seed in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _try_again(app: Flask) -> None:
    """What had come too early is tried again, as the sweep does when its time has come."""
    inbox, db = parts_of(app).inbox, parts_of(app).db
    with app.app_context():
        for _ in range(4):
            with db.transaction() as session:
                waiting = inbox.table.c.state == "received"
                session.execute(inbox.table.update().where(waiting).values(next_attempt_at=utcnow()))
            inbox.sweep()
        assert not inbox.count_parked()
