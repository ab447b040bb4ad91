"""A backlog of mail drains through two workers about as fast as two bare loops of smtplib could send it."""

import contextlib
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from gateway.servers import free_port
from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.flows.messages import request_mail
from services.notification.models import Attempt, Message
from tests.bench.serving import cpu_s
from tests.running import ROOT
from tests.sink import received

MAILS = int(os.environ.get("BENCH_MAILS") or 10_000)
ROUNDS = int(os.environ.get("BENCH_MAIL_ROUNDS") or 3)
UNSYNCED = bool(os.environ.get("BENCH_MAIL_UNSYNCED"))
WORKERS = 2
SWEEP_INTERVAL_S = 5
LEAST_RATIO = 0.7
MOST_GROWTH_MB = 6.0

BARE = """
import pathlib, smtplib, sys, time
port, content, number, count = int(sys.argv[1]), pathlib.Path(sys.argv[2]).read_bytes(), sys.argv[3], int(sys.argv[4])
with smtplib.SMTP("127.0.0.1", port, local_hostname="bench.test") as smtp:
    for place in range(count):
        smtp.sendmail("id@updspace.test", [f"bare-{number}-{place}@people.test"], content)
print(time.process_time())
"""


class Target:
    """The sink, as a process of its own that has each mail on its disk before it says 250, as every server must."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()

    def __enter__(self) -> "Target":
        command = [sys.executable, "-m", "tests.sink", "--port", str(self.port), "--folder", str(self.folder)]
        command += ["--unsynced"] if UNSYNCED else []
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)

    def count(self) -> int:
        return sum(name.endswith(".eml") for name in os.listdir(self.folder))

    def rate(self, began: float = 0) -> float:
        """Mails a second from then, or from the first one, until the last one came."""
        times = [int(file.stem) / 1e9 for file in self.folder.glob("*.eml")]
        return len(times) / (max(times) - (began or min(times)))


@contextlib.contextmanager
def worker(environment: dict[str, str], target: Target, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker of the service, as the suite starts it, ready."""
    command = [sys.executable, "-m", "celery", "--app", "services.notification.worker", "worker"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))}
    settings |= {**environment, "SMTP_URL": f"smtp://127.0.0.1:{target.port}"}
    settings.pop("WORKER_PORT", None)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, "--loglevel", "INFO"], env=settings, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def pss_mb(process: subprocess.Popen[bytes]) -> float:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) / 1024


