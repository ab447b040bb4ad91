"""Commands that every service has: its events, audit, health and database, for the engineer on call."""

import functools
import getpass
import json
import logging
import os
import re
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import redis
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from libs.audit import set_actor
from libs.guard.breakers import moment
from libs.messaging.desk import retry_all, retry_event
from libs.observe.health import health_report, readiness_report
from libs.observe.logs import set_correlation_id, set_service
from libs.schema import found_revision
from libs.web.problems import Problem

Function = TypeVar("Function", bound=Callable[..., Any])
EVENTS_WAIT_S = 2.0
LIMIT = click.IntRange(1, 10_000)
"""How many rows a list may print."""
UNDEFINED_TABLE = "42P01"
_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?")


class DurationType(click.ParamType):
    """A length of time as operators write it: 30m, 24h, 7d, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = parse_duration(str(value))
        if found is None:
            self.fail(f"{value} is no length of time: write 30m, 24h, 7d or 1h30m.", param, ctx)
        return found


DURATION = DurationType()


def parse_duration(text: str) -> timedelta | None:
    """The length of time that `1h30m` means; None for what means none, and for nothing at all."""
    found = _DURATION.fullmatch(text.strip().lower())
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) or None


def command(function: Function) -> Function:
    """A command of ours: acts in the operator's name, has --json, and fails with a sentence instead of a trace."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @with_appcontext
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from libs.service import parts_of

        keep_logs_apart()
        set_service(parts_of(current_app).name)
        set_correlation_id(None)
        set_actor(f"command:{_operator()}")
        if any(_is_no_text(value) for value in kwargs.values()):
            raise click.UsageError("An argument is not UTF-8 text.")
        try:
            return function(*args, **kwargs)
        except Problem as problem:
            sentence = str(problem.detail or problem.title)
            if problem.errors:
                sentence = f"{sentence.rstrip('.')}: " + " ".join(
                    f"{k}: {v}" for k, v in problem.errors.items()
                )
            raise click.ClickException(sentence) from None
        except (KeyError, IndexError):
            raise  # a mistake of ours, not a thing that is missing
        except LookupError as error:
            raise click.ClickException(
                str(error.args[0]) if error.args else "There is no such thing."
            ) from None
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError):
            raise click.ClickException("The database did not answer: dbcheck says where it fails.") from None
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "pgcode", "") != UNDEFINED_TABLE:
                raise
            raise click.ClickException("The database lacks its tables: run db upgrade first.") from None
        except redis.RedisError as error:
            raise click.ClickException(f"Redis did not answer ({type(error).__name__}).") from None

    return run  # type: ignore[return-value]


def keep_logs_apart() -> None:
    """What a command says goes to stdout, where programs read it as JSON; what the flows log goes to stderr."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _is_no_text(value: Any) -> bool:
    """Whether an argument holds bytes that were no UTF-8: Python brings them as lone surrogates."""
    return isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def plain(value: Any) -> Any:
    """A value as JSON and terminals can show it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, uuid.UUID):
        return str(value)
    return value


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str = "Nothing.") -> None:
    """Print a list: JSON, or aligned columns with their names on top."""
    rows = [{name: plain(value) for name, value in row.items()} for row in rows]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(empty)
        return
    names = list(rows[0])
    cells = [names] + [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        click.echo(" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def show_one(values: dict[str, Any], *, as_json: bool) -> None:
    """Print one thing: JSON, or a line per value."""
    values = {name: plain(value) for name, value in values.items()}
    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    for name, value in values.items():
        click.echo(f"{name}: {_cell(value)}")


def done(sentence: str, values: dict[str, Any], *, as_json: bool) -> None:
    """Say what a command did."""
    if as_json:
        click.echo(json.dumps({name: plain(value) for name, value in values.items()}, ensure_ascii=False))
    else:
        click.echo(sentence)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple, set)):
        return ", ".join(str(plain(item)) for item in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=plain)
    return str(value)


def wait_for_events(*, quiet: bool = False) -> int:
    """Give this command's events up to EVENTS_WAIT_S to leave and be confirmed; say what is still queued."""
    from libs.service import parts_of

    outbox = parts_of(current_app).outbox
    deadline = time.monotonic() + EVENTS_WAIT_S
    while (waiting := outbox.waiting()) and time.monotonic() < deadline:
        parts_of(current_app).db.session.rollback()
        time.sleep(0.05)
    if waiting and not quiet:
        click.echo(f"{waiting} event(s) still queued; they leave by themselves.", err=True)
    return waiting


def standard_commands() -> Iterable[click.Command]:
    from libs.commands.secrets import secrets_group

    return (_events(), _audit(), _breakers(), _health, _dbcheck, _dbshell, secrets_group())


