"""What the clock tells a stranger: known and unknown addresses take the same time, measured side by side in one run."""

import statistics
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from libs.service import parts_of
from tests.pages import Browser

ROUNDS = 150
FARTHEST = 1.10
"""How far the medians may lie apart; the noise of a shared machine is most of it."""


@pytest.fixture
def app(account_app: Flask, usual_hashing: None) -> Iterator[Flask]:
    limiter = parts_of(account_app).limiter.limiter
    limiter.enabled = False
    yield account_app
    limiter.enabled = True


@pytest.fixture
def known(app: Flask) -> str:
    from services.account.flows.users import create_user

    email = f"known-{uuid.uuid4().hex[:10]}@people.test"
    with app.app_context():
        create_user(email=email, name="Ann Lee", password="green kettle on a windowsill")
    return email


def press_sign_in(browser: Browser, email: str) -> None:
    browser.get("/login")
    browser.fill(email=email, password="a wrong password, wholly")


def press_mail_me(browser: Browser, email: str) -> None:
    browser.get("/password/forgot")
    browser.fill(email=email)


@pytest.mark.bench
@pytest.mark.parametrize("press", [press_sign_in, press_mail_me])
def test_known_and_unknown_addresses_take_the_same_time(
    app: Flask, known: str, press: Callable[[Browser, str], None]
) -> None:
    browser = Browser(app)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(ROUNDS + 10):
        # In turns, so that whatever else the machine does falls on both alike.
        for kind in ("known", "unknown") if number % 2 else ("unknown", "known"):
            email = known if kind == "known" else f"other-{uuid.uuid4().hex[:10]}@people.test"
            began = time.perf_counter()
            press(browser, email)
            if number >= 10:
                took[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(times) for kind, times in took.items()}
    ratio = medians["known"] / medians["unknown"]
    print(f"{press.__name__}: known/unknown = {ratio:.3f} at {medians['known'] * 1000:.1f} ms")
    assert 1 / FARTHEST < ratio < FARTHEST
