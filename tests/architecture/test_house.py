"""Promises about the whole house; a message here teaches the rule."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from libs.people.access import Access, declared_access
from tests.conftest import SERVICES

ROOT = Path(__file__).resolve().parents[2]

LIBS = {
    "audit", "batches", "commands.doctor", "commands.secrets", "database", "doctor.findings", "doctor.reading",
    "doctor.rows", "doctor.stores", "lists", "prepared", "restoring", "schema", "service", "settings",
    "guard.breakers", "guard.keyring", "guard.outbound", "guard.ratelimit", "guard.single_use",
    "guard.secrets.fingerprints", "guard.secrets.fresh", "guard.secrets.logins", "guard.secrets.peers",
    "guard.secrets.rings", "guard.secrets.rotation",
    "guard.secrets.sealed", "guard.secrets.status", "guard.secrets.strength",
    "messaging.broker", "messaging.desk", "messaging.events", "messaging.inbox", "messaging.outbox",
    "messaging.relay", "messaging.worker",
    "observe.health", "observe.logs", "observe.metrics", "observe.requests", "observe.tracing",
    "observe.worker_health",
    "people.access", "people.bearer.keys", "people.bearer.problems", "people.bearer.scopes", "people.bearer.tokens",
    "people.denials", "people.handover", "people.sessions",
    "web.api.blueprint", "web.api.document", "web.api.pages", "web.api.shapes", "web.api.states",
    "web.app", "web.client_address", "web.csrf", "web.headers", "web.idempotency", "web.languages", "web.pages",
    "web.problems",
    "web.redirects", "web.shown_once", "web.worker",
}  # fmt: skip
"""A module joins when a service needs it today, a second one will by an open issue, and one sentence says why."""

CSRF_FREE = {
    "oidc": {
        "clients of the issuer send it": {
            "/oauth2/authorize", "/oauth2/token", "/oauth2/userinfo", "/oauth2/introspect", "/oauth2/revoke",
            "/oauth2/logout", "/oauth2/par", "/oauth2/device_authorization",
            "/oauth2/register", "/oauth2/register/<client_id>",
        }
    },
    "onboarding": {
        "programs of applicants send it, and no cookie counts": {
            "/api/v1/applications", "/api/v1/applications/status/answer", "/api/v1/applications/status/withdraw",
        }
    },
    "notification": {"a webhook, signed": {"/api/v1/mail-feedback"}},
}  # fmt: skip

TOP_LEVEL = {
    "services", "libs", "gateway", "k8s", "tests", "docs", "docker-compose.yml", "Makefile", "README.md", "dev.py",
    "Dockerfile", "gunicorn.conf.py", "requirements-run.txt", "pyproject.toml", "CHANGELOG.md", "CONTRIBUTING.md",
    ".ci", ".gitignore", ".dockerignore", "babel.cfg",
}  # fmt: skip


@pytest.fixture(params=SERVICES)
def app(request: pytest.FixtureRequest) -> Flask:
    service: Flask = request.getfixturevalue("make_app")(request.param)
    return service


def modules_of(folder: Path) -> Iterator[Path]:
    yield from (file for file in sorted(folder.rglob("*.py")) if "versions" not in file.parts)


def test_libs_holds_what_is_on_the_list_and_nothing_else() -> None:
    found = {
        ".".join(file.relative_to(ROOT / "libs").with_suffix("").parts)
        for file in modules_of(ROOT / "libs")
        if file.name != "__init__.py"
    }
    assert found == LIBS, (
        "a module joins libs only with its name on this list and its purpose in one sentence"
    )


def test_every_module_opens_with_a_sentence() -> None:
    silent = []
    for folder in ("libs", "services", "gateway", "tests"):
        for file in modules_of(ROOT / folder):
            text = file.read_text()
            if (
                text.strip()
                and not ast.get_docstring(ast.parse(text))
                and file.name not in ("env.py", "worker.py")
            ):
                silent.append(str(file.relative_to(ROOT)))
    assert not silent, f"a module opens with one sentence that says what it is: {silent}"


def test_no_room_is_called_utils() -> None:
    names = {
        part
        for folder in ("libs", "services", "gateway")
        for file in modules_of(ROOT / folder)
        for part in file.relative_to(ROOT).with_suffix("").parts
    }
    assert not names & {"utils", "common", "helpers", "misc", "shared"}, "name the purpose instead"


def test_the_top_level_stays_as_it_is_drawn() -> None:
    import subprocess

    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert {name.split("/")[0] for name in tracked} <= TOP_LEVEL


def test_every_route_declares_who_may_call_it(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        access = declared_access(app, rule.endpoint)
        assert isinstance(access, Access), f"{rule} lacks @public, @signed_in, @staff, @protocol or @bearer"


def test_apis_take_access_tokens_and_nothing_else(app: Flask) -> None:
    """They are free of CSRF because no cookie authenticates there: a bearer, or who proves itself by a protocol."""
    for rule in app.url_map.iter_rules():
        access = declared_access(app, rule.endpoint)
        assert access is not None
        if rule.rule.startswith("/api/"):
            assert access.kind in ("bearer", "protocol"), f"{rule} must be declared @bearer or @protocol"
        else:
            assert access.kind != "bearer", f"{rule} is no API: access tokens open /api/* alone"


def test_every_scope_of_an_api_is_offered_by_the_issuer_and_opens_something(make_app) -> None:  # type: ignore[no-untyped-def]
    from libs.people.bearer.scopes import API_SCOPES
    from services.oidc.scopes import SCOPES

    used = {
        access.scope
        for service in SERVICES
        for rule in make_app(service).url_map.iter_rules()
        if (access := declared_access(make_app(service), rule.endpoint)) and access.kind == "bearer"
    }
    assert used == set(API_SCOPES) <= set(SCOPES)


def test_admin_pages_are_for_staff(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/admin"):
            access = declared_access(app, rule.endpoint)
            assert access is not None
            assert access.kind == "staff", f"{rule} must say which role it needs"


def test_what_is_free_of_csrf_is_on_the_list(app: Flask) -> None:
    name = app.extensions["updspace_id"].name
    listed = {path for paths in CSRF_FREE.get(name, {}).values() for path in paths}
    for rule in app.url_map.iter_rules():
        access = declared_access(app, rule.endpoint)
        if (
            access is not None
            and access.kind == "protocol"
            and (rule.methods or set()) & {"POST", "PUT", "DELETE"}
        ):
            assert access.why, f"{rule} says why no CSRF token is asked"
            assert rule.rule in listed, f"{rule} is free of CSRF and not on the list"


def test_a_service_answers_only_paths_that_the_route_table_gives_it(app: Flask) -> None:
    from gateway.routes import owner_of

    own = {"/healthz", "/readyz", "/health", "/metrics"}
    name = app.extensions["updspace_id"].name
    for rule in app.url_map.iter_rules():
        if rule.rule in own:
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        assert owner_of(path, is_development=True) == name, f"{rule} is not {name}'s in gateway/routes.py"


def test_every_task_is_named_after_its_queue(app: Flask) -> None:
    parts = app.extensions["updspace_id"]
    assert parts.tasks.functions
    assert all(name.split(".")[0] == parts.name for name in parts.tasks.functions)


def test_scheduled_tasks_exist_in_exactly_one_service(make_app) -> None:  # type: ignore[no-untyped-def]
    from gateway.schedule import SCHEDULE

    tasks = {
        name: service
        for service in SERVICES
        for name in make_app(service).extensions["updspace_id"].tasks.functions
    }
    for entry in SCHEDULE:
        assert tasks.get(entry.task) == entry.queue, f"{entry.task} is no task of queue {entry.queue}"
        assert entry.why, f"{entry.task} says why it runs"
        assert entry.expires_s > 0


QUEUED_BY_FLOWS = {
    "notification.deliver": "once for each mail, when it is asked for and when the sweep finds it due",
    "oidc.send_logouts": "once a sign-in ends that clients are told of, so that none waits for the sweep",
}
SENT_BY_OTHERS = {"receive_event", "confirm_events"}


def test_every_task_is_run_by_the_clock_an_event_or_a_flow(app: Flask) -> None:
    from gateway.schedule import SCHEDULE

    by_the_clock = {entry.task for entry in SCHEDULE}
    for task in app.extensions["updspace_id"].tasks.functions:
        if task.partition(".")[2] not in SENT_BY_OTHERS:
            assert (task in by_the_clock) != (task in QUEUED_BY_FLOWS), (
                f"{task} stands in gateway/schedule.py, or on the list of what flows queue, else nothing runs it"
            )


def test_a_worker_takes_every_queue(make_app) -> None:  # type: ignore[no-untyped-def]
    from libs.messaging.worker import create_worker

    celery = create_worker(*(make_app(service) for service in SERVICES))
    assert {queue.name for queue in celery.conf.task_queues} == set(SERVICES)
    assert celery.conf.broker_transport_options["visibility_timeout"] == 120


def test_every_event_has_a_handler_where_it_is_sent(make_app) -> None:  # type: ignore[no-untyped-def]
    from libs.messaging.events import EVENTS

    for event in EVENTS.values():
        for subscriber in event.SUBSCRIBERS:
            handlers = make_app(subscriber).extensions["updspace_id"].inbox._handlers
            assert event in handlers, f"{subscriber} subscribes to {event.NAME} and has no handler"


def test_doors_never_commit() -> None:
    for service in SERVICES:
        for door in ("routes", "cli.py", "cli", "consumers.py", "tasks.py"):
            place = ROOT / "services" / service / door
            for file in modules_of(place) if place.is_dir() else [place]:
                if file.exists():
                    assert ".commit()" not in file.read_text(), f"{file.relative_to(ROOT)}: only flows commit"


def test_flows_know_no_request() -> None:
    for service in SERVICES:
        folder = ROOT / "services" / service / "flows"
        for file in modules_of(folder):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module in ("flask", "click"):
                    names = {alias.name for alias in node.names}
                    assert not names & {"request", "session", "redirect", "render_template", "echo"}, (
                        f"{file.relative_to(ROOT)}: a flow takes plain values, not a request"
                    )
