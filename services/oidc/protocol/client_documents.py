"""What clients keep at addresses of their own and we fetch: their public keys, their request objects.

Nothing is fetched but what a client registered, through the guarded client, within FETCH_TIMEOUT. An address that did
not answer is left alone for a moment, by each process for itself, and only a few threads at once fetch or wait for one
that does: slow addresses must never tie up all of a process. A breaker shared by all (libs/guard/breakers) is for a few
servers that we name; there are as many of these as clients.
"""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import requests
from flask import current_app

from libs.guard.outbound import OutboundRefused, guarded
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Unavailable

log = get_logger("OIDC.client_documents")

Document = TypeVar("Document")

FETCH_TIMEOUT = timedelta(seconds=2)
"""For all of it: the name, the connection, the answer."""
LEFT_ALONE = timedelta(seconds=5)
MOST_LEFT_ALONE = 1000
MOST_AT_ONCE = 4
"""Half of a web process's threads."""


class NotFetched(Exception):
    """There is no document; the message says why, for the log."""


class LeftAlone(NotFetched):
    """It was not tried, since it failed a moment ago."""


_failed_at: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()
_places = threading.BoundedSemaphore(MOST_AT_ONCE)


@contextlib.contextmanager
def a_place() -> Iterator[None]:
    """One of the few places of threads that fetch, or wait for one that does.

    Raises Unavailable when all are taken: a prompt 503, since whether the client is right nobody can say.
    """
    if not _places.acquire(blocking=False):
        log.warning("client_documents_busy")
        raise Unavailable(retry_after=2)
    try:
        yield
    finally:
        _places.release()


def fetch(url: str, read: Callable[[bytes], Document], *, accept: str, max_bytes: int) -> Document:
    """The document at a client's address, as `read` makes it of the body. Both raise NotFetched.

    Raises Unavailable while too many are being fetched.
    """
    address = url.partition("#")[0]
    if time.monotonic() - _failed_at.get(address, float("-inf")) < LEFT_ALONE.total_seconds():
        raise LeftAlone("it failed a moment ago")
    try:
        with a_place():
            body = _get(address, accept=accept, max_bytes=max_bytes)
        return read(body)
    except NotFetched:
        _leave_alone(address)
        raise


def _get(address: str, *, accept: str, max_bytes: int) -> bytes:
    settings, seconds = parts_of(current_app).settings, FETCH_TIMEOUT.total_seconds()
    headers = {"Accept": accept, "User-Agent": "UpdSpace-ID"}
    try:
        with guarded(requests.Session(), settings, seconds=seconds, max_bytes=max_bytes) as http:
            response = http.get(address, headers=headers)
    except OutboundRefused as error:
        raise NotFetched(str(error)) from error
    except (requests.RequestException, OSError, ValueError) as error:
        raise NotFetched(type(error).__name__) from error
    if response.status_code != 200:
        raise NotFetched(f"status {response.status_code}")
    return response.content


def _leave_alone(address: str) -> None:
    with _lock:
        _failed_at[address] = time.monotonic()
        _failed_at.move_to_end(address)
        while len(_failed_at) > MOST_LEFT_ALONE:
            _failed_at.popitem(last=False)
