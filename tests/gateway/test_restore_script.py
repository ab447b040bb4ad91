"""restore.sh: databases change places, all of them or none, and whatever a server does not say stops it."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
import sqlalchemy as sa

from gateway.backup.manifest import BackupError
from gateway.backup.programs import LIST, MOST_BYTES, SERVICE_FILE, Programs
from tests.conftest import SERVICES
from tests.running import wait_until

ASIDE = "before_20260116_022300"


@pytest.fixture
def four(environment: dict[str, str]) -> Iterator[Programs]:
    """Databases with nothing in them, and others that are to take their places. Their names are as long as may be."""
    values = {
        f"{service.upper()}_DATABASE_URL": urlsplit(environment["ACCOUNT_DATABASE_URL"])
        ._replace(path=f"/{f'swap_{os.getpid()}_{service}_':_<{MOST_BYTES}}")
        .geturl()
        for service in SERVICES
    }
    with Programs(values) as programs:
        for service, name in programs.databases.items():
            programs.ask(service, f'CREATE DATABASE "{name}"', database="postgres")
            programs.ask(service, "CREATE TABLE old ()")
            programs.ask(service, f'CREATE DATABASE "{name}_restoring"', database="postgres")
        yield programs
        for service, name in programs.databases.items():
            for suffix in ("", "_restoring", f"_{ASIDE}"):
                programs.ask(
                    service, f'DROP DATABASE IF EXISTS "{name}{suffix}" WITH (FORCE)', database="postgres"
                )


@pytest.fixture
def held(four: Programs, environment: dict[str, str]) -> Iterator[sa.Engine]:
    """Somebody is connected to the third database, so that it cannot move. PostgreSQL waits five seconds for that."""
    url = environment["ACCOUNT_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:", 1)
    engine = sa.create_engine(urlsplit(url)._replace(path=f"/{four.databases['oidc']}").geturl())
    with engine.connect():
        yield engine
    engine.dispose()


def swap(four: Programs) -> None:
    four.run("restore.sh", "swap", "restoring", ASIDE)


def started(programs: Programs, *step: str) -> "subprocess.Popen[str]":
    """A step that is under way."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "PATH": f"{programs._path}{os.pathsep}{os.environ['PATH']}",
        "PGSERVICEFILE": str(programs.folder / SERVICE_FILE),
        "DATABASES": str(programs.folder / LIST),
    }
    command = ["sh", str(programs.folder / "restore.sh"), *step]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_old(programs: Programs, service: str) -> bool:
    return programs.ask(service, "SELECT count(*) FROM pg_tables WHERE tablename = 'old'") == "1"


def is_there(programs: Programs, name: str) -> bool:
    found = programs.ask(
        "account", f"SELECT 1 FROM pg_database WHERE datname = '{name}'", database="postgres"
    )
    return found == "1"


def logs_in_as(programs: Programs, service: str, role: str, password: str) -> None:
    """From now on this service's line of the service file names somebody else."""
    file = programs.folder / SERVICE_FILE
    sections = file.read_text().split("\n\n")
    for number, section in enumerate(sections):
        if section.startswith(f"[{service}]"):
            section = re.sub(r"(?m)^user=.*$", f"user={role}", section)
            sections[number] = re.sub(r"(?m)^password=.*$", f"password={password}", section)
    file.write_text("\n\n".join(sections))


def test_databases_change_places_all_of_them_or_none_whoever_loses_patience(
    four: Programs, held: sa.Engine
) -> None:
    process = started(four, "swap", "restoring", ASIDE)
    wait_until(lambda: is_there(four, f"{four.databases['notification']}_{ASIDE}"))
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert "the present ones are where they were" in said
    assert process.returncode == 1
    assert all(is_old(four, service) for service in SERVICES)
    assert all(is_there(four, f"{name}_restoring") for name in four.databases.values())


def test_those_of_before_stay_aside_and_where_there_was_none_the_fresh_one_stands(four: Programs) -> None:
    four.run("restore.sh", "quiet")
    lost = four.databases["account"]
    four.ask("account", f'DROP DATABASE "{lost}"', database="postgres")
    swap(four)
    assert not any(is_old(four, service) for service in SERVICES)
    aside = {name for name in four.databases.values() if is_there(four, f"{name}_{ASIDE}")}
    assert aside == set(four.databases.values()) - {lost}


def test_where_a_server_does_not_say_what_is_there_nothing_is_touched(four: Programs) -> None:
    """One that refuses us is not one without databases."""
    file = four.folder / SERVICE_FILE
    mine = file.read_text()
    for step in (("quiet",), ("swap", "restoring", ASIDE), ("drop", "restoring")):
        logs_in_as(four, "notification", "nobody_at_all", "wrong")
        with pytest.raises(BackupError, match="nobody_at_all"):
            four.run("restore.sh", *step)
        file.write_text(mine)
        assert all(is_old(four, service) for service in SERVICES)
    name = four.databases["account"]
    four.ask("account", f'DROP DATABASE "{name}_restoring"', database="postgres")
    with pytest.raises(BackupError, match=f"There is no {name}_restoring .* nothing was touched"):
        swap(four)
    assert all(is_old(four, service) for service in SERVICES)


