"""Fetching a document of JSON from an address that a client named, under the guard of libs/guard/outbound.py."""

import json
from typing import Any

import requests
from flask import current_app

from libs.guard.outbound import OutboundRefused, guarded
from libs.service import parts_of

FETCH_SECONDS = 3.0
MAX_BYTES = 64 * 1024


class CannotFetch(Exception):
    """There is no document to be had; the message says why, in words for whoever registered the address."""


def fetch_json(uri: str) -> Any:
    """The document at an address. Raises CannotFetch. Not inside a transaction: this may take FETCH_SECONDS."""
    settings = parts_of(current_app).settings
    try:
        with guarded(requests.Session(), settings, seconds=FETCH_SECONDS, max_bytes=MAX_BYTES) as session:
            answer = session.get(uri, headers={"Accept": "application/json"}, timeout=FETCH_SECONDS)
    except OutboundRefused as error:
        raise CannotFetch(str(error)) from error
    except requests.RequestException as error:
        raise CannotFetch(type(error).__name__) from error
    if answer.status_code != 200:
        raise CannotFetch(f"status {answer.status_code}")
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise CannotFetch("this is no JSON") from error
