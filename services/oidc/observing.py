"""What oidc shows of its world: gauges, read by its worker when somebody scrapes."""

from typing import Any

from flask import current_app

from libs.observe.metrics import GaugeSamples
from libs.service import parts_of
from services.oidc.flows import logouts
from services.oidc.flows.clearing import CLEANUP_KEY, table_sizes


def gauges() -> GaugeSamples:
    """Logouts that are not delivered; how large each table is; when the janitor last came to the end of its work."""
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
    client: Any = parts_of(current_app).redis
    at = client.get(CLEANUP_KEY)
    if at:
        yield (
            "id_cleanup_last_success_seconds",
            "When a cleanup last succeeded, epoch seconds",
            {"job": "oidc.clear_expired"},
            float(at),
        )
