"""Keys and logins take turns: what a step makes of what is there, when it is refused, and that twice is once."""

import base64
import secrets
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from libs.guard.secrets import fresh, logins
from libs.guard.secrets.rings import TURNING, CannotTurn, Ring
from libs.settings import Settings
from tests.libs import sample
from tests.libs.test_settings import GOOD
from tests.running import wait_until


def encoded(*values: str) -> str:
    """As kubectl prints entries of a Secret."""
    return " ".join(base64.b64encode(value.encode()).decode() for value in values)


def settings_of(ring: Ring) -> Settings:
    """Of a process that begins with it."""
    return Settings.load({**GOOD, **ring.as_patch()["stringData"]})


def read_again(ring: Ring) -> Ring:
    return Ring.read(ring.setting, encoded(*ring.as_patch()["stringData"].values()))


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", TURNING)
def test_a_turn_keeps_what_is_there_and_ends_with_the_new_key_alone(setting: str) -> None:
    begun = Ring.read(setting, encoded(GOOD[setting])).with_new()  # an earlier turn is not over
    added = read_again(begun).with_new()
    assert added.keys[:2] == begun.keys
    assert Ring.of(settings_of(added), setting) == added, "a process takes it"
    promoted = read_again(added).promoted(added.names[-1], known=added)
    assert promoted.keys == (added.keys[-1], *begun.keys)
    assert Ring.of(settings_of(promoted), setting) == promoted
    assert read_again(promoted).promoted(added.names[-1], known=promoted) == promoted, "twice is once"
    trimmed = read_again(promoted).trimmed(known=promoted)
    assert trimmed.keys == added.keys[-1:]
    assert read_again(trimmed).trimmed(known=trimmed) == trimmed
    assert settings_of(trimmed)


@pytest.mark.parametrize("setting", TURNING)
def test_a_step_is_refused_while_the_one_before_has_not_ended(setting: str) -> None:
    before = Ring.read(setting, encoded(GOOD[setting]))
    added = before.with_new()
    with pytest.raises(CannotTurn, match=r"does not know .* yet"):
        added.promoted(added.names[-1], known=before)
    promoted = added.promoted(added.names[-1], known=added)
    with pytest.raises(CannotTurn, match=f"uses {before.names[0]} still"):
        promoted.trimmed(known=added)


@pytest.mark.parametrize("setting", TURNING)
def test_what_is_refused_repeats_no_key(setting: str) -> None:
    ring = Ring.read(setting, encoded(GOOD[setting]))
    for text in ("", " ", f" {encoded(GOOD[setting])}", GOOD[setting] + "!"):
        with pytest.raises(CannotTurn, match=setting) as refused:
            Ring.read(setting, text)
        assert GOOD[setting] not in str(refused.value)
    for name in ("", "nobody"):
        with pytest.raises(CannotTurn, match="It has") as refused:
            ring.promoted(name, known=ring)
        assert ring.keys[0] not in str(refused.value) + repr(ring)


