"""What a request costs, in round trips to PostgreSQL and Redis and in hashes: promised, and counted here."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.account.conftest import Person, cookie_of, sign_in
from tests.pages import Browser
from tests.round_trips import RoundTrips, counted


def cost_of(action: Callable[[], object]) -> RoundTrips:
    with counted() as trips:
        action()
    return trips


def warm(app: Flask) -> None:
    """Open the connections that a process keeps open."""
    Browser(app).get("/login")
    Browser(app).fill("/login", email="nobody@people.test", password="nobody knows this one")


def press(browser: Browser, person: Person) -> Callable[[], object]:
    browser.get("/login")
    return lambda: browser.fill(email=person.email, password=person.password)


def test_signing_in_costs_one_hash_and_three_round_trips_to_postgresql(
    app: Flask, browser: Browser, make_person: Callable[..., Person], hashes: list[str]
) -> None:
    warm(app)
    sign_in(Browser(app), make_person())  # Redis keeps the script that gives a try back, too
    person = make_person()
    hashes.clear()
    cost = cost_of(press(browser, person))
    assert browser.status == 303
    assert hashes == ["verify"]
    assert cost.postgres <= 3, cost
    # The try counted, the session's copy, the try given back.
    assert cost.redis <= 3, cost


def test_so_does_signing_in_once_more_in_a_browser_that_holds_sessions(
    app: Flask, browser: Browser, make_person: Callable[..., Person]
) -> None:
    first, second = make_person(), make_person()
    for one in (first, second):
        sign_in(browser, one, "/login?another=yes")
    browser.get("/login?another=yes")
    cost = cost_of(lambda: browser.fill(email=first.email, password=first.password))
    assert browser.status == 303
    assert len(cookie_of(browser).split(".")) == 2
    assert cost.postgres <= 3, cost


def test_a_wrong_password_and_an_unknown_address_cost_the_same(
    app: Flask, person: Person, hashes: list[str]
) -> None:
    warm(app)
    costs = []
    for email in (person.email, "nobody-at-all@people.test"):
        browser = Browser(app)
        browser.get("/login")
        hashes.clear()
        cost = cost_of(lambda: browser.fill(email=email, password="not the password of anybody"))  # noqa: B023
        assert browser.status == 422
        costs.append((cost.postgres, cost.redis, len(hashes)))
    assert costs[0] == costs[1]
    assert costs[0][0] <= 3
    assert costs[0][2] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/account", "/account/sessions", "/account/activity", "/account/profile", "/account/email", "/account/data",
        "/account/erase",
    ],
)  # fmt: skip
def test_a_page_for_a_signed_in_person_costs_one_round_trip_to_redis_and_two_to_postgresql(
    app: Flask, browser: Browser, person: Person, path: str
) -> None:
    sign_in(browser, person)
    browser.get(path)
    cost = cost_of(lambda: browser.get(path))
    assert browser.status == 200
    assert cost.postgres <= 2, cost
    assert cost.redis <= 1, cost
