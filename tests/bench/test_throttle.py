"""The admission of a try, against the bare round trip that it is made of."""

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from libs.service import parts_of
from services.account.flows.throttle import admit
from services.account.flows.visitor import Visitor

ROUNDS = 2000
MOST_PINGS = 12.0
"""An admission, with its keyed hash and its script of about ten commands, in bare round trips."""


@pytest.fixture
def app(account_app: Flask) -> Iterator[Flask]:
    with account_app.test_request_context():
        yield account_app


def median_of(action: Callable[[int], object]) -> float:
    times = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@pytest.mark.bench
def test_an_admission_costs_a_few_bare_round_trips(app: Flask) -> None:
    client = parts_of(app).redis

    def ask(number: int) -> None:
        visitor = Visitor(ip=f"10.{number // 250}.{number % 250}.1")
        admit("login", visitor=visitor, standing=None, typed=f"n{number}@people.test")

    ask(0)
    ping = median_of(lambda _: client.ping())
    admission = median_of(ask)
    print(f"ping {ping * 1e6:.0f} us, admission {admission * 1e6:.0f} us: {admission / ping:.1f} pings")
    assert admission < MOST_PINGS * ping
