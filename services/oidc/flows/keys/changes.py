"""Keys as rows: every change to them is made here, under one lock, told to the other services and audited."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from libs.database import utcnow, uuid7
from libs.messaging.events import KeysChanged
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.oidc.extensions import audit, db, outbox
from services.oidc.flows.keys.material import Material, make_material, seal
from services.oidc.models import AnnouncedKeys, SigningKey

log = get_logger("OIDC.keys")

ALWAYS = ("RS256", "ES256")
"""Algorithms that there are keys of before any client asks."""
PUBLISHED = ("next", "current", "previous")
"""The states whose public halves stand in the JWKS."""
PUBLICATION = (SigningKey.state != "current", SigningKey.created_at, SigningKey.kid)
"""The order in the JWKS: what signs comes first, for clients that take the first key of a kind."""
KEYS_LOCK = 0x01DC_0E75
"""The advisory lock under which keys come and go, so that two processes or beats at once do everything once."""


@contextmanager
def changing() -> Iterator["Changes"]:
    """All keys as they stand, for whoever changes them: one at a time, and told to the other services at the end."""
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(KEYS_LOCK)))
        keys = Changes(session)
        yield keys
        session.flush()
        _announce(session)


class Changes:
    """The rows, and the steps that a key can take. Each step leaves an entry in the audit and a line in the log."""

    def __init__(self, session: Session):
        self.session = session
        self.now: datetime = utcnow()
        query = sa.select(SigningKey).order_by(SigningKey.created_at, SigningKey.kid)
        # Fresh, whatever this session has seen before it got the lock.
        self.rows = list(session.scalars(query.execution_options(populate_existing=True)))

    def algorithms(self) -> list[str]:
        """Those that something signs by."""
        return sorted({row.alg for row in self.rows if row.state == "current"})

    def of(self, alg: str, state: str) -> SigningKey | None:
        """The only key of a state that one at a time is in: next, current."""
        return next((row for row in self.rows if row.alg == alg and row.state == state), None)

    def find(self, kid: str) -> SigningKey | None:
        return next((row for row in self.rows if row.kid == kid), None)

    def add(self, material: Material, state: str, *, is_imported: bool = False) -> SigningKey:
        """A key comes, as next, current or, to verify alone, previous."""
        key_id = uuid7()
        row = SigningKey(
            id=key_id,
            kid=material.kid,
            alg=material.alg,
            state=state,
            public_jwk=material.public_jwk,
            private_key_sealed=seal(material, key_id, parts_of(current_app).data_keys),
            created_at=self.now,
            activated_at=self.now if state == "current" else None,
            is_imported=is_imported,
        )
        self.session.add(row)
        self.rows.append(row)
        self._note("key.imported" if is_imported else "key.created", row)
        return row

    def promote(self, row: SigningKey) -> SigningKey | None:
        """A next key signs from now on, and the one before it only verifies. Returns that one."""
        old = self.of(row.alg, "current")
        if old is not None:
            old.state, old.replaced_at = "previous", self.now
            old.private_key_sealed = None  # what only verifies needs none, and nobody can take it any more
            self._note("key.replaced", old, by=row.kid)
        row.state, row.activated_at = "current", self.now
        self._note("key.promoted", row)
        return old

    def retire(self, row: SigningKey, *, is_trusted: bool) -> None:
        """A key leaves the JWKS, and its private half is destroyed; its public one stays, so that we know it again.

        Unless it is trusted, nothing that it signed is believed any more.
        """
        row.state, row.retired_at, row.private_key_sealed = "retired", row.retired_at or self.now, None
        if not is_trusted:
            row.withdrawn_at = self.now
        self._note("key.retired" if is_trusted else "key.withdrawn", row)

    def discard(self, row: SigningKey) -> None:
        """A next key that never signed makes room for another."""
        self._note("key.discarded", row)
        self.session.delete(row)
        self.rows.remove(row)
        self.session.flush()

    def complete(self, algorithms: Iterable[str]) -> None:
        """See that something signs by each algorithm, and that the one after it is known ahead."""
        for alg in sorted(algorithms):
            if self.of(alg, "current") is None:
                coming = self.of(alg, "next")
                if coming is not None:  # better one that few know yet than none
                    self.promote(coming)
                else:
                    self.add(make_material(alg), "current")
            if self.of(alg, "next") is None:
                self.add(make_material(alg), "next")

    def _note(self, action: str, row: SigningKey, **more: Any) -> None:
        # Step by step: of two rows that trade places the constraint must see the one that leaves first.
        self.session.flush()
        after = {"alg": row.alg, "state": row.state, **more}
        audit.record(action, target=f"key:{row.kid}", after=after)
        event, kid, alg = action.replace(".", "_"), row.kid, row.alg
        db.after_commit(lambda: log.info(event, kid=kid, alg=alg))


def _announce(session: Session) -> None:
    """Tell the other services which public keys are published, if they were told otherwise last.

    Every change of keys ends with this, under KEYS_LOCK: versions are then in the order of the changes.
    """
    published = list(
        session.scalars(
            sa.select(SigningKey.public_jwk).where(SigningKey.state.in_(PUBLISHED)).order_by(*PUBLICATION)
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
