"""The runbook's blocks about databases: connections, backups, and what came back."""

from tests.runbook.about_secrets import of_account
from tests.runbook.conftest import Operator
from tests.runbook.deployment import NO_CLUSTER
from tests.runbook.expected import Expected


def a_backup(operator: Operator) -> dict[str, str]:
    return {"BACKUP": "backup_20260116"}


def are_dumped(operator: Operator, said: str) -> None:
    """Nobody is there to dump anything; the files of that day are made all the same."""
    for service in ("account", "onboarding", "oidc", "notification"):
        [file] = operator.bin.glob(f"id_{service}_backup_????????.sql")
        file.unlink()


def a_database_of_before(operator: Operator) -> dict[str, str]:
    """The present one has an audit as the one of before had."""
    return {"SERVICE": "account", "BEFORE": "id_account", "MADE_AT": "2026-01-16T02:23:00"}


def a_database_to_drop(operator: Operator) -> dict[str, str]:
    before = a_database_of_before(operator) | {"BEFORE": "id_account_before_20260116_090000"}
    operator.sql(f'CREATE DATABASE "{before["BEFORE"]}"')
    return before


def a_file_of_sql(operator: Operator) -> dict[str, str]:
    (operator.bin / "backup.sql").write_text("SELECT 1;\n")
    return {"DATABASE": "id_account", "FILE": "backup.sql"}


ABOUT_DATABASES = {
    "Database connection issues / 1": Expected(
        (r"authenticate: [\d.]+ ms", r"Active connections: \d+ of \d+", r"pool: Pool size"), of_account
    ),
    "Database connection issues / 2": Expected(
        (r"datname +\| usename", r"id_account +\| \w+ .*active"), of_account
    ),
    "Database connection issues / 3": Expected((r"pid \| waits_for", r"\(0 rows\)"), of_account),
    "Database connection issues / 4": Expected((r"pid \| pg_terminate_backend", r"\(0 rows\)"), of_account),
    "Backup / 1": Expected(
        (NO_CLUSTER + "create job id-backup-", r"Complete$", NO_CLUSTER + "logs job/id-backup-")
    ),
    "Backup / 2": Expected(
        (NO_CLUSTER + "exec id-backups", NO_CLUSTER + "cp id-backups:/backups/backup_20260116"), a_backup
    ),
    "Backup / 3": Expected((), after=are_dumped),
    "Restore / 1": Expected(
        (
            NO_CLUSTER + "patch cronjob id-backup",
            NO_CLUSTER + "scale deployment",
            NO_CLUSTER + "wait --for=delete pod",
        )
    ),
    "Restore / 2": Expected(
        (NO_CLUSTER + "apply -f -", r"Complete$", NO_CLUSTER + "logs job/id-restore"), a_backup
    ),
    "Restore / 3": Expected(
        (
            NO_CLUSTER + r"patch cronjob .*false",
            NO_CLUSTER + "apply -k k8s/overlays/production",
            "successfully rolled out",
        )
    ),
    "After a restore / 1": Expected((r"\| held +\|",), Operator.hold_a_mail),
    "After a restore / 2": Expected((r"Released: [1-9]\d* message\(s\)",), Operator.hold_a_mail),
    "After a restore / 3": Expected((r"Deleted: [1-9]\d* message\(s\)",), Operator.hold_a_mail),
    "After a restore / 4": Expected((r"No events\.|event_id",)),
    "After a restore / 5": Expected(
        (r"^ id_account$", r"created_at +\| +actor +\| +action", r"\(\d+ rows?\)$"), a_database_of_before
    ),
    "After a restore / 6": Expected((r"^DROP DATABASE$",), a_database_to_drop),
    "A database that came back by another way / 1": Expected((NO_CLUSTER + "scale deployment",)),
    "A database that came back by another way / 2": Expected(
        (NO_CLUSTER + "exec postgres-0 .*RENAME TO id_account_broken",), a_file_of_sql
    ),
    "A database that came back by another way / 3": Expected(
        (NO_CLUSTER + "apply -f -", r"Complete$", NO_CLUSTER + "logs job/id-restored"), a_database_of_before
    ),
}
