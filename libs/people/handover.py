"""Handover: sealed tickets by which one service sends a browser to another with something it may rely on."""

import json
import time
from datetime import timedelta
from typing import Any

from libs.guard.keyring import CannotOpen, KeyRing
from libs.settings import Settings

TICKET_LIFETIME = timedelta(minutes=10)


class InvalidTicket(Exception):
    """Changed, expired, or made for another purpose or service."""


def seal_ticket(settings: Settings, *, purpose: str, audience: str, content: dict[str, Any]) -> str:
    """A ticket for one purpose and one service, good for ten minutes."""
    body = {"exp": int(time.time() + TICKET_LIFETIME.total_seconds()), "content": content}
    return _ring(settings).seal(json.dumps(body).encode(), _place(purpose, audience))


def open_ticket(settings: Settings, ticket: str, *, purpose: str, audience: str) -> dict[str, Any]:
    """The content of a ticket. Raises InvalidTicket."""
    try:
        body = json.loads(_ring(settings).open(ticket, _place(purpose, audience)))
    except CannotOpen as error:
        raise InvalidTicket from error
    if body["exp"] < time.time():
        raise InvalidTicket("expired")
    return body["content"]


def _ring(settings: Settings) -> KeyRing:
    return KeyRing.derived(settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS, purpose="handover")


def _place(purpose: str, audience: str) -> str:
    return f"handover:{purpose}:{audience}"
