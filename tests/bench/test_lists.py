"""Lists stay flat: ten times as many people, login events, applications or messages, and a page takes no longer."""

import functools
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.audit import acting_as
from libs.database import utcnow
from tests.account.plans import seeded
from tests.notification import long_lists

SMALL, LARGE = (10_000, 100_000), (100_000, 1_000_000)
"""People and login events."""
FEW_APPLICATIONS, MANY_APPLICATIONS = 100_000, 1_000_000
MESSAGES = (100_000, 1_000_000)
TIMES = 30
MOST_MS = 50
"""Nobody waits for a list, however long it is."""
MOST_RATIO = 3.0
"""What caches and a deeper index may cost; a list that is read through would cost ten."""


def _lists() -> dict[str, Callable[[], Any]]:
    from services.account.flows.login_events import Wanted, count_failures, list_login_events
    from services.account.flows.search import search_users

    def events(**wanted: Any) -> Callable[[], Any]:
        return lambda: list_login_events(Wanted(**wanted), limit=50)

    def people(text: str = "", state: str | None = None) -> Callable[[], Any]:
        return lambda: search_users(text=text, state=state, limit=50)

    return {
        "all events": events(),
        "events of a person": events(email="p77.28dd2c@d77.seed.test"),
        "events of an address nobody has": events(email="nobody@seed.test"),
        "events from an address": events(network="198.18.7.9/32"),
        "events from a network": events(network="198.18.7.0/24"),
        "events of a rare reason": events(reason="provider_error"),
        "failed events of a month ago": events(success=False, until=utcnow() - timedelta(days=30)),
        "failures of the last hour": lambda: count_failures(since=utcnow() - timedelta(hours=1)),
        "all people": people(),
        "people by address": people("p77"),
        "people by a letter": people("p"),
        "people by name": people("kowalski ann"),
        "people of a mail domain": people("@d77.seed.test"),
        "staff": people(state="staff"),
        "disabled people": people(state="disabled"),
        "people without a password": people(state="no_password"),
    }


def _measure(app: Flask, size: tuple[int, int]) -> dict[str, float]:
    """The median of each list, in milliseconds."""
    people, events = size
    with seeded(app, users=people, events=events), app.app_context():
        return {name: _median_ms(read) for name, read in _lists().items()}


def _measure_messages(app: Flask, size: int) -> dict[str, float]:
    from services.notification.flows.search import Wanted, search_messages

    with long_lists.seeded(app, messages=size), app.app_context():
        return {
            name: _median_ms(functools.partial(search_messages, Wanted(**wanted)))
            for name, (wanted, _) in long_lists.SEARCHES.items()
        }


def _median_ms(read: Callable[[], Any]) -> float:
    read()
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        read()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _compare(small: dict[str, float], large: dict[str, float]) -> None:
    for name in small:
        print(f"{name:40} {small[name]:7.1f} ms {large[name]:7.1f} ms")
    for name, took in large.items():
        # What takes next to nothing is not compared: noise would be.
        assert took <= max(small[name] * MOST_RATIO, 5), name
        assert took <= MOST_MS, name


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_lists_take_as_long_with_ten_times_as_many_rows(account_app: Flask) -> None:
    _compare(_measure(account_app, SMALL), _measure(account_app, LARGE))


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_the_queue_takes_as_long_with_a_million_applications(onboarding_app: Flask) -> None:
    _compare(*(_measure_queue(onboarding_app, count) for count in (FEW_APPLICATIONS, MANY_APPLICATIONS)))


def _measure_queue(app: Flask, count: int) -> dict[str, float]:
    from tests.onboarding.plans import looks, seeded_applications

    with seeded_applications(app, count=count), app.app_context(), acting_as("user:me"):
        return {name: _median_ms(look) for name, look in looks().items()}


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_lists_of_messages_take_as_long_with_ten_times_as_many(notification_app: Flask) -> None:
    _compare(*(_measure_messages(notification_app, size) for size in MESSAGES))
