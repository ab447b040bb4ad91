"""A service whose broker, workers and relays are processes that tests may stop, hang and kill."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from gateway.servers import Redis, free_port
from libs.database import utcnow
from libs.messaging.broker import Broker
from libs.messaging.events import MailRequested
from libs.messaging.worker import bare_celery
from libs.service import connect_redis, parts_of
from tests.libs import sample
from tests.libs.conftest import sample_app, sample_settings
from tests.running import ROOT, wait_until

__all__ = ["sample_app", "sample_settings"]


class Process:
    """A worker or a relay."""

    def __init__(self, command: list[str], environ: dict[str, str], log: Path):
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.is_alive:
            self.process.kill()
        self.process.wait(10)


class Messenger:
    """The sample service in this process as producer, its workers and relays in others, and a broker of its own."""

    def __init__(self, app: Flask, server: Redis, folder: Path, database_url: str):
        self.app, self.server, self.folder = app, server, folder
        self.client = redis.Redis.from_url(server.url(), decode_responses=True)
        self.log = folder / "workers.jsonl"
        self.processes: list[Process] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))},
            "REDIS_URL": server.url(),
            "NOTIFICATION_DATABASE_URL": database_url,
            "STEPS": str(folder),
        }

    # -- what a test does to its world -----------------------------------------------------------------------------

    def worker(self, *, is_awaited: bool = True) -> Process:
        """A new worker, ready unless nobody waits for that."""
        port = free_port()
        celery = [str(Path(sys.executable).with_name("celery")), "--app", "tests.faults.messenger"]
        worker = Process(
            [*celery, "worker", "--hostname", f"{uuid.uuid4().hex}@localhost"],
            {**self.environ, "WORKER_PORT": str(port)},
            self.log,
        )
        self.processes.append(worker)
        if not is_awaited:
            return worker
        wait_until(lambda: _answers(port) or not worker.is_alive, 30)
        assert worker.is_alive, self.log.read_text()[-3000:]
        return worker

    def relay(self) -> Process:
        """A new relay, ready; it begins when `relays_may_begin` is called."""
        relay = Process([sys.executable, "-m", "tests.faults.messenger"], self.environ, self.log)
        self.processes.append(relay)
        wait_until((self.folder / f"relay-ready-{relay.process.pid}").exists, 30)
        return relay

    def relays_may_begin(self) -> None:
        (self.folder / "relay-may-begin").touch()

    def want(self, step: str) -> None:
        """Whoever comes to this step from now on stands still there."""
        (self.folder / f"wanted-{step}").touch()

    def wait_for(self, step: str) -> None:
        wait_until((self.folder / f"reached-{step}").exists, 20)

    def let_go(self, step: str) -> None:
        (self.folder / f"wanted-{step}").unlink()

    # -- what its service has done ---------------------------------------------------------------------------------

    def record(self, key: str | None = None, *, wakes: bool = False) -> str:
        """An event in the outbox; returns what it is about."""
        key = key or uuid.uuid4().hex
        with self.app.app_context(), sample.db.transaction() as session:
            sample.outbox.record(
                MailRequested(
                    template="t", recipient="a@b.test", locale="en", context={}, deduplication_key=key
                )
            )
            if not wakes:
                session.info["callbacks"].clear()
        return key

    def send(self) -> int:
        with self.app.app_context():
            return sample.outbox.relay()

    def come_due(self) -> None:
        """The minute after which an unconfirmed event is sent again is over."""
        with self.app.app_context(), sample.db.transaction() as session:
            session.execute(sample.outbox.deliveries.update().values(next_attempt_at=utcnow()))

    def effects(self, key: str) -> int:
        """How often the event took effect."""
        return int(self._ask(sa.select(sa.func.count()).where(sample.Note.text == f"handled {key}"))[0][0])

    def states(self) -> list[str]:
        """Of the outbox's rows, oldest first."""
        table = sample.outbox.deliveries
        return [row[0] for row in self._ask(sa.select(table.c.state).order_by(table.c.event_id))]

    def parked(self) -> list[Any]:
        with self.app.app_context():
            return sample.inbox.parked()

    def _ask(self, statement: Any) -> list[Any]:
        with self.app.app_context(), sample.db.transaction() as session:
            return list(session.execute(statement))


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def messenger(
    sample_app: Flask, sample_settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Messenger]:
    """Everything that earlier tests left behind is gone."""
    server = Redis(tmp_path / "redis", durable=False).start(embedded=False)
    steps = tmp_path / "steps"
    steps.mkdir()
    made = Messenger(sample_app, server, steps, sample_settings.DATABASE_URL)
    settings = parts_of(sample_app).settings.__class__.load(made.environ)
    broker = Broker(bare_celery(settings, only_sends=True), connect_redis(settings))
    for holder in (sample.outbox._relay, sample.inbox, sample.tasks):
        monkeypatch.setattr(holder, "_broker", broker)
    with sample_app.app_context(), sample.db.transaction() as session:
        for table in (sample.outbox.events, sample.inbox.table):
            session.execute(table.delete())
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
        if server.process:
            server.process.send_signal(signal.SIGCONT)
        server.stop()
