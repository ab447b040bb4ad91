"""Gauges about account's world, read by its worker when somebody scrapes."""

from typing import Any

from flask import current_app

from libs.observe.metrics import GaugeSamples
from libs.service import parts_of
from services.account.flows.sessions import CLEANUP_KEY


def gauges() -> GaugeSamples:
    """When the daily cleanup last succeeded; no series until it has."""
    client: Any = parts_of(current_app).redis
    at = client.get(CLEANUP_KEY)
    if at:
        yield (
            "id_cleanup_last_success_seconds",
            "When a cleanup last succeeded, epoch seconds",
            {"job": "clear_expired_sessions"},
            float(at),
        )
