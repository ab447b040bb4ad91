"""Processes that hang: stopped by a signal with all their children, and let go again."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.running import descendants


@contextmanager
def stopped_by_signal(pid: int) -> Iterator[None]:
    """They take connections, and say nothing."""
    os.kill(pid, signal.SIGSTOP)  # the parent first: it is to start no others
    children = descendants(pid)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)
    try:
        yield
    finally:
        for stopped in (*reversed(children), pid):
            with suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)
