"""Logos of apps: fetched by us, since a person's browser would tell the app of its visit, and kept for a day.

Without one that can be shown an app has the first letter of its name.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta

import redis
import requests
from flask import current_app

from libs.guard.outbound import OutboundRefused, guarded
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.flows.clients.registered import RegisteredClient

log = get_logger("OIDC.logos")

MAX_BYTES = 64 * 1024
FETCH_SECONDS = 2.0
KEPT = timedelta(days=1)
FAILURE_KEPT = timedelta(minutes=10)
KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""What a picture begins with. Never SVG: that is a document, which can hold script."""
_FETCHING = "logo:fetching"


@dataclass(frozen=True, kw_only=True)
class Logo:
    """A picture; `kind` is its media type, told from its bytes and not from what its server says."""

    kind: str
    data: bytes


def find_logo(client: RegisteredClient) -> Logo | None:
    """The client's logo, from what is kept or from where it is; None while there is none to show.

    One is fetched at a time: however slow their servers are, they hold up one thread.
    """
    if client.logo_uri is None:
        return None
    store = parts_of(current_app).redis
    key = f"logo:{hashlib.sha256(client.logo_uri.encode()).hexdigest()}"
    try:
        kept = store.get(key)
        if kept is not None:
            return _read(str(kept))
        if not store.set(_FETCHING, "1", nx=True, ex=int(FETCH_SECONDS) + 3):
            return None
        try:
            logo = _fetch(client)
            text = f"{logo.kind} {base64.b64encode(logo.data).decode()}" if logo else ""
            store.set(key, text, ex=KEPT if logo else FAILURE_KEPT)
        finally:
            store.delete(_FETCHING)
        return logo
    except redis.RedisError as error:
        log.warning("logo_not_kept", client_id=client.client_id, error=type(error).__name__)
        return None


def kind_of(data: bytes) -> str | None:
    """The media type of a picture that we show; None for everything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), None)


def _read(text: str) -> Logo | None:
    kind, _, data = text.partition(" ")
    return Logo(kind=kind, data=base64.b64decode(data)) if kind else None


def _fetch(client: RegisteredClient) -> Logo | None:
    """What is at the client's address now, when it is a small picture."""
    settings = parts_of(current_app).settings
    try:
        with guarded(requests.Session(), settings, seconds=FETCH_SECONDS, max_bytes=MAX_BYTES) as browser:
            answer = browser.get(client.logo_uri or "", headers={"Accept": ", ".join(set(KINDS.values()))})
        kind = kind_of(answer.content) if answer.status_code == 200 else None
        reason = "no picture" if kind is None else None
    except (requests.RequestException, OutboundRefused, OSError, ValueError) as error:
        kind, reason = None, type(error).__name__
    if kind is None:
        log.info("logo_refused", client_id=client.client_id, reason=reason)
        return None
    return Logo(kind=kind, data=answer.content)