def wait_until(condition: Callable[[], bool], *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@dataclass(frozen=True)
class Run:
    """What came of a run: mails a second, and what each cost, microseconds of a core, by who spent them."""

    rate: float
    cost_us: dict[str, float]

    def __str__(self) -> str:
        costs = ", ".join(f"{name} {cost:.0f}" for name, cost in self.cost_us.items())
        return f"{self.rate:.0f}/s (us of a core each: {costs})"


def bare(folder: Path, content: bytes) -> Run:
    """A loop over one connection in each of as many processes as there are workers."""
    with Target(folder) as target:
        (folder / "content").write_bytes(content)
        share = [str(target.port), str(folder / "content")]
        before = cpu_s(target.process.pid)
        loops = [
            subprocess.Popen(
                [sys.executable, "-c", BARE, *share, str(number), str(MAILS // WORKERS)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(WORKERS)
        ]
        loops_s = sum(float(loop.communicate(timeout=300)[0]) for loop in loops)
        sink_s = cpu_s(target.process.pid) - before
        return Run(target.rate(), {"loops": loops_s / MAILS * 1e6, "sink": sink_s / MAILS * 1e6})


def ours(app: Flask, environment: dict[str, str], folder: Path) -> tuple[Run, list[float], bytes]:
    """What two workers do; how much more memory each has at the end than at a quarter; and one of the mails."""
    parts = parts_of(app)
    link = f"{parts.settings.PUBLIC_URL}/apply/confirm?token="
    with app.app_context(), parts.db.transaction() as session:
        session.execute(sa.delete(Message))
    with app.app_context():
        for _ in range(MAILS):
            request_mail(
                template="confirm_address",
                recipient=f"ada-{secrets.token_hex(6)}@people.test",
                locale="en",
                context={
                    "name": "Ada",
                    "link": f"{link}{secrets.token_urlsafe(32)}",
                },
                deduplication_key=f"bench:{secrets.token_hex(12)}",
                asked_by="onboarding",
            )
    parts.redis.delete("notification")  # as after an hour without a server: rows, and no tasks
    logs = [folder.parent / f"{folder.name}-worker-{number}.log" for number in range(WORKERS)]
    with Target(folder) as target, contextlib.ExitStack() as running:
        workers = [running.enter_context(worker(environment, target, log)) for log in logs]
        wait_until(lambda: all(" ready" in log.read_text() for log in logs))
        before = spent(app, workers, target)
        began = swept = time.time()
        sweep(app)
        quarter: list[float] = []
        while (count := target.count()) < MAILS:
            if not quarter and count >= MAILS // 4:
                quarter = [pss_mb(process) for process in workers]
            if time.time() - swept > SWEEP_INTERVAL_S:
                swept = time.time()
                sweep(app)
            assert time.time() - began < 300, f"{count} mails came"
            time.sleep(0.5)
        end = [pss_mb(process) for process in workers]
        after = spent(app, workers, target)
        costs = {name: (after[name] - before[name]) / MAILS * 1e6 for name in after}
        run = Run(target.rate(began), costs)
    prove(app, folder)
    some_mail = next(folder.glob("*.eml")).read_bytes().partition(b"\r\n")[2].partition(b"\r\n")[2]
    return run, [last - first for first, last in zip(quarter, end, strict=True)], some_mail


def spent(app: Flask, workers: list[subprocess.Popen[bytes]], target: Target) -> dict[str, float]:
    """Seconds of a core until now; PostgreSQL's by the processes that serve us."""
    with app.app_context():
        session = parts_of(app).db.session
        query = sa.text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        backends = session.scalars(query).all()
        session.rollback()
    return {
        "workers": sum(cpu_s(process.pid) for process in workers),
        "PostgreSQL": sum(cpu_s(pid) for pid in backends),
        "sink": cpu_s(target.process.pid),
    }


def sweep(app: Flask) -> None:
    """What beat asks for every few seconds."""
    with app.app_context():
        delivery.sweep()


def prove(app: Flask, folder: Path) -> None:
    """Every mail came once, and is written down as sent by its first attempt."""
    mails = received(folder)
    assert len({mail.message_id for mail in mails}) == len(mails) == MAILS
    with app.app_context():
        session = parts_of(app).db.session
        states = session.execute(sa.select(Message.state, sa.func.count()).group_by(Message.state)).all()
        attempts = session.execute(sa.select(Attempt.result, sa.func.count()).group_by(Attempt.result)).all()
        session.rollback()
    assert [tuple(row) for row in (*states, *attempts)] == [("sent", MAILS)] * 2


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_ten_thousand_mails_drain_through_two_workers(
    notification_app: Flask, environment: dict[str, str], tmp_path: Path
) -> None:
    ratios, growths = [], []
    content = b""
    for number in range(ROUNDS):
        our_run, growth, some_mail = ours(notification_app, environment, tmp_path / f"ours-{number}")
        content = content or some_mail
        bare_run = bare(tmp_path / f"bare-{number}", content)
        ratios.append(our_run.rate / bare_run.rate)
        growths.append(max(growth))
        print(
            f"\n{MAILS} mails of {len(content)} bytes: ours {our_run}, bare {bare_run}, ratio {ratios[-1]:.2f}, "
            f"{growths[-1]:+.1f} MB from a quarter to the end"
        )
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    assert statistics.median(growths) <= MOST_GROWTH_MB
    assert statistics.median(ratios) >= LEAST_RATIO
