"""Metrics: each declared once, per app registry; the names are those that dashboards and alerts rely on."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

TASK_BUCKETS = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 30.0, 60.0)
TASK_OUTCOMES = ("success", "failure")
POOL_STATES = ("in_use", "idle")
POOL_INTERVAL_S = 2.0
LONGEST_SCRAPE_S = 4.0
"""Once so much time has gone no further source is asked: whoever scrapes gives up after ten seconds."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOGIN_REASONS = (
    "unknown_account",
    "bad_password",
    "bad_second_factor",
    "disabled",
    "not_activated",
    "throttled",
    "expired",
    "provider_error",
    "cancelled",
)
DECISION_OUTCOMES = ("approved", "approved_by_policy", "approved_by_invitation", "rejected", "taken_back")
WORLD = {
    "id_cleanup_last_success_seconds": "When a cleanup last succeeded, epoch seconds; 0 where nobody remembers",
    "id_worker_heartbeat_seconds": "When a worker of the service last lived, epoch seconds; 0: it is silent",
    "id_beat_last_run_seconds": "When beat last looked at its schedule, epoch seconds",
    "id_backup_last_success_seconds": "When the last good backup was made, epoch seconds; 0: never",
    "id_db_server_connections": "Connections to the PostgreSQL server of the service, everybody's",
    "id_db_server_connections_max": "How many it takes, without those kept for its administrators",
    "id_health_component_status": "What /health says of a component: 0 healthy, 1 degraded, 2 unhealthy",
    "id_health_service_status": "What /health says of a service: 0 healthy, 1 degraded, 2 unhealthy",
}
"""Gauges about the world that more than one module knows of, with their help."""
BREAKER_STATE = "id_breaker_state"
BREAKER_STATE_HELP = "Circuit breakers: 0 closed, 1 half-open, 2 open"
GaugeSamples = Iterable[tuple[str, str, dict[str, str], float]]
"""Name, help, labels, value."""
Source = Callable[[], GaugeSamples]
"""Reads some gauges of the world from where they are true."""


def world_sample(name: str, value: float, **labels: str) -> tuple[str, str, dict[str, str], float]:
    """A value of one of the gauges in WORLD."""
    return name, WORLD[name], labels, value


