"""The servers that come with the suite, and the folder that holds their data."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from gateway.data_folder import DataFolder
from gateway.servers import Postgres, Redis, ServerError

WRITE = "CREATE TABLE IF NOT EXISTS kept (value int); INSERT INTO kept VALUES (1)"


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    # A kill is no power cut: nothing here needs the disk to have been asked.
    server = Postgres(tmp_path / "postgres", durable=False)
    yield server.start()
    server.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server.start()
    server.stop()


def ask(server: Postgres, statement: str, database: str = "postgres") -> list[tuple]:
    connection = psycopg2.connect(server.url(database))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_postgres_makes_a_database_per_service_once(postgres: Postgres) -> None:
    postgres.create_databases()
    postgres.create_databases()
    names = {name for (name,) in ask(postgres, "SELECT datname FROM pg_database")}
    assert {"id_account", "id_onboarding", "id_oidc", "id_notification"} <= names


def test_what_postgres_acknowledged_survives_a_kill_of_all_its_processes(postgres: Postgres) -> None:
    ask(postgres, WRITE)
    session = psycopg2.connect(postgres.url("postgres"))
    assert postgres.process is not None
    postgres.process.kill()
    postgres.process.wait()
    postgres.start()
    session.close()
    assert ask(postgres, "SELECT count(*) FROM kept") == [(1,)]


def test_postgres_starts_over_a_lock_whose_number_is_another_programs_by_now(postgres: Postgres) -> None:
    postgres.stop()
    lock = postgres.folder / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{postgres.folder}/data\n0\n{postgres.port}\n\n127.0.0.1\n0\nready\n")
    postgres.start()
    assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_folder_of_another_major_is_refused_with_the_way_out(postgres: Postgres) -> None:
    postgres.stop()
    (postgres.folder / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ServerError, match=r"was written by PostgreSQL 14.*pg_dumpall.*psql"):
        postgres.start()


def test_a_stranger_on_the_machine_is_not_let_in(postgres: Postgres, cache: Redis) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(f"postgresql://postgres:wrong@127.0.0.1:{postgres.port}/postgres")
    with redis.Redis(port=cache.port, retry=None) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    for server in (postgres, cache):
        assert (server.folder / "password").stat().st_mode & 0o077 == 0


def test_redis_keeps_what_it_was_told_and_throws_nothing_away(cache: Redis) -> None:
    with redis.Redis.from_url(cache.url()) as connection:
        connection.set("kept", "1")
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    port = cache.port
    cache.stop()
    cache.start()
    assert cache.port == port
    with redis.Redis.from_url(cache.url()) as connection:
        assert connection.get("kept") == b"1"


def test_servers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    start = (
        "import sys, time; from pathlib import Path; from gateway.servers import Postgres, Redis;"
        "folder = Path(sys.argv[1]); servers = Postgres(folder / 'p').start(), Redis(folder / 'r').start();"
        "print(*(server.process.pid for server in servers), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_data_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.claim()
    first.announce({"ID_ENV": "development"})
    with pytest.raises(ServerError, match="is in use"):
        second.claim()
    first.release()
    second.claim()
    second.release()


def test_secrets_are_made_once_and_a_given_one_does_not_replace_them(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.claim()
    first = folder.environment({})
    folder.announce(first)
    second = folder.environment(
        {"SECRET_KEY": "given", "REDIS_URL": "redis://elsewhere.test/0", "LOG_LEVEL": "DEBUG"}
    )
    folder.release()
    assert second["SECRET_KEY"] == first["SECRET_KEY"]
    assert second["DATA_ENCRYPTION_KEYS"] == first["DATA_ENCRYPTION_KEYS"] != first["EVENT_ENCRYPTION_KEYS"]
    assert second["REDIS_URL"] == "redis://elsewhere.test/0"
    assert "LOG_LEVEL" not in second


def test_the_environment_file_is_private_and_names_its_process_only_while_it_lives(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.claim()
    folder.announce(folder.environment({}))
    file = tmp_path / "environment"
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"LAUNCHER_PID={os.getpid()}\n" in file.read_text()
    folder.release()
    assert "LAUNCHER_PID" not in file.read_text()
    assert "SECRET_KEY=" in file.read_text()
