"""Stores that are away, for oidc's tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from flask import Flask


@contextmanager
def with_engine(app: Flask, engine: sa.Engine) -> Iterator[None]:
    """The app looks for its database elsewhere."""
    from services.oidc.extensions import db

    engines = db._app_engines[app]
    real = engines[None]
    engines[None] = engine
    try:
        yield
    finally:
        engines[None] = real


@contextmanager
def database_away(app: Flask) -> Iterator[None]:
    """Nobody listens where the app looks for PostgreSQL."""
    dead = sa.create_engine(
        "postgresql+psycopg2://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1}
    )
    with with_engine(app, dead):
        yield
