"""Pushed authorization requests (RFC 9126): checked and kept before the browser comes, for one use."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import current_app

from libs.service import parts_of

PREFIX = "urn:ietf:params:oauth:request_uri:"
"""How each begins; what comes after it is random (§2.2)."""


@dataclass(frozen=True)
class PushedRequest:
    """What a client pushed: the parameters that count, as they were accepted."""

    client_id: str
    parameters: dict[str, str] = field(repr=False)
    is_signed: bool
    """Whether they were in a request object that the client signed."""


def is_pushed(request_uri: str | None) -> bool:
    """Whether a request_uri is one of ours rather than an address of the client's."""
    return request_uri is not None and request_uri.startswith(PREFIX)


def keep(client_id: str, parameters: Mapping[str, str], *, is_signed: bool) -> tuple[str, int]:
    """Keep a request. Returns its request_uri and how many seconds it can be used. Raises redis.RedisError."""
    parts = parts_of(current_app)
    lifetime = int(parts.settings.PUSHED_REQUEST_LIFETIME.total_seconds())
    request_uri = PREFIX + secrets.token_urlsafe(32)
    kept = {"client_id": client_id, "parameters": dict(parameters), "is_signed": is_signed}
    parts.redis.set(_key(request_uri), json.dumps(kept, separators=(",", ":")), ex=lifetime)
    return request_uri, lifetime


def find(request_uri: str, client_id: str) -> PushedRequest | None:
    """The request under this name, for the client that pushed it alone. Raises redis.RedisError."""
    return _read(parts_of(current_app).redis.get(_key(request_uri)), client_id)


def spend(request_uri: str) -> bool:
    """Use it up; False for whoever comes second. Raises redis.RedisError.

    Only once it is accepted, so that a browser that is sent here twice in a row, or reloads an error of ours, is not
    told that the request is gone.
    """
    return bool(parts_of(current_app).redis.delete(_key(request_uri)))


def _read(text: Any, client_id: str) -> PushedRequest | None:
    found = PushedRequest(**json.loads(text)) if text else None
    return found if found is not None and found.client_id == client_id else None


def _key(request_uri: str) -> str:
    # Hashed: the names of keys show up in places where their content does not.
    return f"pushed:{hashlib.sha256(request_uri.encode('utf-8', 'surrogatepass')).hexdigest()}"
