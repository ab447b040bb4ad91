"""The suite's health as one answer, with services that are well, slow, hanging or dead."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from werkzeug.serving import make_server

from gateway.health import SuiteHealth, merge, over_http
from gateway.routes import SERVICES
from gateway.servers import free_port

WELL = {
    "account": [
        {"name": "database", "status": "healthy", "latency_ms": 2.5},
        {"name": "cache", "status": "healthy"},
    ],
    "onboarding": [{"name": "database", "status": "healthy", "latency_ms": 9.0}],
    "oidc": [
        {"name": "database", "status": "healthy", "latency_ms": 1.0},
        {"name": "oidc_keys", "status": "healthy", "details": {"key_count": 2}},
    ],
    "notification": [{"name": "email", "status": "healthy"}],
}


def report_of(
    service: str, components: list[dict[str, Any]] | None = None, status: str = "healthy"
) -> dict[str, Any]:
    components = WELL[service] if components is None else components
    return {"status": status, "version": "1.0.0", "uptime_seconds": 1, "components": components}


@contextmanager
def service_answering(answer: Callable[[], dict[str, Any]]) -> Iterator[str]:
    """A service's port; its address."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        report = answer()
        status = "503 Service Unavailable" if report["status"] == "unhealthy" else "200 OK"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(report).encode()]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def service_hanging() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def suite() -> Iterator[Callable[..., SuiteHealth]]:
    """A suite of four answering services, some of them replaced: by components, a callable, `dead` or `hanging`."""
    with ExitStack() as stack:

        def make(**replaced: Any) -> SuiteHealth:
            addresses = {}
            for service in SERVICES:
                how = replaced.get(service)
                if how == "dead":
                    addresses[service] = f"127.0.0.1:{free_port()}"
                elif how == "hanging":
                    addresses[service] = stack.enter_context(service_hanging())
                else:
                    answer = how or (lambda name=service: report_of(name))
                    addresses[service] = stack.enter_context(service_answering(answer))
            return SuiteHealth(over_http(addresses))

        yield make


def components_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report["components"]}


def services_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report["services"]}


def test_a_healthy_suite_shows_the_runbooks_components_and_a_row_per_service(
    suite: Callable[..., SuiteHealth],
):
    health = suite()
    report = health.report()
    assert report["status"] == "healthy"
    assert report["uptime_seconds"] >= 0
    components = components_of(report)
    assert components["database"] == {"name": "database", "status": "healthy", "latency_ms": 9.0}
    assert components["oidc_keys"]["details"] == {"key_count": 2}
    assert set(components) == {"database", "cache", "oidc_keys", "email"}
    assert [row["name"] for row in report["services"]] == list(SERVICES)
    assert all(row["version"] == "1.0.0" and row["status"] == "healthy" for row in report["services"])
    assert health.readiness() == {"status": "ready", "failing": []}


@pytest.mark.parametrize("how", ["dead", "hanging"])
def test_without_a_service_on_the_sign_in_path_the_suite_is_unhealthy(
    suite: Callable[..., SuiteHealth], how: str
):
    health = suite(account=how)
    began = time.monotonic()
    report = health.report()
    assert time.monotonic() - began < 1.5
    assert report["status"] == "unhealthy"
    row = services_of(report)["account"]
    assert row["status"] == "unhealthy"
    assert row["details"]["reason"] in ("no_answer", "failed")
    assert "version" not in row
    assert services_of(report)["oidc"]["status"] == "healthy"
    assert health.readiness() == {"status": "not ready", "failing": ["account"]}


@pytest.mark.parametrize("how", ["dead", "hanging"])
def test_a_service_off_the_sign_in_path_only_degrades(suite: Callable[..., SuiteHealth], how: str):
    health = suite(notification=how)
    report = health.report()
    assert report["status"] == "degraded"
    assert services_of(report)["notification"]["status"] == "degraded"
    assert health.readiness()["status"] == "ready"


def test_a_database_away_off_the_sign_in_path_is_degraded_and_named(suite: Callable[..., SuiteHealth]):
    away = [{"name": "database", "status": "unhealthy", "details": {"reason": "no_answer"}}]
    health = suite(onboarding=lambda: report_of("onboarding", away, "unhealthy"))
    report = health.report()
    assert report["status"] == "degraded"
    assert components_of(report)["database"] == {
        "name": "database",
        "status": "degraded",
        "latency_ms": 2.5,
        "details": {"services": ["onboarding"]},
    }
    assert health.readiness()["status"] == "ready"


def test_a_service_that_says_it_cannot_sign_in_makes_the_suite_unhealthy(suite: Callable[..., SuiteHealth]):
    away = [{"name": "database", "status": "unhealthy"}]
    health = suite(oidc=lambda: report_of("oidc", away, "unhealthy"))
    assert health.report()["status"] == "unhealthy"
    assert health.readiness()["failing"] == ["oidc"]


def test_slow_services_are_asked_side_by_side(suite: Callable[..., SuiteHealth]):
    def slowly(service: str) -> Callable[[], dict[str, Any]]:
        def answer() -> dict[str, Any]:
            time.sleep(0.6)
            return report_of(service)

        return answer

    health = suite(**{service: slowly(service) for service in SERVICES})
    began = time.monotonic()
    report = health.report()
    assert time.monotonic() - began < 1.4
    assert report["status"] == "healthy"
    assert all(row["latency_ms"] >= 600 for row in report["services"])


def test_two_hundred_callers_at_once_ask_each_service_once(suite: Callable[..., SuiteHealth]):
    asked: list[str] = []

    def answer() -> dict[str, Any]:
        asked.append("oidc")
        return report_of("oidc")

    health = suite(oidc=answer)
    with ThreadPoolExecutor(200) as pool:
        reports = list(pool.map(lambda _: health.report()["status"], range(200)))
    assert set(reports) == {"healthy"}
    assert len(asked) <= 10, "once a second, however many ask"


def test_garbage_from_a_service_counts_as_no_answer(suite: Callable[..., SuiteHealth]):
    report = suite(notification=lambda: {"status": "healthy"}).report()
    assert services_of(report)["notification"] == {
        "name": "notification",
        "status": "degraded",
        "details": {"reason": "failed"},
    }


def test_a_service_that_comes_back_is_seen_without_a_restart(suite: Callable[..., SuiteHealth]):
    answers = [report_of("oidc", [], "unhealthy")]
    health = suite(oidc=lambda: answers[-1])
    assert health.readiness()["status"] == "not ready"
    answers.append(report_of("oidc"))
    deadline = time.monotonic() + 3
    while health.readiness()["failing"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert health.readiness()["status"] == "ready"


def test_nothing_of_the_inside_is_told(suite: Callable[..., SuiteHealth]):
    text = json.dumps(suite(oidc="dead", notification="hanging").report())
    for word in ("127.0.0.1", "Connection", "Error", "gunicorn", "werkzeug"):
        assert word not in text


def test_details_that_several_services_give_are_left_out_where_they_would_contradict():
    events = {"name": "events", "status": "healthy"}
    merged = merge(
        {
            "account": [{**events, "details": {"parked": 0}}],
            "oidc": [{**events, "status": "degraded", "details": {"parked": 3}}],
        }
    )
    assert merged == [{"name": "events", "status": "degraded", "details": {"services": ["oidc"]}}]
