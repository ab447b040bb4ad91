"""Health through the front door while servers and services hang: answers stay prompt, say what is so, and recover."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import requests

from gateway.routes import SERVICES
from gateway.suite import Suite
from tests.pages import HTTPBrowser
from tests.running import wait_until
from tests.stopping import stopped_by_signal
from tests.suite.people import People

PROMPT_S = 1.0
"""Ten times the 100 ms that are promised."""
CALLERS = 200


def answers(browser: HTTPBrowser, path: str) -> int:
    """Its status; it comes promptly."""
    began = time.monotonic()
    status = int(browser.get(path).status_code)
    assert time.monotonic() - began < PROMPT_S, path
    return status


def ask_directly(port: int, path: str) -> int:
    began = time.monotonic()
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            status = answer.status
    except HTTPError as error:
        with error:
            status = error.code
    assert time.monotonic() - began < PROMPT_S, (port, path)
    return int(status)


def test_while_postgresql_hangs_health_answers_at_once_and_says_so(
    people: People, suite: Suite, whole_again: Callable[[], None]
) -> None:
    browser = people.browser()
    wait_until(lambda: browser.get("/readyz").status_code == 200)
    assert suite.data.postgres
    assert suite.data.postgres.process
    with stopped_by_signal(suite.data.postgres.process.pid):
        wait_until(lambda: browser.get("/health").status_code == 503, 20)
        for _ in range(3):
            assert [answers(browser, path) for path in ("/health", "/readyz", "/healthz")] == [503, 503, 200]
            for service in SERVICES:
                port = suite.ports.web(service)
                assert ask_directly(port, "/healthz") == 200, "liveness asks nobody"
                ask_directly(port, "/readyz"), ask_directly(port, "/health")
            assert ask_directly(suite.ports.worker("account"), "/healthz") == 200

        def who_misses_it() -> set[str]:
            rows = {row["name"]: row for row in browser.get("/health").json()["components"]}
            assert rows["database"]["status"] == "unhealthy"
            return set(rows["database"]["details"]["services"])

        # A service that was busy for a second is missed itself at that moment.
        wait_until(lambda: who_misses_it() == set(SERVICES), 20)
    wait_until(lambda: browser.get("/readyz").status_code == 200, 30)
    wait_until(lambda: browser.get("/health").json()["status"] == "healthy", 60)


def test_a_service_that_hangs_is_named_and_holds_up_nobody_who_asks(
    people: People, suite: Suite, whole_again: Callable[[], None]
) -> None:
    browser = people.browser()
    wait_until(lambda: browser.get("/health").json()["status"] == "healthy", 60)
    with stopped_by_signal(suite.pid("notification")):
        wait_until(lambda: browser.get("/health").json()["status"] == "degraded", 20)
        assert [answers(browser, path) for path in ("/health", "/readyz", "/healthz")] == [200, 200, 200]
        rows = {row["name"]: row for row in browser.get("/health").json()["services"]}
        assert rows["notification"] == {
            "name": "notification",
            "status": "degraded",
            "details": {"reason": "no_answer"},
        }
        assert answers(browser, "/login") == 200
        with requests.Session() as http:
            http.verify, http.trust_env = people.certificate, False
            with ThreadPoolExecutor(40) as pool:
                began = time.monotonic()
                statuses = list(
                    pool.map(lambda _: http.get(f"{people.origin}/health").status_code, range(CALLERS))
                )
            assert set(statuses) == {200}
            assert time.monotonic() - began < 10 * PROMPT_S, "none of them waits for whoever hangs"
    wait_until(lambda: browser.get("/health").json()["status"] == "healthy", 60)
