"""The public keys of our own issuer: an event brings them, a row of each service that has an API keeps them."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from joserfc.errors import JoseError
from joserfc.jwk import import_key
from sqlalchemy.dialects.postgresql import JSONB, insert

from libs.database import Database, Timestamp, is_away, utcnow
from libs.observe.logs import get_logger
from libs.people.bearer.problems import TokensUnavailable
from libs.people.bearer.tokens import KINDS

log = get_logger("libs.bearer")

KEYS_LIFETIME = timedelta(seconds=5)
"""A key that came or went is seen by every process within this time."""
LOOK_INTERVAL = timedelta(seconds=1)
"""How often a kid that nobody knows makes a process look again, at most."""


@dataclass(frozen=True)
class IssuerKey:
    """A public key of the issuer, parsed."""

    alg: str
    jwk: Any


class IssuerKeys:
    """The row in which a service keeps the issuer's public keys, and what a process remembers of it."""

    def __init__(self, db: Database):
        self.db = db
        self.table = sa.Table(
            "issuer_keys",
            db.metadata,
            sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("jwks", JSONB, nullable=False),
            sa.Column("received_at", Timestamp, nullable=False),
            sa.CheckConstraint("id = 1", name="one_row"),
        )
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._by_kid: dict[str, IssuerKey] | None = None
        self._is_outdated = False

    def remember(self, *, version: int, jwks: Mapping[str, Any]) -> None:
        """Take the keys over, unless newer ones are known: in whatever order the events come."""
        values = {"version": version, "jwks": dict(jwks), "received_at": utcnow()}
        with self.db.transaction() as session:
            session.execute(
                insert(self.table)
                .values(id=1, **values)
                .on_conflict_do_update(
                    index_elements=[self.table.c.id], set_=values, where=self.table.c.version < version
                )
            )
            self.db.after_commit(self.forget)

    def distrust(self) -> None:
        """Believe no key that is known, nor a set that was and comes again: the issuer will tell of new ones."""
        with self.db.transaction() as session:
            session.execute(sa.update(self.table).values(jwks={}))
            self.db.after_commit(self.forget)

    def forget(self) -> None:
        """Look at the row again at the next token."""
        self._looked_at = float("-inf")

    def find(self, kid: str) -> IssuerKey | None:
        """The published key of this id. One that is unknown makes us look again, once a second at most.

        Raises TokensUnavailable while the issuer has not told us of any key: nobody can say then what is good.
        """
        key = self._load(KEYS_LIFETIME).get(kid) or (known := self._load(LOOK_INTERVAL)).get(kid)
        if key is None and not known:
            raise TokensUnavailable(retry_after=5)
        return key

    def _load(self, lifetime: timedelta) -> dict[str, IssuerKey]:
        """The keys, at most so old. While the database is away the last ones known serve on."""
        known = self._by_kid
        if known is not None and time.monotonic() - self._looked_at < lifetime.total_seconds():
            return known
        # One thread looks; the others go on with what is known.
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known
        try:
            row = self.db.fetch_one(sa.select(self.table.c.jwks))
            self._by_kid = _parse(row.jwks if row is not None else {})
            if not self._by_kid:
                log.error("issuer_keys_missing")
            self._is_outdated = False
        except sa.exc.SQLAlchemyError as error:
            if known is None or not is_away(error):
                raise
            if not self._is_outdated:  # said once per outage
                log.warning("issuer_keys_not_read", error=type(error).__name__)
            self._is_outdated = True
        finally:
            self._looked_at = time.monotonic()
            self._lock.release()
        return self._by_kid or {}


def _parse(jwks: Mapping[str, Any]) -> dict[str, IssuerKey]:
    """The keys that sign, by their ids; whatever is no public key of a kind we know is passed over."""
    found = {}
    for member in jwks.get("keys", ()):
        alg, kid = member.get("alg"), member.get("kid")
        if alg not in KINDS or member.get("kty") != KINDS[alg] or member.get("use") != "sig":
            continue
        try:
            found[kid] = IssuerKey(alg, import_key(member))
        except (JoseError, ValueError, TypeError) as error:
            log.error("issuer_key_not_understood", kid=str(kid)[:100], error=type(error).__name__)
    return found
