"""Redis restarted, flushed, away, full and hung: commits go on, events wait in their table and leave by themselves."""

import signal
import time
from collections.abc import Callable

import pytest
import redis

from tests.faults.conftest import Messenger
from tests.running import wait_until

pytestmark = pytest.mark.soak
USUAL_S = 0.25
"""More than a commit takes on a busy machine, less than any wait for Redis."""


def commit_some(messenger: Messenger, count: int = 20) -> list[str]:
    """Events whose commits took no longer than usual, though the relay of this process is told of each."""
    keys = []
    for _ in range(count):
        began = time.monotonic()
        keys.append(messenger.record(wakes=True))
        assert time.monotonic() - began < USUAL_S
    return keys


def arrive(messenger: Messenger, keys: list[str]) -> None:
    """They do, each once, with nobody's help."""
    wait_until(lambda: all(messenger.effects(key) for key in keys), 40)
    wait_until(lambda: set(messenger.states()) == {"confirmed"}, 40)
    assert [messenger.effects(key) for key in keys] == [1] * len(keys)
    assert not messenger.parked()


def kill(messenger: Messenger) -> None:
    assert messenger.server.process
    messenger.server.process.kill()
    messenger.server.process.wait()


def fill(messenger: Messenger) -> None:
    """Whatever it holds is more than it may, and nothing is thrown away for it."""
    messenger.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        messenger.client.set("x", "x")


def refusals(messenger: Messenger) -> int:
    """How often Redis has refused something for want of room."""
    return int(messenger.client.info("errorstats").get("errorstat_OOM", {}).get("count", 0))


def make_room(messenger: Messenger) -> None:
    messenger.client.config_set("maxmemory", 0)


def test_killed_and_started_again_the_worker_resumes_and_nothing_is_lost(messenger: Messenger) -> None:
    worker = messenger.worker()
    arrive(messenger, commit_some(messenger, 3))
    for _ in range(2):
        kill(messenger)
        keys = commit_some(messenger)
        assert messenger.states().count("pending") >= len(keys)
        messenger.server.start()
        arrive(messenger, keys)
    assert worker.is_alive, "by itself"


def test_flushed_its_queues_are_lost_and_the_events_leave_again(messenger: Messenger) -> None:
    keys = [messenger.record() for _ in range(20)]
    messenger.send()
    assert messenger.client.llen("notification") == len(keys)
    messenger.client.flushall()
    messenger.worker()
    time.sleep(0.5)
    assert not any(messenger.effects(key) for key in keys)
    messenger.come_due()
    messenger.send()
    arrive(messenger, keys)


def test_full_it_takes_nothing_and_once_there_is_room_all_leaves_by_itself(
    messenger: Messenger, log_text: Callable[[], str]
) -> None:
    worker = messenger.worker()
    arrive(messenger, commit_some(messenger, 3))
    fill(messenger)
    keys = commit_some(messenger)
    time.sleep(3)
    before = refusals(messenger)
    keys += commit_some(messenger)
    time.sleep(3)
    assert refusals(messenger) - before <= 6, "of two processes in three seconds: nothing is hammered"
    assert messenger.states().count("pending") == len(keys)
    make_room(messenger)
    arrive(messenger, keys)
    assert worker.is_alive
    assert log_text().count('"broker_away"') == 1, "once per outage, not per row"


def test_hung_it_holds_up_no_commit(messenger: Messenger, log_text: Callable[[], str]) -> None:
    worker = messenger.worker()
    arrive(messenger, commit_some(messenger, 3))
    assert messenger.server.process
    messenger.server.process.send_signal(signal.SIGSTOP)
    keys = commit_some(messenger)
    time.sleep(3)
    keys += commit_some(messenger)
    messenger.server.process.send_signal(signal.SIGCONT)
    arrive(messenger, keys)
    assert worker.is_alive
    assert log_text().count('"broker_away"') == 1


def test_full_while_a_worker_takes_messages_loses_none_for_good(messenger: Messenger) -> None:
    """What a worker has taken, and could not note as taken, is lost to Redis: it is sent again."""
    worker = messenger.worker()
    arrive(messenger, commit_some(messenger, 3))
    worker.signal(signal.SIGSTOP)
    keys = [messenger.record() for _ in range(50)]
    messenger.send()
    fill(messenger)
    worker.signal(signal.SIGCONT)
    time.sleep(3)
    make_room(messenger)
    time.sleep(2)
    messenger.come_due()
    messenger.send()
    arrive(messenger, keys)
    assert worker.is_alive


def test_a_worker_that_starts_while_redis_is_full_waits_for_room(messenger: Messenger) -> None:
    keys = [messenger.record() for _ in range(5)]
    messenger.send()
    fill(messenger)
    worker = messenger.worker(is_awaited=False)
    time.sleep(4)
    assert worker.is_alive
    make_room(messenger)
    arrive(messenger, keys)


def test_away_for_a_minute_nothing_is_lost_and_nobody_is_restarted(messenger: Messenger) -> None:
    worker = messenger.worker()
    kill(messenger)
    ended, keys = time.monotonic() + 60, []
    while time.monotonic() < ended:
        keys += commit_some(messenger, 5)
        time.sleep(0.5)
    messenger.server.start()
    arrive(messenger, keys)
    assert worker.is_alive
