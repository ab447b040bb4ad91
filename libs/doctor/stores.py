"""The doctor's look at PostgreSQL and Redis: reachable, set up as we need them, with the same time and secrets."""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import sqlalchemy as sa

from libs.batches import LONGEST_LOOK_S
from libs.database import engine_options
from libs.doctor.findings import Finding, fine, skipped, weak, wrong
from libs.guard.secrets import peers
from libs.schema import found_revision, is_behind, revisions
from libs.settings import ServiceSettings

CLOCKS_MAY_DIFFER_S = 2.0
CLOCKS_MUST_AGREE_S = 10.0
"""Beyond this what clients sign and what we sign is refused somewhere."""
NEARLY_FULL = 0.85


# -- PostgreSQL ------------------------------------------------------------------------------------------------


def connected(settings: ServiceSettings, opened: ExitStack) -> tuple[sa.Connection | None, Iterable[Finding]]:
    """A connection of its own, or why there is none."""
    name = settings.database_variable()
    if urlsplit(settings.DATABASE_URL).netloc.count("@") > 1:
        # What follows the first would be taken for the host, and be said aloud.
        return None, [
            wrong("database", f"{name} holds more than one @.", "Write %40 for an @ in a password.")
        ]
    try:
        engine = sa.create_engine(
            settings.sqlalchemy_url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args=engine_options(settings)["connect_args"],
        )
        began = time.perf_counter()
        connection = opened.enter_context(engine.connect())
        connection.execute(sa.text(f"SET statement_timeout = '{LONGEST_LOOK_S}s'"))
    except Exception as error:
        fix = f"Is it up, do its firewall and roles let us in, and is {name} its address?"
        return None, [wrong("database", f"The database did not take us in: {_reason(error)}", fix)]
    ms = (time.perf_counter() - began) * 1000
    return connection, [fine("database", f"Reached in {ms:.0f} ms.")]


def _reason(error: Exception) -> str:
    """The first line of what was said; an address that cannot be parsed is not repeated."""
    cause = getattr(error, "orig", None)
    words = str(cause).strip().splitlines()
    return words[0] if words else f"{type(error).__name__}."


def look_at_database(connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    def value(text: str) -> Any:
        return connection.execute(sa.text(text)).scalar_one_or_none()

    if value("SHOW transaction_read_only") == "on":
        yield wrong("database", "The database takes no changes.", "Name the primary, not a standby of it.")
    yield from _migration(connection, migrations)
    began = time.time()
    there = float(value("SELECT extract(epoch FROM clock_timestamp())"))
    yield _clock("the database", there - (began + time.time()) / 2)
    active, most = value("SELECT count(*) FROM pg_stat_activity"), int(value("SHOW max_connections"))
    if active > most * NEARLY_FULL:
        fix = "Fewer pods, smaller pools (DB_POOL_SIZE), or more max_connections."
        yield weak("connections", f"{active} of {most} connections are in use.", fix)


def _migration(connection: sa.Connection, migrations: Path) -> Iterator[Finding]:
    known = revisions(migrations)
    if not known:
        return
    found = found_revision(connection)
    if found == known[-1]:
        yield fine("migrations", f"At {found}, the newest of this release.")
    elif found is None:
        yield wrong("migrations", "The database has no tables yet.", "Run the migration Job, or: db upgrade")
    elif is_behind(found, known):
        fix = "Run the migration Job, or: db upgrade"
        yield wrong("migrations", f"The database is at {found}, and this release needs {known[-1]}.", fix)
    else:
        fix = "Nothing, while a deployment is under way; else deploy the newer release here, too."
        yield weak("migrations", f"The database is at {found}, which a newer release made.", fix)


def _clock(whose: str, difference: float) -> Finding:
    says = (
        f"The clock of {whose} is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} ours."
    )
    fix = "See to the time service (NTP) of both machines."
    if abs(difference) > CLOCKS_MUST_AGREE_S:
        return wrong("clock", says, fix)
    if abs(difference) > CLOCKS_MAY_DIFFER_S:
        return weak("clock", says, fix)
    return fine("clock", f"The clock of {whose} agrees with ours.")


# -- Redis -----------------------------------------------------------------------------------------------------


def look_at_redis(settings: ServiceSettings, service: str, *, is_compared: bool) -> Iterator[Finding]:
    """`is_compared`: whether the secrets are this process's own, so that those of workers can be held against them."""
    try:
        client = redis.Redis.from_url(
            settings.REDIS_URL, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, retry=None
        )
        yield from _redis(client)
        if is_compared:
            yield from _peers(client, service, settings)
    except (redis.RedisError, ValueError) as error:
        fix = "Is it up, and is REDIS_URL its address, with its password?"
        yield wrong("Redis", f"Redis did not answer ({type(error).__name__}).", fix)


def _redis(client: Any) -> Iterator[Finding]:
    client.ping()
    yield fine("Redis", "Reached.")
    memory, persistence = client.info("memory"), client.info("persistence")
    policy = memory.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        yield fine("Redis", "It throws no key away (noeviction).")
    else:
        says = f"maxmemory-policy is {policy}: Redis may throw sessions, limits and queued tasks away."
        yield wrong("Redis", says, "Set maxmemory-policy noeviction.")
    most = memory.get("maxmemory", 0)
    if most and memory["used_memory"] > most * NEARLY_FULL:
        says = f"Redis uses {memory['used_memory'] / most:.0%} of its memory; full, it takes no sign-in and no task."
        yield weak("Redis", says, "Give it more maxmemory.")
    yield _persistence(client, is_logged=bool(persistence.get("aof_enabled")))
    seconds, microseconds = client.time()
    yield _clock("Redis", seconds + microseconds / 1e6 - time.time())


def _persistence(client: Any, *, is_logged: bool) -> Finding:
    if is_logged:
        return fine("Redis", "It writes down what it has (appendonly).")
    try:
        saves = client.config_get("save").get("save", "")
    except redis.ResponseError:
        return skipped("Redis", "Whether it writes down what it has cannot be asked here.")
    if saves:
        return fine("Redis", "It writes snapshots of what it has.")
    says = "It writes nothing down: after a restart limits begin anew and queued tasks wait for a sweep."
    return weak("Redis", says, "Set appendonly yes.")


def _peers(client: Any, service: str, settings: ServiceSettings) -> Iterator[Finding]:
    notes = peers.read_notes(client)
    found = list(peers.disagreements(service, settings, notes))
    for sentence in found:
        yield wrong("secrets", sentence, "Compare them: secrets status, in a pod of each.")
    if notes and not found:
        yield fine("secrets", f"The workers of {', '.join(notes)} have the same.")
