"""The signing keys in this process: parsed once, looked at again every second, published as prepared bytes."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.guard.keyring import CannotOpen
from libs.observe.logs import get_logger
from libs.schema import is_migrated
from libs.service import parts_of
from libs.web.problems import Unavailable
from services.oidc.extensions import db
from services.oidc.flows.keys import (
    LOOK_INTERVAL,
    PUBLICATION,
    PUBLISHED,
    ensure_algorithms,
    ensure_keys,
    open_private_key,
    parse,
    timing,
)
from services.oidc.models import SigningKey

log = get_logger("OIDC.keys")

LOOK_FOR_UNKNOWN = timedelta(milliseconds=100)
"""How often a kid that nobody knows makes a process look again, at most."""
LONGEST_WAIT = timedelta(seconds=1)
"""Whoever waited longer for a look that failed has no time left to wait for the database once more."""


class NotMigrated(Unavailable):
    """The database is older than this release: those of the release before serve on, and keys are theirs to make."""


@dataclass(frozen=True)
class Key:
    """A parsed key of ours. `jwk` holds the private half of the one that signs, and of the next."""

    kid: str
    alg: str
    state: str
    activated_at: datetime | None
    jwk: Any

    @cached_property
    def signing(self) -> "_Signing":
        """The private half as joserfc's algorithms ask for it. Raises where there is none."""
        curve = getattr(self.jwk, "curve_key_size", None)
        return _Signing(self.jwk.get_op_key("sign"), curve)


@dataclass(frozen=True)
class _Signing:
    """A key that was looked through once; joserfc's own looks through its parameters for each signature."""

    private_key: Any = field(repr=False)
    curve_key_size: int | None

    def get_op_key(self, _operation: str) -> Any:
        return self.private_key


@dataclass(frozen=True)
class KeySet:
    """The keys as they stood at one moment."""

    rows: tuple[Any, ...]
    by_kid: dict[str, Key]
    """The published ones."""
    retired: dict[str, Key]
    """Those that ID tokens may still be held against when they come back as hints."""
    current: dict[str, Key]
    """By algorithm: what signs."""
    upcoming: frozenset[str]
    """The algorithms whose next key is published."""
    unopened: frozenset[str]
    """Keys that sign, or will, whose private half DATA_ENCRYPTION_KEYS does not open in this process."""
    jwks: bytes
    etag: str


