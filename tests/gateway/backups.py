"""Backups of the databases that the apps of this process use, and the way back from a restore of them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from flask import Flask

from gateway.backup import restoring
from gateway.backup.places import Place
from libs.service import parts_of
from tests.conftest import SERVICES

Apps = dict[str, Flask]


def place_in(folder: Path, **values: str) -> Place:
    """The databases of this process's environment; settings given here win."""
    return Place({**os.environ, **values}, folder)


def engines(apps: Apps) -> list[sa.Engine]:
    found = []
    for app in apps.values():
        with app.app_context():
            found.append(parts_of(app).db.engine)
    return found


def let_go(apps: Apps) -> None:
    """Close every connection of this process; the server ends what a thread holds."""
    for engine in engines(apps):
        other = sa.create_engine(engine.url, poolclass=sa.NullPool)
        with other.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()


@contextlib.contextmanager
def stopped(apps: Apps) -> Iterator[None]:
    """No thread of this process reaches a database, as when services have stopped."""

    def refuse(*_: object) -> None:
        raise psycopg2.OperationalError("stopped by a test")

    for engine in engines(apps):
        sa.event.listen(engine, "do_connect", refuse)
    let_go(apps)
    yield
    for engine in engines(apps):
        sa.event.remove(engine, "do_connect", refuse)


def databases(apps: Apps) -> list[str]:
    """All that there are on the server."""
    with apps["account"].app_context(), parts_of(apps["account"]).db.engine.connect() as connection:
        return sorted(connection.execute(sa.text("SELECT datname FROM pg_database")).scalars())


@contextlib.contextmanager
def restored(apps: Apps, place: Place, folder: Path) -> Iterator[str]:
    """A backup in the place of the databases; afterwards those of before are back, for the tests of others."""
    with stopped(apps):
        aside = restoring.restore(place, folder, is_sure=True)
    forget_keys()
    yield aside
    with stopped(apps), restoring.Programs(place.values) as programs:
        programs.run("restore.sh", "quiet")
        programs.run("restore.sh", "swap", aside, "tried")
        programs.run("restore.sh", "drop", "tried")
    forget_keys()


def forget_keys() -> None:
    """What this process knows of the issuer's keys: another process would look as it begins."""
    from services.oidc.protocol.keys import keys

    keys._set = None


def all_apps(make_app: Any) -> Apps:
    return {service: make_app(service) for service in SERVICES}


def scalar(app: Flask, text: str, **values: Any) -> Any:
    with app.app_context(), parts_of(app).db.engine.connect() as connection:
        return connection.execute(sa.text(text), values).scalar()
