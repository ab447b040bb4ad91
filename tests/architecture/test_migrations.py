"""Each service has one migration history with one head, and its models say nothing else."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask

from libs.schema import revisions
from libs.service import parts_of
from tests.conftest import SERVICES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=SERVICES)
def app(request: pytest.FixtureRequest) -> Flask:
    service: Flask = request.getfixturevalue("make_app")(request.param)
    return service


def history(service: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "services" / service / "migrations"))
    return ScriptDirectory.from_config(config)


@pytest.mark.parametrize("service", SERVICES)
def test_there_is_one_head(service: str) -> None:
    assert len(history(service).get_heads()) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_numbered_and_say_why_they_are_safe(service: str) -> None:
    # Which of two is the newer, and which are missing, is told by the numbers in the names of their files.
    assert [script.revision for script in history(service).walk_revisions()] == list(
        reversed(revisions(ROOT / "services" / service / "migrations"))
    )
    for script in history(service).walk_revisions():
        assert re.fullmatch(r"\d{4}", script.revision), script.path
        assert Path(script.path).name.startswith(script.revision)
        assert script.doc, f"{script.path}: say what locks it takes and that the previous release still runs"


def test_the_models_and_the_migrated_database_agree(app: Flask) -> None:
    parts = parts_of(app)
    with app.app_context(), parts.db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, parts.db.metadata) == []


def test_secrets_have_no_column_of_readable_text(app: Flask) -> None:
    """What is compared is a hash, what is read again is sealed; the name of the column says which."""
    for table in parts_of(app).db.metadata.tables.values():
        for column in table.columns:
            if (
                re.search(r"password|secret|token|seed|private", column.name)
                and "TEXT" in str(column.type).upper()
            ):
                assert re.search(
                    r"hash|digest|sealed|_id$|_at$|auth_method|type|kind|format|signing_alg|response_alg|required",
                    column.name,
                ), f"{table.name}.{column.name}: call it …_hash or …_sealed, and make it so"
