"""The things that are measured: one gunicorn worker with four threads, alone on a core of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2
import redis
import requests

from gateway.servers import free_port
from tests.running import ROOT, descendants

THREADS = 4
SERVER_CORE, OTHER_CORE = sorted(os.sched_getaffinity(0))[:2]


class Worker:
    """One gunicorn worker that serves an app on SERVER_CORE."""

    def __init__(self, app: str, folder: Path, environ: Mapping[str, str] | None = None):
        self.port = free_port()
        self.name = app
        self.log = folder / f"{app.partition(':')[0]}.log"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))},
            "WEB_CONCURRENCY": "1",
            "WEB_THREADS": str(THREADS),
            **(environ or {}),
        }
        self._environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

    def start(self) -> "Worker":
        """Start it, and wait for its first answer."""
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--bind"]
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [*command, f"127.0.0.1:{self.port}", self.name],
                cwd=ROOT,
                env=self._environ,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            with contextlib.suppress(requests.RequestException):
                requests.get(f"http://127.0.0.1:{self.port}/constant", timeout=5)
                return self
            time.sleep(0.1)
        raise AssertionError(f"{self.name} did not become ready: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    @property
    def pid(self) -> int:
        """The worker itself; the master only watches over it."""
        (pid,) = descendants(self.process.pid)
        return pid

    def pss_mb(self) -> float:
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(rollup.split("\nPss:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        """What the worker has used of its core since it began."""
        return cpu_s(self.pid)


def cpu_s(pid: int) -> float:
    """What a process has used of the machine since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def everything_else_on_the_other_core(database_url: str, redis_url: str) -> Iterator[None]:
    """This process, PostgreSQL and Redis leave SERVER_CORE to the worker."""
    pids = [os.getpid()]
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        status = Path(f"/proc/{connection.get_backend_pid()}/status")
        if status.exists():  # it runs on this machine
            postmaster = int(status.read_text().split("PPid:")[1].split()[0])
            pids += [postmaster, *descendants(postmaster)]
    redis_pid = redis.Redis.from_url(redis_url).info("server")["process_id"]
    if Path(f"/proc/{redis_pid}").exists():
        pids.append(redis_pid)
    for pid in pids:
        _move(pid, {OTHER_CORE})
    yield
    for pid in pids:
        _move(pid, {SERVER_CORE, OTHER_CORE})


@contextlib.contextmanager
def on_the_workers_core() -> Iterator[None]:
    """This thread takes the place of the worker, which has nothing to do meanwhile."""
    os.sched_setaffinity(0, {SERVER_CORE})
    yield
    os.sched_setaffinity(0, {OTHER_CORE})


def _move(pid: int, cores: set[int]) -> None:
    with contextlib.suppress(ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            os.sched_setaffinity(int(thread.name), cores)
