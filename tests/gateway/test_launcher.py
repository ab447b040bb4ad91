"""`make run`: one command, one port, one data folder; and what is left when it stops or is killed."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 8
MOST_PSS_MB = 400


class Run:
    """One `make run` on a port and in a folder of its own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.port, metrics_port = free_ports(2)
        self.folder = folder
        # Nothing of this test run's own settings reaches it.
        self.environ = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "METRICS_PORT": str(metrics_port),
        } | environ
        self.output = folder.with_suffix(".output")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Run":
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.launcher"],
                cwd=ROOT, env=self.environ, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self

    def wait_until_ready(self, timeout_s: float = 60) -> "Run":
        deadline = time.monotonic() + timeout_s
        while not (self.status("/readyz") == 200 and "Ctrl-C" in self.output.read_text()):
            assert self.process is not None and self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.05)
        return self

    def status(self, path: str) -> int:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def processes(self) -> list[int]:
        """The launcher and all that come from it."""
        assert self.process is not None
        found, parents = [self.process.pid], parents_of_all()
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(30)

    def fails(self) -> tuple[int, str]:
        """Exit code and words of a run that is not to start."""
        code = self.start().process.wait(30)  # type: ignore[union-attr]
        return code, self.output.read_text().strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A flask command from the checkout, which knows nothing but the data folder."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("flask")), *arguments],
            cwd=ROOT, env={"PATH": os.environ["PATH"], "DATA_DIR": str(self.folder)}, capture_output=True, text=True,
        )  # fmt: skip


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(name: str = "data", **environ: str) -> Run:
        runs.append(Run(tmp_path / name, **environ))
        return runs[-1]

    yield make
    for run in runs:
        if run.process and run.process.poll() is None:
            run.stop()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def parents_of_all() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                found[int(entry.name)] = int(fields[1])
    return found


def wait_until_gone(pids: list[int], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while left := set(pids) & set(parents_of_all()):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def test_one_command_brings_up_everything_and_ctrl_c_takes_it_away(make_run: Callable[..., Run]) -> None:
    run = make_run().start().wait_until_ready()
    words = run.output.read_text()
    assert f"http://localhost:{run.port}" in words
    assert "admin@updspace.test, with the password" in words
    assert (run.folder / "environment").stat().st_mode & 0o777 == 0o600

    users = run.command("--app", "services.account", "users", "list")
    assert "admin@updspace.test" in users.stdout, users.stderr

    pids = run.processes()
    assert run.stop() == 0
    wait_until_gone(pids)
    users = run.command("--app", "services.account", "users", "list")
    assert users.returncode != 0
    assert "is not running: start it with make run." in users.stderr


def test_a_taken_folder_a_taken_port_and_a_bad_setting_are_a_sentence(make_run: Callable[..., Run]) -> None:
    first = make_run().start().wait_until_ready()
    code, words = make_run().fails()
    assert code == 1
    assert words.startswith(f"The data folder {first.folder} is in use")
    assert "\n" not in words

    code, words = make_run("other", PORT=str(first.port)).fails()
    assert code == 1
    assert words == f"Port {first.port} is taken: stop what listens there, or name another in PORT."

    code, words = make_run("other", PORT="many").fails()
    assert code == 2
    assert words.startswith("PORT must be")

    code, words = make_run("other", PUBLIC_URL="http://id.example.org").fails()
    assert code == 2
    assert words.startswith("PUBLIC_URL must")
    assert first.status("/readyz") == 200


def test_after_kill_9_of_everything_it_starts_again_with_what_it_had(make_run: Callable[..., Run]) -> None:
    run = make_run(ADMIN_EMAIL="first@updspace.test").start().wait_until_ready()
    secrets = (run.folder / "environment").read_text().splitlines()[1:4]
    pids = run.processes()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert run.process is not None
    run.process.wait()
    wait_until_gone(pids)

    run.start().wait_until_ready()
    assert "first@updspace.test, with the password of the first start" in run.output.read_text()
    assert (run.folder / "environment").read_text().splitlines()[1:4] == secrets


def test_kill_9_of_the_launcher_alone_leaves_nothing_behind(make_run: Callable[..., Run]) -> None:
    run = make_run().start().wait_until_ready()
    pids = run.processes()
    run.stop(signal.SIGKILL)
    wait_until_gone(pids)
    run.start().wait_until_ready()


def test_a_process_that_dies_is_started_again(make_run: Callable[..., Run]) -> None:
    run = make_run().start().wait_until_ready()
    assert run.process is not None
    children = [pid for pid, parent in parents_of_all().items() if parent == run.process.pid]
    assert len(children) == 4  # PostgreSQL, Valkey, web, worker
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(children)
    deadline = time.monotonic() + 20
    while run.output.read_text().count("started again") < 4:
        assert time.monotonic() < deadline, run.output.read_text()
        time.sleep(0.05)
    run.wait_until_ready()
    assert run.command("--app", "services.account", "users", "list").returncode == 0


@pytest.mark.bench
def test_it_is_ready_in_time_and_small_at_rest(make_run: Callable[..., Run]) -> None:
    run = make_run()
    for _ in ("first", "again"):
        began = time.monotonic()
        run.start().wait_until_ready()
        took_s = time.monotonic() - began
        assert took_s < READY_WITHIN_S
        time.sleep(15)  # the schedule's tasks have all run, and what starting needed is given back
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in run.processes()]
        pss_mb = sum(int(rollup.split("\nPss:")[1].split()[0]) for rollup in rollups) / 1024
        print(f"ready in {took_s:.1f} s, {pss_mb:.0f} MB PSS in {len(rollups)} processes")
        assert pss_mb < MOST_PSS_MB
        run.stop()
