"""How a release is made, and what its migrations may do to the one before."""

from pathlib import Path

import pytest

from tests.conftest import SERVICES
from tests.releases import changelog
from tests.releases.contracting import read
from tests.releases.history import blobs_of, git, releases_before, tags, version_of
from tests.running import ROOT

BEFORE_THE_FIRST = {"account": "0004", "onboarding": "0004", "oidc": "0005", "notification": "0004"}
"""The newest migration of each service when nothing had been released yet: there was no release to take from."""


def new_migrations(service: str) -> list[Path]:
    """Those that no release has had yet."""
    folder = f"services/{service}/migrations/versions"
    before = releases_before()
    released = set(blobs_of(before[-1], folder)) if before else set()
    files = [
        file
        for file in sorted((ROOT / folder).glob("[0-9]*.py"))
        if file.name[:4] > BEFORE_THE_FIRST[service]
    ]
    return [file for file in files if str(file.relative_to(ROOT)) not in released]


def test_whatever_names_the_release_names_the_same() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    images = changelog.named_images()
    assert {"Dockerfile", "docker-compose.yml", "k8s/jobs.yaml", "k8s/restore.yaml"} <= set(images)
    assert changelog.disagreements(text, changelog.version(), tags(), images) == []


@pytest.mark.parametrize(
    ("headings", "version", "tags", "wrong"),
    [
        (["Unreleased"], "1.0.0", [], None),
        (["Unreleased", "1.0.0 (2026-12-01)"], "1.0.0", [], None),
        (["Unreleased", "1.0.0 (2026-12-01)"], "1.0.0", ["v1.0.0"], None),
        (["Unreleased", "1.10.0 (2027-01-01)", "1.9.0 (2026-12-01)"], "1.10.0", ["v1.9.0"], None),
        (["1.0.0 (2026-12-01)"], "1.0.0", [], "first heading"),
        (["Unreleased", "1.0.0"], "1.0.0", [], "a release's heading is"),
        (["Unreleased", "1.1.0 (2026-12-01)"], "1.0.0", [], "has released 1.1.0, and pyproject.toml says 1.0.0"),
        (["Unreleased", "1.0.0 (2026-12-01)"], "1.1.0", ["v1.0.0"], "has released 1.0.0"),
        (["Unreleased"], "1.0.0", ["v1.0.0"], "v1.0.0 has no heading"),
        (["Unreleased", "1.2.0 (2026-12-01)", "1.1.0 (2026-12-01)"], "1.2.0", ["v1.2.0"], "no tag v1.1.0"),
        (["Unreleased", "1.0.0 (2026-12-01)", "1.1.0 (2026-12-01)"], "1.0.0", [], "newest release stands first"),
    ],
)  # fmt: skip
def test_a_release_that_is_half_made_is_told(
    headings: list[str], version: str, tags: list[str], wrong: str | None
) -> None:
    text = "# Changelog\n\n" + "".join(f"## {heading}\n\n- A line.\n\n" for heading in headings)
    found = changelog.disagreements(text, version, tags, {})
    assert (wrong is None) == (found == []), found
    assert wrong is None or wrong in " ".join(found)


def test_an_image_of_another_release_is_told() -> None:
    told = changelog.disagreements("## Unreleased\n", "1.1.0", [], {"k8s/jobs.yaml": {"1.0.0", "1.1.0"}})
    assert told == ["k8s/jobs.yaml names images of 1.0.0, and pyproject.toml says 1.1.0."]


@pytest.mark.parametrize("service", SERVICES)
def test_new_migrations_take_nothing_from_the_release_before(service: str) -> None:
    before = releases_before()
    for file in new_migrations(service):
        found = read(file.read_text())
        if found.unused_since:
            assert before, f"{file.name}: nothing was released that no longer uses it"
            assert version_of(found.unused_since) <= version_of(before[-1]), (
                f"{file.name}: it runs beside {before[-1]}, which is older than {found.unused_since}"
            )
        else:
            assert found.objections == [], f"{file.name}: see CONTRIBUTING.md, Changing the schema"


@pytest.mark.parametrize("service", SERVICES)
def test_a_migration_that_was_released_stays_as_it_is(service: str) -> None:
    for tag in releases_before():
        for path, blob in blobs_of(tag, f"services/{service}/migrations/versions").items():
            assert (ROOT / path).exists(), f"{path} was released with {tag}: databases have had it"
            assert git("hash-object", path).strip() == blob, (
                f"{path} was released with {tag}: add another one"
            )


