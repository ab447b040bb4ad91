"""Health: what the last background probe saw; nobody who asks ever waits on a hung server for long."""

import contextlib
import os
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify

PROBE_INTERVAL_S = 1.0
PROBE_TIMEOUT_S = 1.0
RESULT_LIFETIME_S = 3.0
PROBE_WHILE_ASKED_S = 60.0
EVENTS_MAY_WAIT_S = 300
"""An event that nobody has confirmed for so long is late."""
ORDER = ("healthy", "degraded", "unhealthy")
STARTED = time.monotonic()


@dataclass(frozen=True)
class Component:
    """One row of /health. `status` says what its state means for us: `unhealthy` = cannot sign people in."""

    name: str
    status: str = "healthy"
    latency_ms: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "status": self.status}
        if self.latency_ms is not None:
            row["latency_ms"] = round(self.latency_ms, 1)
        if self.details:
            row["details"] = self.details
        return row


Check = Callable[[], Component]


def worst(statuses: list[str]) -> str:
    return max(statuses, key=ORDER.index, default="healthy")


@cache
def version() -> str:
    """The release in pyproject.toml, plus the commit where it is known."""
    root = Path(__file__).resolve().parents[2]
    release = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    commit = os.environ.get("ID_COMMIT", "")
    if not commit and (root / ".git").exists():
        try:
            commit = subprocess.run(
                ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
                capture_output=True,
                text=True,
                timeout=2,
            ).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            commit = ""
    return f"{release}+{commit}" if commit else release


class Probe:
    """Runs the checks side by side once a second while somebody asks; answers from the last result.

    `on_failure` gives the status of a check that failed or did not answer in time, by name; `degraded` else.
    """

    def __init__(self, checks: Mapping[str, Check], on_failure: Mapping[str, str] | None = None):
        self.checks = dict(checks)
        self.on_failure = dict(on_failure or {})
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._fresh = threading.Condition()
        self._last_asked = 0.0
        self._result: tuple[float, list[Component]] = (float("-inf"), [])
        self._running: dict[str, Future[Component]] = {}
        self._thread: threading.Thread | None = None

    def components(self) -> list[Component]:
        """The rows of the last probe; a first caller waits for one, at most a little over a second."""
        if self._pid != os.getpid():
            self._reset()
        self._last_asked = time.monotonic()
        with self._lock:
            if self._thread is None:
                self._pool = ThreadPoolExecutor(max(len(self.checks), 1), thread_name_prefix="health")
                self._thread = threading.Thread(target=self._run, name="health-probe", daemon=True)
                self._thread.start()
        self._asked.set()
        with self._fresh:
            self._fresh.wait_for(self._is_fresh, timeout=PROBE_TIMEOUT_S + 0.2)
            if self._is_fresh():
                return self._result[1]
        return [self._failed(name) for name in self.checks]

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._result[0] <= RESULT_LIFETIME_S

    def _failed(self, name: str, reason: str = "no_answer") -> Component:
        return Component(name, self.on_failure.get(name, "degraded"), None, {"reason": reason})

    def _run(self) -> None:
        while True:
            self._asked.wait()
            # Cleared before the last look at the clock: who asks from here on is not slept through.
            self._asked.clear()
            while time.monotonic() - self._last_asked < PROBE_WHILE_ASKED_S:
                began = time.monotonic()
                rows = self._probe()
                with self._fresh:
                    self._result = (time.monotonic(), rows)
                    self._fresh.notify_all()
                time.sleep(max(PROBE_INTERVAL_S - (time.monotonic() - began), 0.05))

    def _probe(self) -> list[Component]:
        deadline = time.monotonic() + PROBE_TIMEOUT_S
        for name, check in self.checks.items():
            hung = self._running.get(name)
            if hung is None or hung.done():  # a check that hangs is not started a second time
                self._running.pop(name, None)
                # Where no thread can be started the check has failed, and the probe goes on; so it does to the
                # last moment of a process that ends.
                with contextlib.suppress(RuntimeError):
                    self._running[name] = self._pool.submit(check)
        rows = []
        for name in self.checks:
            try:
                rows.append(self._running[name].result(timeout=max(deadline - time.monotonic(), 0)))
            except TimeoutError:
                rows.append(self._failed(name))
            except Exception:
                rows.append(self._failed(name, "failed"))
        return rows


