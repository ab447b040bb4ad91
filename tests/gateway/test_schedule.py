"""The schedule: strings that must name real tasks, once, on queues that somebody works off."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis
from celery.schedules import crontab
from flask import Flask

from gateway.routes import SERVICES
from gateway.schedule import SCHEDULE, beat_entries, create_beat
from libs.messaging.broker import MOST_QUEUED
from libs.messaging.worker import create_worker
from libs.service import parts_of


def test_each_scheduled_task_exists_in_exactly_one_service_on_its_own_queue(make_app: Callable[[str], Flask]):
    owners: dict[str, list[str]] = {}
    for service in SERVICES:
        for task in parts_of(make_app(service)).tasks.functions:
            owners.setdefault(task, []).append(service)
    for entry in SCHEDULE:
        assert owners.get(entry.task) == [entry.queue], (
            f"{entry.task} on {entry.queue}: {owners.get(entry.task)}"
        )


def test_each_queue_of_the_schedule_has_a_worker(make_app: Callable[[str], Flask]):
    worker = create_worker(*[make_app(service) for service in SERVICES])
    assert {entry.queue for entry in SCHEDULE} <= {queue.name for queue in worker.conf.task_queues}


def test_each_entry_says_why_stands_once_and_expires_before_its_next_turn():
    assert max(Counter(entry.task for entry in SCHEDULE).values()) == 1
    for entry in SCHEDULE:
        assert entry.why
        assert 0 < entry.expires_s <= (entry.when if isinstance(entry.when, int) else 86400)


def test_from_a_minute_on_a_crontab_line_says_when():
    for entry in SCHEDULE:
        moment = beat_entries()[entry.task]["schedule"]
        assert isinstance(moment, crontab) or moment.seconds < 60


def test_each_service_has_its_sweeps():
    scheduled = {entry.task for entry in SCHEDULE}
    for service in SERVICES:
        assert {f"{service}.{task}" for task in ("relay_outbox", "sweep_inbox", "clear_events")} <= scheduled


def test_beat_knows_the_table_and_no_task(environment: dict[str, str]):
    beat = create_beat()
    assert set(beat.conf.beat_schedule) == {entry.task for entry in SCHEDULE}
    assert not [name for name in beat.tasks if not name.startswith("celery.")]


def test_nothing_is_added_to_a_queue_from_which_nobody_takes(environment: dict[str, str], tmp_path: Path):
    """A worker that is away for a day would find half a million sweeps."""
    beat = create_beat()
    scheduler = beat.conf.beat_scheduler(beat, schedule_filename=str(tmp_path / "schedule"))
    client = redis.Redis.from_url(environment["REDIS_URL"])
    sweep = scheduler.schedule["oidc.relay_outbox"]
    client.delete("oidc")
    try:
        scheduler.apply_entry(sweep)
        assert client.llen("oidc") == 1
        client.rpush("oidc", *["{}"] * MOST_QUEUED)
        for _ in range(3):
            scheduler.apply_entry(sweep)
        assert client.llen("oidc") == MOST_QUEUED + 1
        client.delete("oidc")
        scheduler.apply_entry(sweep)
        assert client.llen("oidc") == 1
    finally:
        client.delete("oidc")
        scheduler.close()
