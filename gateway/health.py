"""The suite's health as one answer: what each service says of itself, asked side by side, merged."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from gateway.routes import SERVICES
from libs.observe.health import ORDER as STATUSES
from libs.observe.health import (
    PROBE_TIMEOUT_S,
    STARTED,
    Check,
    Component,
    Probe,
    health_report,
    version,
    worst,
)
from libs.observe.metrics import GaugeSamples, world_sample
from libs.service import parts_of

Report = dict[str, Any]
Source = Callable[[], Report]
"""Gives the body of a service's /health; raises whatever keeps it from doing so."""

ORDER = ("database", "cache", "oidc_keys", "email")
"""The components that operators know from the runbook come first."""
SIGN_IN_PATH = ("account", "oidc")
"""Without one of these nobody signs in: their failing is the suite's. The others only lower it to degraded."""


def over_http(upstreams: Mapping[str, str]) -> dict[str, Source]:
    """Ask the services' own ports, as in the suite."""

    def source(address: str) -> Source:
        def ask() -> Report:
            connection = http.client.HTTPConnection(address, timeout=PROBE_TIMEOUT_S)
            try:
                connection.request("GET", "/health", headers={"Accept": "application/json"})
                report: Report = json.loads(connection.getresponse().read(1_000_000))
                return report
            finally:
                connection.close()

        return ask

    return {name: source(upstreams[name]) for name in SERVICES}


def in_process(apps: Mapping[str, Flask]) -> dict[str, Source]:
    """Ask the apps of this process."""

    def source(app: Flask) -> Source:
        return lambda: health_report(parts_of(app).probe.components())

    return {name: source(app) for name, app in apps.items()}


class SuiteHealth:
    """What /health and /readyz of the gateway answer, from the last round of a background probe."""

    def __init__(self, sources: Mapping[str, Source]):
        checks: dict[str, Check] = {name: _check(name, source) for name, source in sources.items()}
        failures = {name: "unhealthy" if name in SIGN_IN_PATH else "degraded" for name in checks}
        self._probe = Probe(checks, failures)

    def report(self) -> Report:
        """The body of /health (docs/runbook.md), with a row per service."""
        rows = self._probe.components()
        components = merge({row.name: row.details.get("components", []) for row in rows})
        statuses = [row.status for row in rows] + [component["status"] for component in components]
        return {
            "status": worst(statuses),
            "version": version(),
            "uptime_seconds": int(time.monotonic() - STARTED),
            "components": components,
            "services": [_service_row(row) for row in rows],
        }

    def gauges(self) -> GaugeSamples:
        """The same for whoever scrapes. Each gateway sees with its own eyes: dashboards take the worst."""
        report = self.report()
        for row in report["components"]:
            value = STATUSES.index(row["status"])
            yield world_sample("id_health_component_status", value, component=row["name"])
        for row in report["services"]:
            yield world_sample("id_health_service_status", STATUSES.index(row["status"]), service=row["name"])

    def readiness(self) -> Report:
        """The body of /readyz: ready while account and oidc are."""
        failing = [row.name for row in self._probe.components() if row.status == "unhealthy"]
        return {"status": "not ready" if failing else "ready", "failing": failing}


def _check(name: str, source: Source) -> Check:
    def check() -> Component:
        began = time.perf_counter()
        report = source()
        latency_ms = (time.perf_counter() - began) * 1000
        components = [
            {**component, "status": _as_seen_from_outside(name, component["status"])}
            for component in report["components"]
        ]
        details = {"version": str(report["version"]), "components": components}
        return Component(name, _as_seen_from_outside(name, report["status"]), latency_ms, details)

    return check


def _as_seen_from_outside(service: str, status: str) -> str:
    """What a service's state means for the suite."""
    return "degraded" if status == "unhealthy" and service not in SIGN_IN_PATH else status


def merge(by_service: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per component name: worst state, highest latency, and which services are not healthy in it.

    Details that only one service gives (the number of keys, say) stay; those of several would contradict.
    """
    merged: dict[str, dict[str, Any]] = {}
    givers: dict[str, int] = {}
    for service, components in by_service.items():
        for component in components:
            name, status = component["name"], component["status"]
            row = merged.setdefault(name, {"name": name, "status": "healthy"})
            givers[name] = givers.get(name, 0) + 1
            row["status"] = worst([row["status"], status])
            if "latency_ms" in component:
                row["latency_ms"] = max(row.get("latency_ms", 0.0), component["latency_ms"])
            details = dict(component.get("details", {})) if givers[name] == 1 else {}
            not_healthy = row.get("details", {}).get("services", [])
            if status != "healthy":
                not_healthy = [*not_healthy, service]
            if not_healthy:
                details["services"] = not_healthy
            row.pop("details", None)
            if details:
                row["details"] = details
    return sorted(
        merged.values(), key=lambda row: ORDER.index(row["name"]) if row["name"] in ORDER else len(ORDER)
    )


def _service_row(row: Component) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": row.name, "status": row.status}
    if "version" in row.details:
        shown["version"] = row.details["version"]
    if row.latency_ms is not None:
        shown["latency_ms"] = round(row.latency_ms, 1)
    if "reason" in row.details:
        shown["details"] = {"reason": row.details["reason"]}
    return shown
