"""What account shows of its world: gauges, read by its worker when somebody scrapes, and rows of /health."""

from typing import Any

from flask import current_app

from libs.guard import breakers
from libs.guard.breakers import Breakers
from libs.observe.health import Component
from libs.observe.metrics import GaugeSamples
from libs.service import parts_of
from services.account.flows.sessions import CLEANUP_KEY


def gauges() -> GaugeSamples:
    """The breakers' states; when the daily cleanup last succeeded, no series until it has."""
    parts = parts_of(current_app)
    yield from breakers.gauges(parts.breakers)
    client: Any = parts.redis
    at = client.get(CLEANUP_KEY)
    if at:
        yield (
            "id_cleanup_last_success_seconds",
            "When a cleanup last succeeded, epoch seconds",
            {"job": "clear_expired_sessions"},
            float(at),
        )


def providers_health(found: Breakers) -> Component:
    """Degraded while a breaker is not closed: whoever signs in that way has to take another."""
    details = {name: circuit.state for name, circuit in found.circuits().items() if circuit.state != "closed"}
    return Component("providers", "degraded" if details else "healthy", None, details)
