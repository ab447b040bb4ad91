"""Counting round trips as they happen on the wire: each wait for PostgreSQL, each send to Redis."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2.extensions
import redis.connection

from libs import database


@dataclass
class RoundTrips:
    """How often somebody waited for a store."""

    postgres: int = 0
    redis: int = 0


@contextmanager
def counted() -> Iterator[RoundTrips]:
    """Count what this thread asks of its stores in the block, BEGIN and COMMIT included."""
    trips, mine = RoundTrips(), threading.get_ident()
    send = redis.connection.AbstractConnection.send_packed_command

    def wait(connection: Any) -> None:
        trips.postgres += threading.get_ident() == mine
        database._wait(connection)

    def counting_send(self: Any, *arguments: Any, **options: Any) -> Any:
        trips.redis += threading.get_ident() == mine
        return send(self, *arguments, **options)

    psycopg2.extensions.set_wait_callback(wait)
    redis.connection.AbstractConnection.send_packed_command = counting_send  # type: ignore[method-assign]
    try:
        yield trips
    finally:
        psycopg2.extensions.set_wait_callback(database._wait)
        redis.connection.AbstractConnection.send_packed_command = send  # type: ignore[method-assign]
