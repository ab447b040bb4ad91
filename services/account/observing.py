"""What account shows of its world: gauges, read by its worker when somebody scrapes, and rows of /health."""

from typing import Any

from flask import current_app

from libs.commands import plain
from libs.guard import breakers
from libs.guard.breakers import Breakers
from libs.guard.ratelimit import ENHANCED_KEY, EnhancedMode
from libs.observe.health import Component
from libs.observe.metrics import GaugeSamples
from libs.service import parts_of


def gauges() -> GaugeSamples:
    """The breakers' states; whether limits are enhanced."""
    parts = parts_of(current_app)
    yield from breakers.gauges(parts.breakers)
    client: Any = parts.redis
    yield (
        "id_rate_limit_enhanced",
        "1 while enhanced mode tightens limits, else 0",
        {},
        float(client.exists(ENHANCED_KEY)),
    )


def providers_health(found: Breakers) -> Component:
    """Degraded while a breaker is not closed: whoever signs in that way has to take another."""
    details = {name: circuit.state for name, circuit in found.circuits().items() if circuit.state != "closed"}
    return Component("providers", "degraded" if details else "healthy", None, details)


def ratelimits_health(enhanced: EnhancedMode) -> Component:
    """Whether limits are enhanced: a choice of staff's, and nothing that is ill. The other services see the same."""
    ends_at = enhanced.ends_at()
    return Component("ratelimits", details={"enhanced": ends_at is not None, "until": plain(ends_at)})