# -- logins --------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(
    environment: dict[str, str], servers: dict[str, str]
) -> Iterator[tuple[sa.Engine, sample.SampleSettings]]:
    """An administrator, and the settings of a service whose database belongs to the role that it comes by."""
    name, password = f"turns_{secrets.token_hex(4)}", "p@ss/word: of the first day"
    admin = sa.create_engine(
        servers["DATABASE"].replace("postgresql://", "postgresql+psycopg2://", 1),
        isolation_level="AUTOCOMMIT",
    )
    run(admin, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'", f"CREATE DATABASE {name} OWNER {name}")
    url = sa.make_url(servers["DATABASE"]).set(username=name, password=password, database=name)
    address = url.render_as_string(hide_password=False)
    yield admin, sample.SampleSettings.load({**environment, "NOTIFICATION_DATABASE_URL": address})
    roles = run(admin, f"SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{name}_')")
    run(admin, f"DROP DATABASE {name} WITH (FORCE)", *(f"DROP ROLE {role}" for role in [*roles, name]))
    admin.dispose()


def run(engine: sa.Engine, *statements: str) -> list[str]:
    """Returns the first column of what the last one answers."""
    with engine.connect() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return list(result.scalars()) if result.returns_rows else []


def service(settings: sample.SampleSettings) -> sa.Engine:
    return sa.create_engine(settings.sqlalchemy_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")


def moved(
    admin: sa.Engine, settings: sample.SampleSettings, environment: dict[str, str]
) -> sample.SampleSettings:
    """The service after steps 1 and 2; step 1 is taken twice."""
    password = fresh.MAKERS["PASSWORD"]()
    with service(settings).connect() as connection:
        login = logins.next_login(connection, password)
        owner = connection.execute(sa.text("SELECT current_user")).scalar_one()
        with pytest.raises(CannotTurn, match="does not work yet"):
            logins.try_login(settings, login, password, owner=owner)
        for _ in range(2):
            told = list(logins.statements(connection, password))
            assert password not in " ".join(told)
            run(admin, *told)
    logins.try_login(settings, login, password, owner=owner)
    address = logins.address(settings, login, password)
    return sample.SampleSettings.load({**environment, "NOTIFICATION_DATABASE_URL": address})


def closing(settings: sample.SampleSettings) -> list[logins.Closing]:
    with service(settings).connect() as connection:
        return list(logins.closings(connection, sa.make_url(settings.DATABASE_URL).username or ""))


def statements_of(settings: sample.SampleSettings) -> list[str]:
    """Once PostgreSQL has noticed who hung up."""
    wait_until(lambda: all(found.statement for found in closing(settings)))
    return [str(found.statement) for found in closing(settings)]


def test_logins_turn_twice_and_what_they_make_belongs_to_one_owner(
    owned: tuple[sa.Engine, sample.SampleSettings], environment: dict[str, str]
) -> None:
    admin, first = owned
    owner = sa.make_url(first.DATABASE_URL).username
    with pytest.raises(CannotTurn, match="make the next one first"):
        closing(first)
    run(service(first), "CREATE TABLE at_first (n int)")
    second = moved(admin, first, environment)
    with service(first).connect() as somebody:
        somebody.exec_driver_sql("SELECT 1")
        [kept] = closing(second)
        assert (kept.says.startswith(f"{owner}: 1 connection"), kept.statement) == (True, None)
    run(admin, *statements_of(second))
    with pytest.raises(sa.exc.OperationalError):
        run(service(first), "SELECT 1")

    run(service(second), "ALTER TABLE at_first ADD m int", "CREATE TABLE at_second (n int)")
    third = moved(admin, second, environment)
    run(service(third), "ALTER TABLE at_second ADD m int")
    statements = statements_of(third)
    assert [statement.split()[0] for statement in statements] == ["DROP", "ALTER"]
    run(admin, *statements)
    with pytest.raises(sa.exc.OperationalError):
        run(service(second), "SELECT 1")
    owners = run(service(third), "SELECT DISTINCT tableowner::text FROM pg_tables WHERE tablename ~ '^at_'")
    assert owners == [owner]
    assert [statement.split()[0] for statement in statements_of(third)] == ["ALTER"], "twice is once"


def test_an_owner_of_several_databases_keeps_its_password_while_another_service_comes_by_it(
    owned: tuple[sa.Engine, sample.SampleSettings], environment: dict[str, str]
) -> None:
    """As on staging, where one role owns all four; and a login of another database is nobody's here."""
    admin, first = owned
    owner = sa.make_url(first.DATABASE_URL).username
    run(admin, f"CREATE ROLE {owner}x LOGIN IN ROLE {owner}", f"ALTER ROLE {owner}x SET role TO {owner}")
    try:
        second = moved(admin, first, environment)
        with service(first).connect() as other_service:
            other_service.exec_driver_sql("SELECT 1")
            assert [found.statement for found in closing(second)] == [None]
    finally:
        run(admin, f"DROP ROLE {owner}x")
