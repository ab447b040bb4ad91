"""Beat's scheduler: it adds nothing to a queue from which nobody takes; and what is to be seen of it, and beside it."""

import time
from typing import Any, ClassVar

import redis
from celery.beat import PersistentScheduler, ScheduleEntry

from gateway.routes import SERVICES
from libs.messaging.broker import MOST_QUEUED
from libs.observe.logs import get_logger
from libs.observe.metrics import GaugeSamples, Source, world_sample
from libs.observe.worker_health import heartbeat_key
from libs.restoring import BACKUP_KEY

log = get_logger("beat")


class ConsiderateScheduler(PersistentScheduler):
    """Leaves a sweep out where its queue is long: its worker is away, and sweeps of hours ago are no use to it."""

    last_run: ClassVar[float] = 0.0
    """When it last looked at the schedule: a broker that hangs holds it up."""
    _left_out: frozenset[str] = frozenset()

    def tick(self, *args: Any, **options: Any) -> float:
        """Do what is due; called again after as many seconds as it returns."""
        wait: float = super().tick(*args, **options)
        ConsiderateScheduler.last_run = time.time()
        return wait

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


def sources(client: redis.Redis) -> list[Source]:
    """What beat's port shows: itself, and what nobody says of himself.

    A worker that is silent cannot say so, and a backup is made by nobody who could be asked afterwards.
    """

    def beat() -> GaugeSamples:
        yield world_sample("id_beat_last_run_seconds", ConsiderateScheduler.last_run)

    def workers() -> GaugeSamples:
        times: Any = client.mget([heartbeat_key(service) for service in SERVICES])
        for service, at in zip(SERVICES, times, strict=True):
            yield world_sample("id_worker_heartbeat_seconds", float(at or 0), service=service)

    def backup() -> GaugeSamples:
        at: Any = client.get(BACKUP_KEY)
        yield world_sample("id_backup_last_success_seconds", float(at or 0))

    return [beat, workers, backup]