TAKES = {
    'op.drop_column("users", "name")': "reads and writes it",
    'op.drop_table("users")': "reads and writes it",
    'op.rename_table("users", "people")': "the old name",
    'op.alter_column("users", "name", new_column_name="called")': "the old name",
    'op.alter_column("users", "name", nullable=False)': "may leave it empty",
    'op.alter_column("users", "name", type_=sa.Integer())': "rewritten",
    'op.alter_column("users", "name", server_default=None)': "relies on the default",
    'op.add_column("users", sa.Column("badge", sa.Text(), nullable=False))': "give it a server_default",
    'op.create_check_constraint(op.f("ck_users_name"), "users", "name <> \'\'")': "may write what it refuses",
    'op.create_unique_constraint("uq_users_name", "users", ["name"])': "may write what it refuses",
    'op.create_index("uq_users_name", "users", ["name"], unique=True)': "may write what it refuses",
    'op.create_foreign_key("fk_a", "users", "clubs", ["club_id"], ["id"])': "may write what it refuses",
    'op.drop_constraint("uq_users_email", "users", type_="unique")': "ON CONFLICT",
    'op.drop_index("uq_users_email", table_name="users")': "ON CONFLICT",
    'op.execute("UPDATE users SET badge = name")': "filled in batches",
    'op.execute(sa.text("ALTER TABLE users DROP COLUMN name"))': "reads and writes it",
    'op.execute("ALTER TABLE users RENAME name TO called")': "the old name",
    'op.execute("ALTER TABLE users ALTER COLUMN name SET NOT NULL")': "may leave it empty",
    'op.execute("ALTER TABLE users ALTER name TYPE integer")': "rewritten",
    'op.execute("ALTER TABLE users DROP name")': "on the list",
    'op.execute("ALTER TABLE users ADD badge text NOT NULL")': "on the list",
    'op.execute("ALTER TABLE users ADD CONSTRAINT ck_users_name CHECK (name <> \'\')")': "on the list",
    'op.execute(\'ALTER TABLE users ALTER "name" TYPE integer\')': "rewritten",
    'op.execute("ALTER TABLE users DROP CONSTRAINT uq_users_email")': "on the list",
    'op.execute("CREATE UNIQUE INDEX uq_users_name ON users (name)")': "on the list",
    'op.execute("DROP INDEX uq_users_email")': "on the list",
    'op.execute("CREATE TRIGGER refuse BEFORE INSERT ON users EXECUTE FUNCTION refuse()")': "on the list",
    'op.execute("LOCK TABLE users")': "on the list",
    'op.execute("REVOKE INSERT ON users FROM id_account")': "on the list",
    'op.execute("UPDATE users AS u SET badge = u.name")': "filled in batches",
    'op.execute("UPDATE public.users SET badge = name")': "filled in batches",
    'op.execute("MERGE INTO users USING clubs ON true WHEN MATCHED THEN DELETE")': "filled in batches",
    'op.execute("INSERT INTO badges (name) SELECT name FROM users")': "filled in batches",
    'op.execute("INSERT INTO rules VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 1")': "filled in batches",
    'op.execute("INSERT INTO rules VALUES (1) -- a word\\n; DROP TABLE rules")': "hide what it does",
    'op.execute("INSERT INTO rules VALUES (1); DROP TABLE rules")': "reads and writes it",
    'op.create_index("uq_users_name", "users", ["name"], unique=IS_UNIQUE)': "may write what it refuses",
    'op.execute("CREATE INDEX ix ON users (name); LOCK TABLE users")': "on the list",
    'op.execute(sqltext="TRUNCATE users")': "deletes no rows",
    "op.execute(STATEMENT)": "in no one text",
    'op.create_primary_key("pk_users", "users", ["name"])': "may write what it refuses",
    'op.run_async(work)': "on the list",
    'op.get_bind().execute(sa.text("DELETE FROM users"))': "so that it can be read",
}  # fmt: skip

GIVES = (
    'op.create_table("clubs", sa.Column("id", sa.Uuid(), nullable=False))\n'
    '    op.create_unique_constraint("uq_clubs_id", "clubs", ["id"])',
    'op.add_column("users", sa.Column("badge", sa.Text(), server_default="", nullable=False))\n'
    '    op.create_check_constraint("ck_users_badge", "users", "badge IN (\'\', \'gold\')")',
    'op.add_column("users", sa.Column("club_id", sa.Uuid(), nullable=True))\n'
    '    op.create_foreign_key("fk_a", "users", "clubs", ["club_id"], ["id"])\n'
    '    op.create_index("uq_users_club_id", "users", ["club_id"], unique=True)',
    'op.create_index("ix_users_name", "users", ["name"])\n    op.drop_index("ix_users_old", table_name="users")',
    'op.drop_constraint("ck_users_state", "users", type_="check")\n'
    '    op.create_check_constraint("ck_users_state", "users", STATES)\n\n\nWIDENS = ("ck_users_state",)',
    'op.execute("ALTER INDEX ix_a RENAME TO ix_b")',
    'op.execute("CREATE INDEX ix_a ON users (lower(name)); CREATE INDEX IF NOT EXISTS ix_b ON users (b);")',
    "op.execute(\"INSERT INTO rules (name) VALUES ('x'), ('y;z') ON CONFLICT DO NOTHING\")",
    'op.create_table("clubs", sa.Column("id", sa.Uuid()))\n    op.create_primary_key("pk_clubs", "clubs", ["id"])',
    "op.execute(\"INSERT INTO rules (name) VALUES ('x')\")",
)


@pytest.mark.parametrize("statement", TAKES)
def test_what_takes_something_away_is_refused(statement: str) -> None:
    found = read(f"def upgrade():\n    {statement}\n")
    assert TAKES[statement] in " ".join(found.objections)


@pytest.mark.parametrize("statements", GIVES)
def test_what_adds_something_is_not(statements: str) -> None:
    text = f'def upgrade():\n    {statements}\n\n\ndef downgrade():\n    op.drop_table("clubs")\n'
    assert read(text).objections == []


def test_taking_away_says_since_when_nobody_uses_it() -> None:
    contracting = 'def upgrade():\n    op.drop_column("users", "name")\n'
    assert read('CONTRACTS = "unused since 1.3.0"\n' + contracting).unused_since == "1.3.0"
    with pytest.raises(ValueError, match="since which release"):
        read('CONTRACTS = "nobody uses it"\n' + contracting)
