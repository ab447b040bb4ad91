"""Metrics of real processes: several gunicorn workers of one master, a Celery worker, beat."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests
from celery.contrib.testing.worker import start_worker
from flask import Flask

from gateway import beat
from gateway.routes import SERVICES
from gateway.schedule import SCHEDULE, create_beat
from gateway.servers import free_port
from libs.messaging.worker import create_worker
from libs.observe import metrics
from libs.observe.metrics import World, exposition
from libs.observe.worker_health import heartbeat_key, sources_of
from libs.service import parts_of
from tests.libs import sample
from tests.libs.conftest import sample_app, sample_settings  # noqa: F401  (fixtures)
from tests.monitoring.expositions import Series, of_beat, of_worker, read, total
from tests.running import ROOT, descendants, is_alive, wait_until


class Master:
    """A service under gunicorn with two worker processes, as in a pod."""

    def __init__(self, service: str, environ: dict[str, str], folder: Path):
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.folder = folder / "metrics"
        self.log = (folder / "log.jsonl").open("w")
        command = [Path(sys.executable).parent / "gunicorn", "--config", ROOT / "gunicorn.conf.py"]
        command += ["--bind", f"127.0.0.1:{self.port}", f"services.{service}:create_app()"]
        own = {"WEB_CONCURRENCY": "2", "PROMETHEUS_MULTIPROC_DIR": str(self.folder)}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ, **own}, stdout=self.log, stderr=self.log
        )

    def workers(self) -> list[int]:
        return descendants(self.process.pid)

    def answers(self) -> bool:
        try:
            return self.get("/healthz").ok
        except requests.RequestException:
            return False

    def get(self, path: str) -> requests.Response:
        """On a connection of its own, so that either worker may take it."""
        return requests.get(self.origin + path, timeout=60, headers={"Connection": "close"})

    def series(self) -> list[Series]:
        return read(self.get("/metrics").text)

    def files_of(self, kind: str) -> set[int]:
        """The processes that have written metrics of a kind."""
        names = [file.name for file in self.folder.iterdir()]
        return {int(found[1]) for name in names if (found := re.fullmatch(rf"{kind}_(\d+)\.db", name))}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def master(make_app: Callable[[str], Flask], environment: dict[str, str], tmp_path: Path) -> Iterator[Master]:
    make_app("onboarding")  # its database is migrated
    master = Master("onboarding", environment, tmp_path)
    try:
        yield master
    finally:
        master.stop()


def test_two_workers_count_as_one_and_a_killed_one_leaves_no_gauge(master: Master) -> None:
    wait_until(lambda: master.answers() and len(master.workers()) == 2)
    first = set(master.workers())
    counted = 0

    def ask(times: int) -> None:
        nonlocal counted
        for _ in range(times):
            assert master.get("/no-such-page").status_code == 404
        counted += times

    def both_have_answered() -> bool:
        ask(5)
        return first <= master.files_of("histogram")

    wait_until(both_have_answered)
    # A page that reads the database, until both hold a connection.
    wait_until(lambda: master.get("/apply").ok and pooled(master) >= 2)
    assert requests_of(master) == counted
    assert master.files_of("gauge_livesum") == first

    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed) and len(set(master.workers()) - first) == 1)
    wait_until(lambda: killed not in master.files_of("gauge_livesum"))
    wait_until(master.answers)
    assert requests_of(master) == counted, "what the dead worker counted is not lost"
    wait_until(lambda: pooled(master) >= 1)
    ask(10)
    assert requests_of(master) == counted
    assert killed in master.files_of("histogram")


def requests_of(master: Master) -> float:
    series, labels = master.series(), {"route": "none", "status": "404", "service": "onboarding"}
    timed = total(series, "id_http_request_duration_seconds_count", **labels)
    assert timed == total(series, "id_http_request_total", status="404", service="onboarding")
    return timed


def pooled(master: Master) -> float:
    """Connections of both processes, in use or idle."""
    return total(master.series(), "id_db_pool_connections", service="onboarding")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_counts_and_times_its_tasks_by_outcome(
    sample_app: Flask,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise ValueError("no luck today")

    def forget() -> None:
        """A cleanup."""

    parts = parts_of(sample_app)
    monkeypatch.setattr(parts.tasks, "functions", dict(parts.tasks.functions))
    monkeypatch.setattr(parts.tasks, "cleanups", dict(parts.tasks.cleanups))
    parts.tasks.task(fail)
    parts.tasks.cleanup(forget)
    parts.redis.delete("cleanup:notification.forget")

    def shown(name: str, **labels: str) -> float:
        text = exposition([parts.metrics.registry], World(sources_of(sample_app)))
        return total(read(text.decode()), name, **labels)

    celery = create_worker(sample_app)
    for outcome in ("success", "failure"):
        assert shown("id_tasks_done_total", task="notification.fail", outcome=outcome) == 0
    assert shown("id_cleanup_last_success_seconds", job="notification.forget") == 0
    # Workers that other tests have made in this process count this one too.
    remembered = shown("id_tasks_done_total", task="notification.remember", outcome="success")
    with start_worker(celery, pool="threads", perform_ping_check=False, shutdown_timeout=30):
        for name in ("fail", "forget", "remember"):
            assert parts.tasks.send(name, *(["counted"] if name == "remember" else []))
        wait_until(lambda: shown("id_tasks_done_total", task="notification.fail", outcome="failure") == 1)
        wait_until(lambda: shown("id_tasks_done_total", task="notification.forget", outcome="success") == 1)
        wait_until(
            lambda: shown("id_tasks_done_total", task="notification.remember", outcome="success") > remembered
        )
        assert shown("id_task_duration_seconds_count", task="notification.fail") == 1
        wait_until(lambda: shown("id_cleanup_last_success_seconds", job="notification.forget") > 0)
    assert shown("id_tasks_done_total", task="notification.fail", outcome="success") == 0
    assert sample.db is parts.db


@pytest.mark.parametrize("service", SERVICES)
def test_a_worker_shows_its_tasks_queue_and_database_from_the_start(
    make_app: Callable[[str], Flask], service: str
) -> None:
    app = make_app(service)
    series = of_worker(app)
    tasks = {dict(one.labels)["task"] for one in series if one.name == "id_tasks_done_total"}
    assert tasks == set(parts_of(app).tasks.functions)
    assert {entry.task for entry in SCHEDULE if entry.queue == service} <= tasks
    jobs = {dict(one.labels)["job"] for one in series if one.name == "id_cleanup_last_success_seconds"}
    assert jobs == set(parts_of(app).tasks.cleanups) >= {f"{service}.clear_events"}
    used = total(series, "id_db_server_connections", service=service)
    assert 1 <= used <= total(series, "id_db_server_connections_max", service=service)
    assert [one for one in series if one.name == "id_queue_depth" and ("queue", service) in one.labels]


def test_beat_says_when_it_ran_and_who_is_silent(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database of its own: heartbeats of workers that other tests have started go into the usual one.
    elsewhere = urlsplit(environment["REDIS_URL"])._replace(path="/7").geturl()
    client = redis.Redis.from_url(elsewhere, decode_responses=True)
    monkeypatch.setattr(beat.ConsiderateScheduler, "last_run", 0.0)
    client.flushdb()
    client.set(heartbeat_key("oidc"), 1234)
    series = of_beat(client)
    heartbeats = {
        service: total(series, "id_worker_heartbeat_seconds", service=service) for service in SERVICES
    }
    assert heartbeats == {"account": 0, "onboarding": 0, "oidc": 1234, "notification": 0}
    assert total(series, "id_beat_last_run_seconds") == total(series, "id_backup_last_success_seconds") == 0

    client.set(beat.BACKUP_KEY, 5678)
    app = create_beat()
    with contextlib.closing(
        beat.ConsiderateScheduler(app, schedule_filename=str(tmp_path / "schedule"))
    ) as running:
        running.tick()
    series = of_beat(client)
    assert abs(total(series, "id_beat_last_run_seconds") - time.time()) < 60
    assert total(series, "id_backup_last_success_seconds") == 5678
    client.flushdb()
    client.close()
    with contextlib.closing(redis.Redis.from_url(environment["REDIS_URL"])) as usual:
        usual.delete(*SERVICES)  # what the tick has queued for nobody


def test_sources_that_hang_do_not_hold_up_a_scrape_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "LONGEST_SCRAPE_S", 0.05)
    asked = []

    def hang() -> list[tuple[str, str, dict[str, str], float]]:
        asked.append(1)
        time.sleep(0.1)
        raise TimeoutError

    assert exposition([], World([hang, hang, hang])) == b""
    assert asked == [1]