class KeyStore:
    """The keys of one process. An import from PEM takes twenty signatures' time, so it happens once a key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._set: KeySet | None = None
        self._is_outdated = False

    def load(self, lifetime: timedelta = LOOK_INTERVAL) -> KeySet:
        """The keys, at most so old. While the database is away the last ones known serve on.

        Raises SQLAlchemyError to whoever waited LONGEST_WAIT for them: nearly everybody needs the database next; and
        NotMigrated in a process that has come before its migrations.
        """
        known = self._set
        if known is not None and time.monotonic() - self._looked_at < lifetime.total_seconds():
            return known
        # One thread looks; the others go on with what is known.
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known
        began = time.monotonic()
        try:
            self._look()
        except sa.exc.SQLAlchemyError as error:
            if self._set is None:
                raise
            if not self._is_outdated:  # said once per outage, not every second of it
                log.warning("keys_not_read", error=type(error).__name__)
            self._is_outdated = True
            self._looked_at = time.monotonic()
            if self._looked_at - began > LONGEST_WAIT.total_seconds():
                raise
        finally:
            self._lock.release()
        assert self._set is not None
        return self._set

    def last_known(self) -> KeySet:
        """The same where nothing else of the database is needed: the last ones known serve on, whatever it took."""
        try:
            return self.load()
        except sa.exc.SQLAlchemyError:
            if self._set is None:
                raise
            return self._set

    def signing_key(self, alg: str) -> Key:
        """The key that signs now. Raises Unavailable when this process cannot open it."""
        key = self.load().current.get(alg)
        if key is None:
            key = self._first_key(alg)
            # It was made a moment ago: whoever is handed what it signs, and asks for our keys, has to find it there.
            self._looked_at = float("-inf")
        if not key.jwk.is_private:
            raise Unavailable
        return key

    def find(self, kid: str) -> Key | None:
        """The published key of this id. One that is unknown may have come in another process just now."""
        return self.load().by_kid.get(kid) or self._look_for_unknown().by_kid.get(kid)

    def find_of_old(self, kid: str) -> Key | None:
        """The same, or a retired one that was never suspect."""
        return self.find(kid) or self.load().retired.get(kid)

    def _look_for_unknown(self) -> KeySet:
        return self.load(LOOK_INTERVAL if self._is_outdated else LOOK_FOR_UNKNOWN)

    def _first_key(self, alg: str) -> Key:
        """Clients get their algorithm's keys when they choose it; this is for whoever did not come that way.

        What a transaction under way has made is nobody's yet, and is not kept here.
        """
        ensure_algorithms([alg])
        row = db.fetch_one(_columns().where(SigningKey.alg == alg, SigningKey.state == "current"))
        assert row is not None
        return _parse(row, self._set)

    def _look(self) -> None:
        if self._set is None:
            if not is_migrated(current_app):
                raise NotMigrated
            # A process begins: there must be keys, and every service must have been told of them.
            ensure_keys()
        found = self._read()
        rows = tuple((row.kid, row.state, row.activated_at) for row in found)
        if self._set is None or rows != self._set.rows:
            self._set = _key_set(found, rows, self._set)
        self._is_outdated = False
        self._looked_at = time.monotonic()

    @staticmethod
    def _read() -> Any:
        understood = sa.and_(
            SigningKey.state == "retired",
            SigningKey.withdrawn_at.is_(None),
            SigningKey.replaced_at > utcnow() - timing().hints,
        )
        return db.fetch_all(
            _columns().where(sa.or_(SigningKey.state.in_(PUBLISHED), understood)).order_by(*PUBLICATION)
        )


def _columns() -> sa.Select[Any]:
    return sa.select(*SigningKey.__table__.columns)


def _key_set(found: Any, rows: tuple[Any, ...], known: KeySet | None) -> KeySet:
    keys = {row.kid: _parse(row, known) for row in found}
    unopened = {row.kid for row in found if row.private_key_sealed and not keys[row.kid].jwk.is_private}
    published = {kid: key for kid, key in keys.items() if key.state in PUBLISHED}
    jwks = json.dumps(
        {"keys": [row.public_jwk for row in found if row.state in PUBLISHED]}, separators=(",", ":")
    ).encode()
    return KeySet(
        rows=rows,
        by_kid=published,
        retired={kid: key for kid, key in keys.items() if kid not in published},
        current={
            key.alg: key for key in published.values() if key.state == "current" and key.kid not in unopened
        },
        upcoming=frozenset(key.alg for key in published.values() if key.state == "next"),
        unopened=frozenset(unopened),
        jwks=jwks,
        etag=hashlib.sha256(jwks).hexdigest()[:32],
    )


def _parse(row: Any, known: KeySet | None) -> Key:
    """A row as a key; one that was known keeps what was imported, unless its private half has gone since."""
    before = known.by_kid.get(row.kid) if known else None
    if before is not None and before.jwk.is_private == (row.private_key_sealed is not None):
        jwk = before.jwk
    else:
        jwk = parse(row.alg, _private_half(row) or row.public_jwk)
    return Key(row.kid, row.alg, row.state, row.activated_at, jwk)


def _private_half(row: Any) -> bytes | None:
    """None where there is none, or none that we can open: such a key verifies all the same, and health says so."""
    if row.private_key_sealed is None:
        return None
    try:
        return open_private_key(row, parts_of(current_app).data_keys)
    except CannotOpen:
        log.error(
            "key_not_opened", kid=row.kid, alg=row.alg, reason="DATA_ENCRYPTION_KEYS lacks what sealed it"
        )
        return None


keys = KeyStore()
