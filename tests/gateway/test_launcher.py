"""`make run`: one command, one port, one data folder; and what is left when it stops or is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gateway.routes import SERVICES
from tests.monitoring.expositions import read, total
from tests.running import ADMIN_EMAIL, ROOT, House, is_alive, wait_until

SECRETS = ("SECRET_KEY", "DATA_ENCRYPTION_KEYS", "EVENT_ENCRYPTION_KEYS")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "data")
    yield house
    if house.process:
        house.stop()


def refused(house: House, **environ: str) -> tuple[int, str]:
    """Exit code and words of a second start beside this one."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.launcher"],
        cwd=ROOT, env=house.environ | environ, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert not done.stdout
    return done.returncode, done.stderr.strip()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def is_ready(house: House) -> bool:
    return answers(f"{house.origin}/readyz")


def kept(house: House) -> dict[str, str]:
    lines = (house.folder / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_one_command_brings_up_everything_and_ctrl_c_takes_it_away(house: House) -> None:
    house.start()
    words = "".join(house.output)
    assert house.origin in words
    assert f"{ADMIN_EMAIL}, with the password of ADMIN_PASSWORD" in words
    assert is_ready(house)
    assert (house.folder / "environment").stat().st_mode & 0o777 == 0o600
    metrics = f"http://127.0.0.1:{house.metrics_port}/metrics"
    wait_until(lambda: answers(metrics))

    # Of web process, worker and beat in one, each series once.
    def is_all_there() -> bool:
        shown = read(requests.get(metrics, timeout=30).text)
        times = [total(shown, "id_worker_heartbeat_seconds", service=service) for service in SERVICES]
        return all([*times, total(shown, "id_beat_last_run_seconds"), total(shown, "id_db_pool_connections")])

    wait_until(is_all_there)

    users = house.command("account", "users", "list")
    assert ADMIN_EMAIL in users.stdout, users.stderr

    pids = house.processes()
    assert house.stop() == 0
    assert not any(map(is_alive, pids))
    users = house.command("account", "users", "list")
    assert users.returncode != 0
    assert "is not running: start it with make run." in users.stderr


def test_a_taken_folder_a_taken_port_and_a_bad_setting_are_a_sentence(house: House, tmp_path: Path) -> None:
    house.start()
    other = str(tmp_path / "other")

    code, words = refused(house)
    assert code == 1
    assert words.startswith(f"The data folder {house.folder} is in use")
    assert "\n" not in words

    code, words = refused(house, DATA_DIR=other)
    assert code == 1
    assert words == f"Port {house.port} is taken: stop what listens there, or name another in PORT."

    code, words = refused(house, DATA_DIR=other, PORT="many")
    assert code == 2
    assert words.startswith("PORT must be")
    assert is_ready(house)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PUBLIC_URL", "http://id.example.org"), ("SECRET_KEY", "short"), ("ACCOUNT_UPSTREAM", "here")],
)
def test_a_bad_setting_is_a_sentence_and_code_2(house: House, name: str, value: str) -> None:
    code, words = refused(house, **{name: value})
    assert code == 2, words
    assert words.startswith(name)
    assert "\n" not in words


@pytest.mark.soak
def test_after_kill_9_of_everything_it_starts_again_with_what_it_had(house: House) -> None:
    house.start()
    before = kept(house)
    house.kill_everything()

    house.start()
    assert f"{ADMIN_EMAIL}, with the password of the first start" in "".join(house.output)
    assert {name: kept(house)[name] for name in SECRETS} == {name: before[name] for name in SECRETS}
    assert house.command("account", "users", "list").stdout.count(ADMIN_EMAIL) == 1


def test_kill_9_of_the_launcher_alone_leaves_nothing_behind(house: House) -> None:
    house.start()
    pids = house.processes()
    assert house.process is not None
    house.process.kill()
    wait_until(lambda: not any(map(is_alive, pids)), seconds=10)


def test_a_process_that_dies_is_started_again(house: House) -> None:
    house.start()
    assert house.process is not None
    children = Path(f"/proc/{house.process.pid}/task/{house.process.pid}/children").read_text().split()
    assert len(children) == 4  # PostgreSQL, Valkey, web, worker
    for pid in map(int, children):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "".join(house.output).count("started again") == 4, seconds=20)
    wait_until(lambda: is_ready(house), seconds=20)
    assert ADMIN_EMAIL in house.command("account", "users", "list").stdout
