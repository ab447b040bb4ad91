"""Commands that every service has: what the engineer on call reads."""

import json
import os
import shutil
from typing import Any

import click
import pytest
import redis
import sqlalchemy as sa
from flask import Flask

from libs.commands import command
from libs.service import parts_of
from libs.web.problems import Problem
from tests.conftest import run_command
from tests.libs import sample


def failing(error: Exception) -> click.Command:
    @click.command("fail")
    @command
    def fail(as_json: bool) -> None:
        raise error

    return fail


def lacking_tables() -> Exception:
    class UndefinedTable(Exception):
        pgcode = "42P01"

    return sa.exc.ProgrammingError("SELECT 1", {}, UndefinedTable())


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Problem("Write three letters or more."), "Write three letters or more."),
        (LookupError("Nobody applied as a@b.test."), "Nobody applied as a@b.test."),
        (sa.exc.OperationalError("SELECT 1", {}, Exception()), "The database did not answer"),
        (sa.exc.TimeoutError(), "The database did not answer"),
        (lacking_tables(), "run db upgrade first"),
        (redis.ConnectionError("at 10.0.0.1"), "Redis did not answer"),
    ],
)
def test_a_failure_is_a_sentence_and_not_a_trace(sample_app: Flask, error: Exception, sentence: str) -> None:
    result = sample_app.test_cli_runner().invoke(failing(error), args=[])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert sentence in result.output
    assert len(result.output.splitlines()) == 1


def test_a_mistake_of_ours_is_not_passed_off_as_something_missing(sample_app: Flask) -> None:
    assert isinstance(
        sample_app.test_cli_runner().invoke(failing(KeyError("sub")), args=[]).exception, KeyError
    )


def test_every_list_can_be_read_by_a_program(sample_app: Flask) -> None:
    with sample_app.app_context():
        sample.write_note(text="listed")
    for arguments in (("events", "list"), ("events", "list", "--parked"), ("audit", "list")):
        result = run_command(sample_app, *arguments, "--json")
        assert result.exit_code == 0, result.output
        assert isinstance(json.loads(result.output), list)
    for arguments in (("health",), ("dbcheck",)):
        assert isinstance(json.loads(run_command(sample_app, *arguments, "--json").output), dict)


def test_dbcheck_says_how_far_it_came(sample_app: Flask) -> None:
    report = json.loads(run_command(sample_app, "dbcheck", "--json").output)
    assert list(report)[:4] == ["resolve", "connect", "authenticate", "query"]
    active, _, maximum = report["Active connections"].partition(" of ")
    assert int(active) <= int(maximum)


def test_dbshell_brings_the_password_as_it_is_and_shows_it_nowhere(
    sample_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = parts_of(sample_app).settings
    started: list[Any] = []

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        started.extend([arguments, environment])

    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/psql")
    monkeypatch.setattr(os, "execve", execve)
    url = "postgresql://an%40operator:p%2Fw%25d@db.test:5433/id_x?sslmode=require"
    monkeypatch.setattr(parts_of(sample_app), "settings", type(settings).load({**_environ(settings, url)}))
    run_command(sample_app, "dbshell")
    arguments, environment = started
    assert environment["PGPASSWORD"] == "p/w%d"
    assert arguments[1] == "postgresql://an%40operator@db.test:5433/id_x?sslmode=require"


def _environ(settings: sample.SampleSettings, url: str) -> dict[str, str]:
    names = (
        "ID_ENV",
        "PUBLIC_URL",
        "SECRET_KEY",
        "DATA_ENCRYPTION_KEYS",
        "EVENT_ENCRYPTION_KEYS",
        "REDIS_URL",
    )
    return {**{name: getattr(settings, name) for name in names}, "NOTIFICATION_DATABASE_URL": url}
