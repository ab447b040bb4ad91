"""What oidc shows of its world: gauges, read by its worker when somebody scrapes, and a row of /health."""

from datetime import timedelta

from libs.database import utcnow
from libs.observe.health import Component
from libs.observe.metrics import GaugeSamples
from services.oidc.flows import keys, logouts
from services.oidc.flows.clearing import table_sizes
from services.oidc.protocol.keys import KeySet

ROTATION_GRACE = timedelta(minutes=15)
"""How late a rotation may be: beat comes every five minutes."""


def gauges() -> GaugeSamples:
    """The signing keys; logouts not delivered; how large each table is."""
    yield from keys.gauges()
    yield from logouts.gauges()
    for table, rows, size in table_sizes():
        yield (
            "id_table_rows",
            "Rows of a table, as PostgreSQL estimates them",
            {"service": "oidc", "table": table},
            float(rows),
        )
        yield (
            "id_table_bytes",
            "Bytes of a table and its indexes",
            {"service": "oidc", "table": table},
            float(size),
        )


def keys_health(found: KeySet) -> Component:
    """Unhealthy when nothing signs; degraded when a key signs for too long, cannot be opened, or none is known ahead.

    An old key signs on all the same: that is better than nobody signing in.
    """
    details: dict[str, object] = {"key_count": len(found.by_kid)}
    lost = "DATA_ENCRYPTION_KEYS does not open a key" if found.unopened else None
    if not set(found.current) >= set(keys.ALWAYS):
        return Component("oidc_keys", "unhealthy", None, {**details, "reason": lost or "no current key"})
    if lost:
        return Component("oidc_keys", "degraded", None, {**details, "reason": lost})
    since = utcnow() - keys.timing().rotation - ROTATION_GRACE
    if any(key.activated_at is not None and key.activated_at < since for key in found.current.values()):
        return Component("oidc_keys", "degraded", None, {**details, "reason": "rotation is overdue"})
    if not found.upcoming >= set(found.current):
        return Component("oidc_keys", "degraded", None, {**details, "reason": "no next key"})
    return Component("oidc_keys", "healthy", None, details)
