"""Signing keys as rows: made once, sealed at rest, told to the other services. What signs is protocol/keys.py."""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from flask import current_app
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from libs.database import utcnow, uuid7
from libs.guard.keyring import KeyRing
from libs.messaging.events import KeysChanged
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import audit, db, outbox
from services.oidc.models import AnnouncedKeys, SigningKey

log = get_logger("OIDC.keys")

ALGORITHMS = ("RS256", "ES256")
RSA_BITS = 2048
PUBLISHED = ("next", "current", "previous")
"""The states whose public halves stand in the JWKS."""
KEYS_LOCK = 0x01DC_0E75
"""The advisory lock under which keys come and go, so that two processes starting at once make one set."""


def ensure_keys() -> int:
    """See that there is a current key of every algorithm, and that the other services know the public halves.

    Returns how many were made; safe to repeat.
    """
    data_keys: KeyRing = parts_of(current_app).data_keys
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(KEYS_LOCK)))
        present = set(session.scalars(sa.select(SigningKey.alg).where(SigningKey.state == "current")))
        missing = [alg for alg in ALGORITHMS if alg not in present]
        for alg in missing:
            row = _make_key(alg, data_keys)
            session.add(row)
            audit.record("key.created", target=f"key:{row.kid}", after={"alg": alg, "state": row.state})
        session.flush()
        _announce(session)
    if missing:
        log.info("keys_created", algorithms=" ".join(missing))
    return len(missing)


def _announce(session: Session) -> None:
    """Tell the other services which public keys are published, if they were told otherwise last.

    Every change of keys ends with this, under KEYS_LOCK: versions are then in the order of the changes.
    """
    published = list(
        session.scalars(
            sa.select(SigningKey.public_jwk)
            .where(SigningKey.state.in_(PUBLISHED))
            .order_by(SigningKey.created_at, SigningKey.kid)
        )
    )
    digest = hashlib.sha256(json.dumps(published, sort_keys=True).encode()).hexdigest()
    told = session.execute(sa.select(AnnouncedKeys.version, AnnouncedKeys.digest)).one_or_none()
    if told is not None and told.digest == digest:
        return
    version = told.version + 1 if told else 1
    values = {"version": version, "digest": digest}
    session.execute(
        insert(AnnouncedKeys)
        .values(id=1, **values)
        .on_conflict_do_update(index_elements=[AnnouncedKeys.id], set_=values)
    )
    outbox.record(KeysChanged(version=version, jwks={"keys": published}))


def list_keys() -> list[SigningKey]:
    """Every key, those that sign first."""
    order = sa.case({"current": 0, "next": 1, "previous": 2, "retired": 3}, value=SigningKey.state)
    return list(
        db.session.scalars(sa.select(SigningKey).order_by(order, SigningKey.alg, SigningKey.created_at))
    )


def open_private_key(row: Any, data_keys: KeyRing) -> bytes:
    """The private half of a row, PKCS #8 PEM. Raises CannotOpen."""
    return data_keys.open(row.private_key_sealed, _place(row.id))


def _make_key(alg: str, data_keys: KeyRing) -> SigningKey:
    key = RSAKey.generate_key(RSA_BITS) if alg == "RS256" else ECKey.generate_key("P-256")
    key_id, now = uuid7(), utcnow()
    kid = key.thumbprint()
    return SigningKey(
        id=key_id,
        kid=kid,
        alg=alg,
        state="current",
        public_jwk={**key.as_dict(private=False), "kid": kid, "alg": alg, "use": "sig"},
        private_key_sealed=data_keys.seal(key.as_pem(private=True), _place(key_id)),
        created_at=now,
        activated_at=now,
    )


def _place(key_id: Any) -> str:
    return f"signing_keys.private_key_sealed:{key_id}"
