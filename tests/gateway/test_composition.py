"""The gateway with the real services: every route has its row, every link its page, all behind one door."""

import json
import re
from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.exceptions import MethodNotAllowed, NotFound

from gateway import all_in_one
from gateway.front import STAFF_PAGES
from gateway.front_door import FrontDoor
from gateway.routes import HEALTH_PATHS, ROUTES, SERVICES, owner_of
from gateway.schedule import SCHEDULE
from libs.observe.worker_health import what_waits
from tests.conftest import sign_in_copy
from tests.pages import Browser

OWN_PORT_ALONE = (*HEALTH_PATHS, "/metrics")


@pytest.fixture(scope="module")
def apps(make_app: Callable[[str], Flask]) -> dict[str, Flask]:
    return {service: make_app(service) for service in SERVICES}


@pytest.fixture(scope="module")
def door(apps: dict[str, Flask]) -> FrontDoor:
    return all_in_one.create_front(apps)


@pytest.fixture
def browser(door: FrontDoor) -> Browser:
    return Browser(door)


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_of_a_service_is_in_its_rows(apps: dict[str, Flask], service: str):
    for rule in apps[service].url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        assert path in OWN_PORT_ALONE or owner_of(path, is_development=True) == service, (
            f"{rule} of {service} has no row in gateway/routes.py"
        )


def has_page(app: Flask, path: str) -> bool:
    try:
        app.url_map.bind("localhost").match(path)
    except NotFound:
        return False
    except MethodNotAllowed:
        return True
    return True


def test_every_link_of_landing_page_and_admin_leads_to_a_page(
    apps: dict[str, Flask], door: FrontDoor, browser: Browser
):
    front = door.owners["gateway"]
    assert isinstance(front, Flask)
    sign_in_copy(browser, front, roles=["admin"])
    for page in ("/", "/admin"):
        for path in re.findall(r'<a [^>]*href="(/[^"?#]*)', browser.get(page).text):
            owner = owner_of(path, is_development=True)
            assert owner, path
            assert path == "/demo" or has_page({**apps, "gateway": front}[owner], path), path


def test_every_count_that_admin_shows_is_counted_by_a_worker(apps: dict[str, Flask]):
    counted = {f"{service}.{word}" for service, app in apps.items() for word in what_waits(app)}
    assert {f"{service}.events" for service in SERVICES} <= counted
    for page in STAFF_PAGES:
        assert page.waiting in {*counted, "events", None}, "`events` is the sum of all services"


def test_services_answer_behind_the_door_and_their_own_health_does_not(browser: Browser):
    assert browser.get("/login").status_code == 200
    assert browser.get("/apply").status_code == 200
    assert browser.get("/.well-known/openid-configuration").get_json()["issuer"] == "http://localhost:8000"
    assert browser.get("/dev/mailbox").status_code == 200
    assert browser.get("/metrics").status_code == 404
    assert [row["name"] for row in browser.get("/health").get_json()["services"]] == list(SERVICES)
    assert browser.get("/healthz").get_json() == {"status": "alive"}


def test_each_answer_names_the_id_that_the_door_gave(browser: Browser):
    for path in (
        "/",
        "/login",
        "/apply",
        "/oauth2/authorize",
        "/admin/messages",
        "/nothing",
        "/demo",
        "//odd",
    ):
        answer = browser.get(path, headers={"X-Request-ID": "forged-from-outside"})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"]), path


@pytest.mark.parametrize(
    ("path", "owner", "status"),
    [
        ("/", "gateway", 200),
        ("/nothing", "gateway", 404),
        ("/login", "account", 200),
        ("/apply", "onboarding", 200),
        ("/.well-known/jwks.json", "oidc", 200),
        ("/oauth2/token", "oidc", 405),
        ("/admin/messages", "notification", 303),
    ],
)
def test_each_request_is_one_line_of_its_owner_and_each_header_comes_once(
    browser: Browser, log_text: Callable[[], str], path: str, owner: str, status: int
):
    for method in ("GET", "HEAD"):
        before = len(log_text())
        answer = browser.open(path, method=method)
        assert answer.status_code == status
        names = [name.lower() for name in answer.headers.keys() if name.lower() not in ("set-cookie", "vary")]  # noqa: SIM118
        assert len(names) == len(set(names))
        assert {"x-request-id", "content-security-policy", "content-length"} <= set(names)
        lines = [json.loads(line) for line in log_text()[before:].splitlines()]
        (line,) = [line for line in lines if line["event"] == "request"]
        assert (line["service"], line["method"], line["path"], line["status"]) == (
            owner,
            method,
            path,
            status,
        )
        assert line["correlation_id"] == answer.headers["X-Request-ID"]


def test_one_worker_serves_all_queues_and_knows_the_schedule(apps: dict[str, Flask]):
    worker = all_in_one.create_worker(apps)
    assert {queue.name for queue in worker.conf.task_queues} == set(SERVICES)
    assert {entry.task for entry in SCHEDULE} == set(worker.conf.beat_schedule)
    assert {entry.task for entry in SCHEDULE} <= set(worker.tasks)


def test_rows_for_development_have_no_page_elsewhere():
    assert {row.path for row in ROUTES if row.is_for_development} == {"/demo", "/dev/mailbox"}
