"""Metrics: each declared once, per app registry; the names are those that dashboards and alerts rely on."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

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
BREAKER_STATE = "id_breaker_state"
BREAKER_STATE_HELP = "Circuit breakers: 0 closed, 1 half-open, 2 open"
GaugeSamples = Iterable[tuple[str, str, dict[str, str], float]]
"""Name, help, labels, value."""


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

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


def init_metrics(app: Flask, metrics: Metrics) -> Callable[[str | None], tuple[str, str]]:
    """Returns what renders /metrics (text, type), of one process or of all workers of a master.

    Requests are timed by libs.observe.requests: the exporter's own hooks look every label up for each of them.
    """
    exporter = PrometheusMetrics(app, path=None, registry=metrics.registry, export_defaults=False)
    return lambda accept: exporter.generate_metrics(accept)


class World(Collector):
    """Gauges about the world (events, queues, tables), read from the source when somebody scrapes.

    Only workers hold one: under several web processes such values would be counted several times.
    """

    def __init__(self, sources: Iterable[Callable[[], GaugeSamples]]):
        self.sources = list(sources)

    def describe(self) -> Iterable[Any]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for source in self.sources:
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
