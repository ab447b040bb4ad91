"""Fills account's database with people and login events, for looking at how lists behave when they are long.

`python -m tests.bench.seed --users 1000000 --events 10000000` on the account database of the environment, or of the
suite that runs in DATA_DIR. In development only: what it makes is made up.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import psycopg2.extensions

from libs.database import utcnow

MARK = "seed"
"""correlation_id of every event made here; people made here are of mail domains that end in `.seed.test`."""
ROWS_PER_BATCH = 200_000
YEARS = timedelta(days=3 * 365)
QUARTER = timedelta(days=89)
LAST_NAMES = (
    "{Lee,Ng,Okafor,Ivanova,Smith,Garcia,Kowalski,Haddad,Sato,Nilsen,Ito,Costa,Novak,Mensah,Silva,Kaya}"
)
FIRST_NAMES = (
    "{Ann,Ben,Chidi,Dasha,Eve,Femi,Gita,Hugo,Ines,Jun,Kim,Lea,Mia,Noor,Olga,Pia,Quinn,Rosa,Sam,Tess}"
)


def id_of(ms: str, number: str) -> str:
    """SQL of a UUIDv7 of a moment (epoch ms) and a number: made twice, it is the same."""
    return f"(lpad(to_hex(({ms})::bigint), 12, '0') || '70008000' || lpad(to_hex(({number})::bigint), 12, '0'))::uuid"


def moment_of(ms: str) -> str:
    return f"to_timestamp(({ms}) / 1000.0)"


class Seed:
    """People who joined over three years, and attempts to sign in over the quarter that ends at `until`."""

    def __init__(
        self, connection: psycopg2.extensions.connection, *, users: int, until: datetime | None = None
    ) -> None:
        self.connection, self.users = connection, users
        self.until_ms = int((until or utcnow()).timestamp() * 1000)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SET synchronous_commit = off")

    def _user(self, number: str) -> tuple[str, str]:
        """SQL of the epoch ms at which a person joined, and of their id."""
        span = int(YEARS.total_seconds() * 1000)
        ms = f"{self.until_ms - span} + {number}::bigint * {span} / {self.users}"
        return ms, id_of(ms, number)

    def make_users(self) -> None:
        """Everybody has a password that opens nothing, but one in ten; one in ten has an authenticator app."""
        ms, user_id = self._user("n")
        name = (
            f"('{FIRST_NAMES}'::text[])[1 + n % 20] || ' ' || ('{LAST_NAMES}'::text[])[1 + n / 20 % 16]"
            " || CASE WHEN n % 3 = 0 THEN ' Z' || n % 9973 ELSE '' END"
        )
        email = "'p' || n || '.' || substr(md5(n::text), 1, 6) || '@d' || n % 1000 || '.seed.test'"
        self._insert(
            "users",
            "id, sub, email, email_normalised, email_verified_at, name, locale, roles, status, version, created_at,"
            " updated_at, erase_at",
            f"{user_id}, md5('sub' || n)::uuid, {email}, {email}, {moment_of(ms)}, {name}, 'en',"
            " CASE WHEN n % 5000 = 7 THEN '{support}' ELSE '{}' END::text[],"
            " CASE WHEN n % 200 = 3 THEN 'disabled' ELSE 'active' END, 1,"
            f" {moment_of(ms)}, {moment_of(ms)}, CASE WHEN n % 4000 = 9 THEN now() + interval '10 days' END",
            self.users,
        )
        self._insert(
            "password_credentials",
            "user_id, hash, changed_at",
            f"{user_id}, '$argon2id$made-up', {moment_of(ms)}",
            self.users,
            where="n % 10 <> 1",
        )
        self._insert(
            "totp_credentials",
            "id, user_id, seed_sealed, last_step, created_at, confirmed_at",
            f"{id_of(ms, 'n')}, {user_id}, 'made-up', 0, {moment_of(ms)}, {moment_of(ms)}",
            self.users,
            where="n % 10 = 2",
        )

    def make_events(self, count: int) -> None:
        """Seven of ten attempts succeed; the others fail for every reason, bad passwords most, some for nobody."""
        span = int(QUARTER.total_seconds() * 1000)
        ms = f"{self.until_ms - span} + n::bigint * {span} / {count}"
        _, user_id = self._user(f"(n::bigint * 7919 % {self.users})")
        reason = (
            "CASE WHEN n % 10 < 7 THEN NULL WHEN n % 10 = 7 THEN 'unknown_account' WHEN n % 1000 = 8 THEN"
            " 'provider_error' WHEN n % 100 = 18 THEN 'throttled' ELSE 'bad_password' END"
        )
        self._insert(
            "login_events",
            "id, created_at, user_id, typed_hash, ip, country, user_agent, method, success, failure_reason,"
            " correlation_id",
            f"{id_of(ms, 'n')}, {moment_of(ms)}, CASE WHEN n % 10 <> 7 THEN {user_id} END,"
            " CASE WHEN n % 10 = 7 THEN substr(md5((n % 50000)::text), 1, 32) END,"
            " ('198.18.' || n / 7 % 256 || '.' || n % 253 + 1)::inet, 'DE',"
            " 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',"
            f" CASE WHEN n % 20 = 0 THEN 'passkey' ELSE 'password' END, n % 10 < 7, {reason}, '{MARK}'",
            count,
        )

    def analyse(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                "VACUUM ANALYZE users, password_credentials, totp_credentials, passkeys, login_events"
            )

    def remove(self) -> None:
        """Take everything away that was made here."""
        with self.connection.cursor() as cursor:
            cursor.execute("DELETE FROM login_events WHERE correlation_id = %s", (MARK,))
            cursor.execute("DELETE FROM users WHERE email_normalised LIKE '%.seed.test'")

    def _insert(self, table: str, columns: str, values: str, count: int, *, where: str = "true") -> None:
        began = time.monotonic()
        with self.connection.cursor() as cursor:
            for first in range(0, count, ROWS_PER_BATCH):
                last = min(first + ROWS_PER_BATCH, count) - 1
                cursor.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series({first}, {last}) AS n"
                    f" WHERE {where}"
                )
                if count > ROWS_PER_BATCH:
                    print(f"{table}: {last + 1:,} of {count:,}, {time.monotonic() - began:.0f} s", flush=True)

    @contextmanager
    def without_indexes(self, table: str) -> Iterator[None]:
        """Fill the table without its indexes, and build them afterwards: several times as fast."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND NOT EXISTS"
                " (SELECT 1 FROM pg_constraint WHERE conname = indexname)",
                (table,),
            )
            indexes = cursor.fetchall()
            for name, _ in indexes:
                cursor.execute(f"DROP INDEX {name}")
            try:
                yield
            finally:
                for name, definition in indexes:
                    print(f"{table}: {name}", flush=True)
                    cursor.execute(definition)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    arguments = parser.parse_args()
    from services.account.settings import AccountSettings

    settings = AccountSettings.load_or_exit()
    if not settings.is_development:
        print("This fills a database with people who do not exist: in development only.", file=sys.stderr)
        return 1
    seed = Seed(psycopg2.connect(settings.DATABASE_URL), users=arguments.users)
    with seed.without_indexes("users"), seed.without_indexes("login_events"):
        seed.make_users()
        seed.make_events(arguments.events)
    seed.analyse()
    return 0


if __name__ == "__main__":
    sys.exit(main())
