"""Fills onboarding's database with applications, for looking at how the queue behaves when it is long."""

from datetime import datetime, timedelta

import psycopg2.extensions

from libs.database import utcnow
from tests.bench.seed import FIRST_NAMES, LAST_NAMES, ROWS_PER_BATCH, id_of, moment_of

YEARS = timedelta(days=3 * 365)
UNDECIDED = 3_000
"""The newest of them wait for a decision, however many there are."""


class Applications:
    """Applications of three years: most have become accounts, every fourth was rejected, few expired."""

    def __init__(
        self, connection: psycopg2.extensions.connection, *, count: int, until: datetime | None = None
    ) -> None:
        self.connection, self.count = connection, count
        self.until_ms = int((until or utcnow()).timestamp() * 1000)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SET synchronous_commit = off")

    def make(self) -> None:
        """Addresses end in `.seed.test`; a third of the undecided is claimed, some by `user:me`."""
        span = int(YEARS.total_seconds() * 1000)
        ms = f"{self.until_ms - span} + n::bigint * {span} / {self.count}"
        name = (
            f"('{FIRST_NAMES}'::text[])[1 + n % 20] || ' ' || ('{LAST_NAMES}'::text[])[1 + n / 20 % 16]"
            " || CASE WHEN n % 3 = 0 THEN ' Z' || n % 9973 ELSE '' END"
        )
        email = "'p' || n || '.' || substr(md5(n::text), 1, 6) || '@d' || n % 1000 || '.seed.test'"
        is_undecided = f"n >= {self.count - UNDECIDED}"
        state = (
            f"CASE WHEN {is_undecided} THEN (ARRAY['submitted', 'confirmed', 'in_review'])[1 + n % 3]"
            " WHEN n % 4 = 0 THEN 'rejected' WHEN n % 50 = 1 THEN 'expired' WHEN n % 500 = 2 THEN 'withdrawn'"
            " ELSE 'activated' END"
        )
        columns = "id, email, email_folded, name, why, locale, network, state, submitted_at, confirmed_at, claimed_by"
        values = (
            f"{id_of(ms, 'n')}, {email}, {email}, {name}, 'I would like to join, for reason ' || n, 'en',"
            f" '198.18.' || n / 7 % 256 || '.0/24', {state}, {moment_of(ms)},"
            f" CASE WHEN n % 3 > 0 THEN {moment_of(ms)} END,"
            f" CASE WHEN {is_undecided} AND n % 3 = 2 THEN"
            " CASE WHEN n % 30 = 2 THEN 'user:me' ELSE 'user:' || n % 7 END END"
        )
        with self.connection.cursor() as cursor:
            for first in range(0, self.count, ROWS_PER_BATCH):
                last = min(first + ROWS_PER_BATCH, self.count) - 1
                cursor.execute(
                    f"INSERT INTO applications ({columns}) SELECT {values}"
                    f" FROM generate_series({first}, {last}) AS n"
                )
            cursor.execute("VACUUM ANALYZE applications")

    def remove(self) -> None:
        """Take everything away that was made here."""
        with self.connection.cursor() as cursor:
            cursor.execute("DELETE FROM applications WHERE email_folded LIKE '%.seed.test'")
            cursor.execute("VACUUM ANALYZE applications")
