"""Beat's scheduler: it adds nothing to a queue from which nobody takes."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from libs.messaging.broker import MOST_QUEUED
from libs.observe.logs import get_logger

log = get_logger("beat")


class ConsiderateScheduler(PersistentScheduler):
    """Leaves a sweep out where its queue is long: its worker is away, and sweeps of hours ago are no use to it."""

    _left_out: frozenset[str] = frozenset()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Queue one entry's task; called for each that is due."""
        queue = entry.options.get("queue", "")
        if self._is_long(queue):
            if queue not in self._left_out:
                log.warning("schedule_left_out", queue=queue)
            self._left_out |= {queue}
            return
        self._left_out -= {queue}
        super().apply_entry(entry, producer=producer)

    def _is_long(self, queue: str) -> bool:
        try:
            with self.connection.channel() as channel:
                return bool(channel.client.llen(queue) >= MOST_QUEUED)
        except Exception:
            return False  # sending finds out, and beat has its own ways with a broker that is away
