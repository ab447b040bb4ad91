"""The PostgreSQL that all tests of a run share, and the Redis that each process of theirs starts."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.servers import Postgres, find_redis


@contextlib.contextmanager
def servers_of_a_run() -> Iterator[None]:
    """A private PostgreSQL unless TEST_DATABASE_URL names another.

    Each process of the tests starts a Redis of its own, since some of them fill it, empty it or cut its connections;
    the first one takes that of TEST_REDIS_URL when it is named.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="id-test-")))
        postgres, redis = "the PostgreSQL of TEST_DATABASE_URL", str(find_redis(embedded=False))
        if not os.environ.get("TEST_DATABASE_URL"):
            database = Postgres(folder / "postgres", durable=False)
            stack.callback(database.stop)
            os.environ["TEST_DATABASE_URL"] = database.start(embedded=False).url("postgres")
            postgres = str(database.binaries)
        if os.environ.get("TEST_REDIS_URL"):
            redis += ", and the Redis of TEST_REDIS_URL"
        servers = f"Servers of this run: {postgres} and {redis}."
        print(servers, flush=True)
        yield
        print(servers, flush=True)