@pytest.fixture
def acting(environment: dict[str, str]) -> Iterator[tuple[Programs, sa.Engine]]:
    """A service as it connects to its database once its password was changed: by a login that acts as the owner.

    The scripts do, too, so that PostgreSQL shows them little of it. The other databases are not there.
    """
    owner, login = f"owner_{os.getpid()}", f"login_{os.getpid()}"
    url = sa.make_url(environment["ACCOUNT_DATABASE_URL"])
    administrator = sa.create_engine(
        url.set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
    )
    url = url.set(username=login, password="acting", database=f"acting_{os.getpid()}")
    with administrator.connect() as connection:
        for statement in (
            f"CREATE ROLE {owner} NOLOGIN",
            f"CREATE ROLE {login} LOGIN PASSWORD 'acting'",
            f"GRANT {owner} TO {login}",
            f"ALTER ROLE {login} SET role TO {owner}",
            f"CREATE DATABASE {url.database} OWNER {owner}",
        ):
            connection.execute(sa.text(statement))
    values = {
        f"{service.upper()}_DATABASE_URL": url.set(database=f"{url.database}{suffix}").render_as_string(
            hide_password=False
        )
        for service, suffix in zip(SERVICES, ("", "_2", "_3", "_4"), strict=True)
    }
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
    with Programs(values) as programs:
        yield programs, engine
    with administrator.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        connection.execute(sa.text(f"DROP ROLE {login}, {owner}"))


def test_who_is_connected_is_seen_by_whoever_may_not_look_at_what_they_do_and_a_backup_is_waited_for(
    acting: tuple[Programs, sa.Engine],
) -> None:
    programs, engine = acting
    programs.run("restore.sh", "settled")
    with engine.connect() as connection:
        acts_as = connection.execute(sa.text("SELECT current_user")).scalar_one()
        assert programs.ask("account", "SELECT current_user") == acts_as
        for step in ("quiet", "settled"):
            with pytest.raises(
                BackupError, match=r"1 connection\(s\) to acting_\d+: stop the services first"
            ):
                programs.run("restore.sh", step)
        connection.execute(sa.text("SET application_name = 'id-backup'"))
        with started(programs, "settled") as process:
            assert process.stdout
            assert "waiting until it has ended" in process.stdout.readline()
            assert process.poll() is None
            connection.close()
            assert process.wait(60) == 0


def test_a_name_that_leaves_no_room_for_what_is_added_is_refused(environment: dict[str, str]) -> None:
    """PostgreSQL cuts what is longer off, and would drop the very database that a backup is to take the place of."""
    longest = "x" * 63
    with Programs(environment) as here:
        here.ask("account", f'CREATE DATABASE "{longest}"', database="postgres")
        for name in (longest, "ы" * 20 + "x"):
            url = urlsplit(environment["ACCOUNT_DATABASE_URL"])._replace(path=f"/{quote(name)}").geturl()
            values = {f"{service.upper()}_DATABASE_URL": url for service in SERVICES}
            with pytest.raises(BackupError, match="most that has room"), Programs(values) as programs:
                programs.run("restore.sh", "drop", "restoring")
        assert is_there(here, longest)
        here.ask("account", f'DROP DATABASE "{longest}"', database="postgres")


@pytest.mark.soak  # PostgreSQL's five seconds pass
def test_where_a_server_goes_away_halfway_it_says_which_could_not_be_put_back(
    four: Programs, held: sa.Engine
) -> None:
    mine = (four.folder / SERVICE_FILE).read_text()
    role, name = f"swapper_{os.getpid()}", four.databases["notification"]
    four.ask("account", f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'halfway'", database="postgres")
    logs_in_as(four, "notification", role, "halfway")
    said: list[str] = []

    def run() -> None:
        try:
            swap(four)
        except BackupError as error:
            said.append(str(error))

    swapping = threading.Thread(target=run)
    swapping.start()
    wait_until(lambda: is_there(four, f"{name}_{ASIDE}"))
    four.ask("account", f"ALTER ROLE {role} NOLOGIN", database="postgres")
    swapping.join()
    (four.folder / SERVICE_FILE).write_text(mine)
    four.ask("account", f"DROP ROLE {role}", database="postgres")
    assert f"Start nothing. Of {name} the present one has the suffix _{ASIDE}" in said[0]
    assert not is_old(four, "notification")
    others = [service for service in SERVICES if service != "notification"]
    assert all(is_old(four, service) for service in others)
