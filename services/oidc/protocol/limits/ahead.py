"""Requests counted ahead: a client that asks all the time asks Redis once for several of its requests.

Redis has counted them, so that all processes together keep to the allowance; what is not used is lost with its short
life. Whoever has little allowance, or asks now and then, is counted one by one.
"""

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

LIFE_S = 0.25
"""How long they may be used: enhanced mode is seen after it."""
PARTS = 400
MOST = 16
"""At most so many are counted ahead, and such a part of an allowance."""
MOST_KEPT = 10_000


@dataclass
class _Ahead:
    size: int
    left: int
    until: float


class CountedAhead:
    """What one process may still use of what Redis has counted, by whose it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Ahead] = {}

    def take(self, whose: Hashable) -> bool:
        """Use one; False where Redis has to be asked."""
        found = self._kept.get(whose)
        if found is None:
            return False
        with self._lock:
            if found.left < 1 or found.until < time.monotonic():
                return False
            found.left -= 1
        return True

    def wanted(self, whose: Hashable, allowance: int) -> int:
        """How many to have counted now: twice as many as the last time when those were used up in their time."""
        most, found = min(allowance // PARTS, MOST), self._kept.get(whose)
        if found is None or most < 2 or found.left > 0 or found.until < time.monotonic():
            return 1
        return min(found.size * 2, most)

    def keep(self, whose: Hashable, counted: int) -> None:
        """So many were counted, and the first of them is used."""
        with self._lock:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[whose] = _Ahead(counted, counted - 1, time.monotonic() + LIFE_S)
