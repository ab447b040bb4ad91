"""The broker seen by who sends: it may be away or full, a queue may be long, and neither is a reason to press on.

A process that found it away leaves it alone for a moment, which grows; queues of subscribers whose worker is away are
filled up to a point. Whatever does not leave is a row, and waits there.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import redis
from celery import Celery

from libs.observe import tracing
from libs.observe.logs import correlation_id, get_logger

log = get_logger("libs.broker")

MOST_QUEUED = 1000
"""Messages that wait in a queue, beyond which events and confirmations are kept back."""
MOST_TASKS = 10_000
"""The same for a service's own tasks, which a few sweeps could not make up for."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""How long a broker that was away or full is left alone: this, doubling, up to that."""
NUMBER = "correlation_id_of_request"
"""The header by which a task knows the number of the request that it is about."""
OUTAGE_FORGOTTEN_S = 60.0
"""When nobody has wanted anything of a broker for so long, its next failure is a new outage."""


class BrokerAway(Exception):
    """Nothing can be queued now: Redis does not answer, has no room, or is being left alone after that."""


class QueueFull(Exception):
    """Nobody takes from this queue as fast as it fills."""


class Broker:
    """The queues, for one app of one process. Any number of threads may use it."""

    def __init__(self, sender: Celery, client: "redis.Redis"):
        self._sender, self._client = sender, client
        self._lock = threading.Lock()
        self._failures = 0
        self._takes_nothing = False
        self._silent_until = 0.0
        self._away_since = 0.0
        self._full: set[str] = set()

    def send(
        self,
        task: str,
        args: list[Any],
        *,
        queue: str,
        headers: Mapping[str, Any] | None = None,
        most: int | None = None,
        number: str | None = None,
    ) -> None:
        """Queue a task by its name. Raises BrokerAway; QueueFull where `most` messages wait already.

        `number` is the request's that it is about, where that is not the one under way.
        """
        if most is not None and self.room([queue], most=most)[queue] == 0:
            raise QueueFull(queue)
        with tracing.sending(f"apply_async/{task}", number=number, **{"celery.task_name": task}) as of_trace:
            self._try(
                lambda: self._sender.send_task(
                    task,
                    args=args,
                    queue=queue,
                    retry=False,
                    ignore_result=True,
                    headers={NUMBER: number or correlation_id(), **(headers or {}), **of_trace},
                ),
                is_sending=True,
            )

    def room(self, queues: Iterable[str], *, most: int = MOST_QUEUED) -> dict[str, int]:
        """How many messages each queue still takes. Raises BrokerAway."""
        names = list(queues)
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        lengths = self._try(pipeline.execute, is_sending=False)
        room = {name: max(most - length, 0) for name, length in zip(names, lengths, strict=True)}
        for name, free in room.items():
            self._note_room(name, free)
        return room

    @property
    def pause_s(self) -> float:
        """How long the broker is to be left alone from now on; 0 when it is not."""
        return max(self._silent_until - time.monotonic(), 0.0)

    def _try(self, action: Callable[[], Any], *, is_sending: bool) -> Any:
        if self.pause_s > 0:
            raise BrokerAway
        try:
            result = action()
        except Exception as error:
            self._note_failure(error, is_sending=is_sending)
            raise BrokerAway from error
        # A full Redis can be asked all the same: only what it takes shows that it has room again.
        if self._failures and (is_sending or not self._takes_nothing):
            self._note_success()
        return result

    def _note_failure(self, error: Exception, *, is_sending: bool) -> None:
        """One record per outage, however many rows and threads meet it."""
        with self._lock:
            now = time.monotonic()
            is_new = not self._failures or now - self._silent_until > OUTAGE_FORGOTTEN_S
            self._failures = 1 if is_new else self._failures + 1
            self._takes_nothing = is_sending
            self._silent_until = now + min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)
            if not is_new:
                return
            self._away_since = now
        log.warning("broker_away", error=type(error).__name__)

    def _note_success(self) -> None:
        with self._lock:
            if not self._failures:
                return
            self._failures, self._silent_until = 0, 0.0
            seconds = round(time.monotonic() - self._away_since, 1)
        log.info("broker_back", seconds=seconds)

    def _note_room(self, queue: str, free: int) -> None:
        with self._lock:
            was_full = queue in self._full
            if was_full == (free == 0):
                return
            (self._full.discard if was_full else self._full.add)(queue)
        if was_full:
            log.info("queue_has_room", queue=queue)
        else:
            log.warning("queue_full", queue=queue)