class Metrics:
    """The counters and gauges of one app, all at 0 from the start where their labels are known."""

    def __init__(self, service: str):
        self.service = service
        self.registry = CollectorRegistry()
        counter = self._counter
        self.login_attempts = counter("id_auth_login_attempts", "Sign-in attempts")
        self.login_failures = counter("id_auth_login_failure", "Sign-in attempts that failed")
        self.login_failure_reasons = counter(
            "id_auth_login_failure_reason", "Sign-in attempts that failed, by reason", "reason"
        )
        self.tokens_issued = counter("id_oidc_token_issued", "Token responses, by grant", "grant")
        self.tokens_failed = counter(
            "id_oidc_token_failed", "Token requests of known clients that failed", "grant", "error"
        )
        self.unknown_clients = counter("id_oidc_unknown_client", "Token requests of clients nobody knows")
        self.logouts_sent = counter(
            "id_oidc_logout_sent", "Logout tokens sent to clients, by result", "result"
        )
        self.rate_limit_triggered = counter("id_rate_limit_triggered", "Requests refused by a limit", "scope")
        self.emails_sent = counter("id_email_sent", "Mail deliveries tried, by result", "result")
        self.application_decisions = counter(
            "id_application_decisions",
            "Applications decided, and decisions taken back, by outcome",
            "outcome",
        )
        self.mail_feedback = counter("id_mail_feedback", "Reports of a mail provider, by type", "type")
        self.pool_connections = Gauge(
            "id_db_pool_connections",
            "Connections of the pool",
            ("service", "state"),
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.request_duration = Histogram(
            "id_http_request_duration_seconds",
            "Duration of HTTP requests in seconds",
            ("method", "route", "status", "service"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.requests_total = counter("id_http_request", "HTTP requests", "method", "status", "service")
        self.tasks_done = counter("id_tasks_done", "Tasks that ended, by outcome", "task", "outcome")
        self.task_duration = Histogram(
            "id_task_duration_seconds",
            "Duration of tasks in seconds",
            ("task",),
            registry=self.registry,
            buckets=TASK_BUCKETS,
        )
        self._series: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}
        if service == "account":
            for reason in LOGIN_REASONS:
                self.login_failure_reasons.labels(reason=reason)
        if service == "onboarding":
            for outcome in DECISION_OUTCOMES:
                self.application_decisions.labels(outcome=outcome)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time a request. Routes, known methods and statuses are few: each triple's series are kept."""
        series = self._series.get((method, route, status))
        if series is None:
            labels = {"method": method, "status": status, "service": self.service}
            series = self.request_duration.labels(route=route, **labels), self.requests_total.labels(**labels)
            self._series[method, route, status] = series
        duration, total = series
        duration.observe(seconds)
        total.inc()

    def declare_pool(self) -> None:
        """The app has a pool, without a connection yet."""
        for state in POOL_STATES:
            self.pool_connections.labels(service=self.service, state=state)

    def declare_scopes(self, scopes: Iterable[str]) -> None:
        """Limits of these scopes have refused nothing yet."""
        for scope in scopes:
            self.rate_limit_triggered.labels(scope=scope)

    def declare_task(self, task: str) -> None:
        """A worker takes this task, and has not yet."""
        self.task_duration.labels(task=task)
        for outcome in TASK_OUTCOMES:
            self.tasks_done.labels(task=task, outcome=outcome)

    def observe_task(self, task: str, seconds: float, *, is_success: bool) -> None:
        """Count and time a task that ended."""
        self.task_duration.labels(task=task).observe(seconds)
        self.tasks_done.labels(task=task, outcome=TASK_OUTCOMES[not is_success]).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


def init_metrics(app: Flask, metrics: Metrics) -> Callable[[str | None], tuple[str, str]]:
    """Returns what renders /metrics (text, type), of one process or of all workers of a master.

    Requests are timed by libs.observe.requests: the exporter's own hooks look every label up for each of them.
    """
    exporter = PrometheusMetrics(app, path=None, registry=metrics.registry, export_defaults=False)
    return lambda accept: exporter.generate_metrics(accept)


def watch_pools(apps: Iterable[Any]) -> None:
    """In a process that serves: keep `id_db_pool_connections` of these apps at what their pools hold.

    Set at a scrape alone it would be true for whichever process answers that, and of old in its neighbours.
    """
    from libs.service import parts_of

    pools: list[tuple[Any, Any]] = []
    for app in apps:
        if not isinstance(app, Flask) or "updspace_id" not in app.extensions:
            continue  # no service: it has no pool
        parts = parts_of(app)
        if parts.db is not None:
            with app.app_context():
                pools.append((parts, parts.db.engine.pool))

    def watch() -> None:
        while True:
            for parts, pool in pools:
                for state, count in zip(POOL_STATES, (pool.checkedout(), pool.checkedin()), strict=True):
                    parts.metrics.pool_connections.labels(service=parts.name, state=state).set(count)
            time.sleep(POOL_INTERVAL_S)

    if pools:
        threading.Thread(target=watch, name="pool-gauge", daemon=True).start()


class World(Collector):
    """Gauges about the world (events, queues, tables), read from the source when somebody scrapes.

    Only workers hold one: under several web processes such values would be counted several times.
    """

    def __init__(self, sources: Iterable[Source]):
        self.sources = list(sources)

    def describe(self) -> Iterable[Any]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        began = time.monotonic()
        for source in self.sources:
            if time.monotonic() - began > LONGEST_SCRAPE_S:
                break
            try:
                samples = list(source())
            except Exception:  # noqa: S112  a source that is away leaves a gap in the series, and nothing else
                continue
            for name, text, labels, value in samples:
                family = families.setdefault(name, GaugeMetricFamily(name, text, labels=list(labels)))
                family.add_metric(list(labels.values()), value)
        yield from families.values()


def exposition(registries: Iterable[CollectorRegistry], world: World | None = None) -> bytes:
    """The text of /metrics for a process that holds several apps, or for a worker."""
    merged = CollectorRegistry()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.MultiProcessCollector(merged)
    else:
        merged.register(_Merged(list(registries)))
    if world is not None:
        merged.register(world)
    return generate_latest(merged)


class _Merged(Collector):
    """One family per name, however many registries hold it; equal series are summed."""

    def __init__(self, registries: list[CollectorRegistry]):
        self.registries = registries

    def describe(self) -> Iterable[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        families: dict[str, Any] = {}
        for registry in self.registries:
            for family in registry.collect():
                known = families.setdefault(family.name, family)
                if known is family:
                    continue
                series = {(s.name, tuple(sorted(s.labels.items()))): i for i, s in enumerate(known.samples)}
                for sample in family.samples:
                    position = series.get((sample.name, tuple(sorted(sample.labels.items()))))
                    if position is None:
                        known.samples.append(sample)
                    elif not sample.name.endswith("_created"):  # a moment, not an amount
                        old = known.samples[position]
                        known.samples[position] = old._replace(value=old.value + sample.value)
        yield from families.values()