def health_report(components: list[Component]) -> dict[str, Any]:
    """The body of /health (docs/runbook.md)."""
    return {
        "status": worst([component.status for component in components]),
        "version": version(),
        "uptime_seconds": int(time.monotonic() - STARTED),
        "components": [component.to_json() for component in components],
    }


def readiness_report(components: list[Component]) -> dict[str, Any]:
    failing = [component.name for component in components if component.status == "unhealthy"]
    return {"status": "not ready" if failing else "ready", "failing": failing}


def timed(name: str, action: Callable[[], Any]) -> Component:
    """A check that succeeds when the action does, with the time it took."""
    began = time.perf_counter()
    action()
    return Component(name, latency_ms=(time.perf_counter() - began) * 1000)


def standard_checks(app: Flask) -> tuple[dict[str, Check], dict[str, str]]:
    """What every service looks at: its database, Redis, its events, its worker; and what a failure means."""
    from libs import schema
    from libs.service import parts_of

    parts = parts_of(app)
    checks: dict[str, Check] = {}

    def cache_check() -> Component:
        return timed("cache", parts.redis.ping)

    checks["cache"] = cache_check
    if parts.db is None:
        return checks, {}
    with app.app_context():
        engine = parts.db.engine
    known = schema.revisions(schema.migrations_of(app))

    def database() -> Component:
        found = None

        def ask() -> None:
            nonlocal found
            with engine.connect() as connection:
                found = schema.found_revision(connection)

        answered = timed("database", ask)
        if schema.is_behind(found, known):
            # Whoever started before its migrations ran is sent nobody, while the release before serves on.
            return replace(answered, status="unhealthy", details={"reason": "migrations"})
        return answered

    def events() -> Component:
        with app.app_context():
            parked = parts.inbox.count_parked()
            oldest = parts.outbox.oldest_waiting()
        age = int(time.time() - oldest.timestamp()) if oldest else 0
        details: dict[str, Any] = {"parked": parked, "oldest_seconds": age}
        if parked:
            details["reason"] = "parked"
        elif age > EVENTS_MAY_WAIT_S:
            details["reason"] = "late"
        return Component("events", "degraded" if "reason" in details else "healthy", None, details)

    def workers() -> Component:
        alive = parts.redis.get(f"worker:{parts.name}")
        return Component("workers") if alive else Component("workers", "degraded", None, {"reason": "silent"})

    checks.update(database=database, events=events, workers=workers)
    # Without its database account cannot sign anybody in; without Redis it still can.
    return checks, {"database": "unhealthy"}


def init_health(app: Flask, probe: Probe, metrics_text: Callable[[str | None], tuple[str, str]]) -> None:
    """The four addresses that a service answers on its own port; the front door keeps them closed."""
    from libs.people.access import public

    @app.get("/healthz")
    @public
    def healthz() -> Response:
        """The process lives. Asks nothing and nobody."""
        return jsonify(status="alive")

    @app.get("/readyz")
    @public
    def readyz() -> tuple[Response, int]:
        report = readiness_report(probe.components())
        return jsonify(report), 503 if report["failing"] else 200

    @app.get("/health")
    @public
    def health() -> tuple[Response, int]:
        report = health_report(probe.components())
        return jsonify(report), 503 if report["status"] == "unhealthy" else 200

    @app.get("/metrics")
    @public
    def metrics() -> Response:
        from flask import request

        text, content_type = metrics_text(request.headers.get("Accept"))
        return Response(text, content_type=content_type)
