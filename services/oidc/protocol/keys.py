"""The signing keys in this process: parsed once, looked at again every second, published as prepared bytes."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from joserfc.jwk import ECKey, RSAKey, import_key

from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.keys import PUBLISHED, ensure_keys, open_private_key
from services.oidc.models import SigningKey

log = get_logger("OIDC.keys")

LOOK_INTERVAL = timedelta(seconds=1)
"""A key added, promoted or withdrawn is seen by every process within this time."""
Jwk = RSAKey | ECKey


@dataclass(frozen=True)
class Key:
    """A parsed key of ours. `jwk` holds the private half where there is one."""

    kid: str
    alg: str
    state: str
    jwk: Any


@dataclass(frozen=True)
class KeySet:
    """The keys as they stood at one moment."""

    rows: tuple[tuple[str, str], ...]
    by_kid: dict[str, Key]
    current: dict[str, Key]
    """By algorithm: what signs."""
    jwks: bytes
    etag: str


class KeyStore:
    """The keys of one process. An import from PEM takes twenty signatures' time, so it happens once a key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._set: KeySet | None = None
        self._is_outdated = False

    def load(self) -> KeySet:
        """The keys, at most a second old. While the database is away the last ones known serve on."""
        known = self._set
        if known is not None and time.monotonic() - self._looked_at < LOOK_INTERVAL.total_seconds():
            return known
        # One thread looks; the others go on with what is known.
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known
        try:
            self._look()
        except sa.exc.SQLAlchemyError as error:
            if self._set is None:
                raise
            if not self._is_outdated:  # said once per outage, not every second of it
                log.warning("keys_not_read", error=type(error).__name__)
            self._is_outdated = True
            self._looked_at = time.monotonic()
        finally:
            self._lock.release()
        assert self._set is not None
        return self._set

    def signing_key(self, alg: str) -> Key:
        """The key that signs now."""
        return self.load().current[alg]

    def find(self, kid: str) -> Key | None:
        """The published key of this id."""
        return self.load().by_kid.get(kid)

    def _look(self) -> None:
        if self._set is None:
            # A process begins: there must be keys, and every service must have been told of them.
            ensure_keys()
        found = self._read()
        names = tuple((row.kid, row.state) for row in found)
        if self._set is None or names != self._set.rows:
            self._set = self._parse(found, names)
        self._is_outdated = False
        self._looked_at = time.monotonic()

    @staticmethod
    def _read() -> Any:
        return db.fetch_all(
            sa.select(*SigningKey.__table__.columns)
            .where(SigningKey.state.in_(PUBLISHED))
            .order_by(SigningKey.created_at, SigningKey.kid)
        )

    def _parse(self, found: Any, names: tuple[tuple[str, str], ...]) -> KeySet:
        data_keys = parts_of(current_app).data_keys
        known = self._set.by_kid if self._set else {}
        by_kid: dict[str, Key] = {}
        for row in found:
            if row.kid in known:
                jwk = known[row.kid].jwk
            else:
                material = open_private_key(row, data_keys) if row.private_key_sealed else row.public_jwk
                jwk = import_key(material, "RSA" if row.alg.startswith(("RS", "PS")) else "EC")
            by_kid[row.kid] = Key(row.kid, row.alg, row.state, jwk)
        jwks = json.dumps({"keys": [row.public_jwk for row in found]}, separators=(",", ":")).encode()
        return KeySet(
            rows=names,
            by_kid=by_kid,
            current={key.alg: key for key in by_kid.values() if key.state == "current"},
            jwks=jwks,
            etag=hashlib.sha256(jwks).hexdigest()[:32],
        )


keys = KeyStore()
