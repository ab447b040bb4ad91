"""The sample service on a database of its own."""

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.libs import sample


@pytest.fixture(scope="session")
def sample_settings(environment: dict[str, str], servers: dict[str, str]) -> Iterator[sample.SampleSettings]:
    name = f"test_sample_{secrets.token_hex(4)}"
    admin = sa.create_engine(
        servers["DATABASE"].replace("postgresql://", "postgresql+psycopg2://", 1),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    url = urlsplit(servers["DATABASE"])._replace(path=f"/{name}").geturl()
    yield sample.SampleSettings.load({**environment, "NOTIFICATION_DATABASE_URL": url})
    with admin.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def sample_app(sample_settings: sample.SampleSettings) -> Flask:
    app = sample.create_app(sample_settings)
    with app.app_context():
        sample.db.create_all()
    return app