def _events() -> AppGroup:
    group = AppGroup("events", help="Events that this service sent (outbox) and received (inbox).")

    @group.command("list", help="Events that left, or wait; --parked: received events that failed too often.")
    @click.option("--pending", is_flag=True, help="Only what a subscriber has not confirmed.")
    @click.option("--parked", is_flag=True, help="What this service could not handle.")
    @click.option("--limit", type=LIMIT, default=100, show_default=True)
    @command
    def list_events(pending: bool, parked: bool, limit: int, as_json: bool) -> None:
        from libs.service import parts_of

        if pending and parked:
            raise click.UsageError("--pending or --parked: one of them.")
        parts = parts_of(current_app)
        if parked:
            rows = parts.inbox.parked(limit)
        else:
            rows = parts.outbox.listing(state="pending" if pending else None, limit=limit)
        show([dict(row._mapping) for row in rows], as_json=as_json, empty="No events.")

    @group.command("retry", help="Try parked events again: these, or --all.")
    @click.argument("event_ids", nargs=-1, type=click.UUID)
    @click.option("--all", "is_all", is_flag=True, help="Every parked event, the oldest first.")
    @command
    def retry(event_ids: tuple[uuid.UUID, ...], is_all: bool, as_json: bool) -> None:
        if is_all == bool(event_ids):
            raise click.UsageError("Name the events, or say --all.")
        states = retry_all() if is_all else {}
        for event_id in event_ids:
            try:
                states[event_id] = retry_event(event_id)
            except LookupError:
                raise click.ClickException(f"No parked event has the id {event_id}.") from None
        results = [{"event_id": event_id, "state": state} for event_id, state in states.items()]
        show(results, as_json=as_json, empty="No event is parked.")
        if any(result["state"] != "handled" for result in results):
            raise SystemExit(1)

    return group


def _audit() -> AppGroup:
    group = AppGroup("audit", help="Who changed what in this service.")

    @group.command("list", help="The newest entries first.")
    @click.option("--target", help="Only of this thing, such as user:SUB.")
    @click.option("--limit", type=LIMIT, default=50, show_default=True)
    @command
    def list_entries(target: str | None, limit: int, as_json: bool) -> None:
        from libs.service import parts_of

        rows = parts_of(current_app).audit.entries(target=target, limit=limit)
        names: tuple[str, ...] = ("created_at", "actor", "action", "target", "reason", "correlation_id")
        if as_json:
            names = (*names, "before", "after")
        show(
            [{name: row._mapping[name] for name in names} for row in rows],
            as_json=as_json,
            empty="No entries.",
        )

    return group


def _breakers() -> AppGroup:
    group = AppGroup("breakers", help="Circuit breakers: what is left alone because it does not answer.")

    @group.command("list", help="This service's breakers, and those of others that count failures.")
    @command
    def list_breakers(as_json: bool) -> None:
        from libs.service import parts_of

        rows = [
            {
                "name": name,
                "state": circuit.state,
                "failure_count": circuit.failures,
                "retry_at": moment(circuit),
            }
            for name, circuit in parts_of(current_app).breakers.everybodys().items()
        ]
        show(rows, as_json=as_json, empty="No breaker is open or counts failures.")

    @group.command("reset", help="Close a breaker at once, for all processes: the next call is tried.")
    @click.argument("name")
    @command
    def reset_breaker(name: str, as_json: bool) -> None:
        from libs.service import parts_of

        parts = parts_of(current_app)
        before = parts.breakers.reset(name)
        with parts.db.transaction():
            parts.audit.record(
                "breaker.reset",
                target=f"breaker:{name}",
                before={"state": before.state, "failure_count": before.failures},
                after={"state": "closed"},
            )
        values = {"name": name, "state": "closed", "was": before.state}
        done(f"{name} is closed; it was {before.state}.", values, as_json=as_json)

    return group


@click.command("health", help="What this service's /health would say. Exits 1 when unhealthy.")
@command
def _health(as_json: bool) -> None:
    from libs.service import parts_of

    components = parts_of(current_app).probe.components()
    report = health_report(components)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(f"status: {report['status']}")
        show(
            [
                {
                    "component": c.name,
                    "status": c.status,
                    "latency_ms": c.to_json().get("latency_ms"),
                    "details": c.details or None,
                }
                for c in components
            ],
            as_json=False,
        )
    if readiness_report(components)["failing"]:
        raise SystemExit(1)


@click.command("dbcheck", help="Resolve, connect, authenticate, query: where the way to the database ends.")
@command
def _dbcheck(as_json: bool) -> None:
    from libs.service import parts_of

    parts = parts_of(current_app)
    url = urlsplit(parts.settings.DATABASE_URL)
    host, port = url.hostname or "localhost", url.port or 5432
    report: dict[str, Any] = {}

    def step(name: str, action: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            result = action()
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise click.ClickException(f"{name} failed at {host}:{port}: {reason}") from None
        report[name] = f"{(time.perf_counter() - began) * 1000:.1f} ms"
        return result

    def reach() -> None:
        if not host.startswith("/"):
            socket.create_connection((host, port), timeout=2).close()

    step("resolve", lambda: socket.getaddrinfo(host, port))
    step("connect", reach)
    connection = step("authenticate", parts.db.engine.connect)
    with connection:
        step("query", lambda: connection.execute(sa.text("SELECT 1")))
        value = lambda text: connection.execute(sa.text(text)).scalar_one_or_none()  # noqa: E731
        report["server"] = value("SHOW server_version")
        report["migration"] = found_revision(connection)
        active, maximum = value("SELECT count(*) FROM pg_stat_activity"), value("SHOW max_connections")
        report["Active connections"] = f"{active} of {maximum}"
        report["pool"] = parts.db.engine.pool.status()
    show_one(report, as_json=as_json)


@click.command("dbshell", help="A psql prompt on this service's database.")
@command
def _dbshell(as_json: bool) -> None:
    from libs.service import parts_of

    program = shutil.which("psql")
    if program is None:
        raise click.ClickException("psql is not installed on this machine.")
    url = sa.make_url(parts_of(current_app).settings.sqlalchemy_url)
    environment = dict(os.environ, PGPASSWORD=url.password or "")
    # The rest as it is (sslmode, a socket folder as host).
    rest = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    arguments = [rest.render_as_string()]
    os.execve(program, [program, *arguments], environment)  # noqa: S606  the password stays out of the arguments
