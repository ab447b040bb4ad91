"""Keys to look at: for pages, commands, health and metrics."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe.metrics import GaugeSamples
from services.oidc.extensions import db
from services.oidc.flows.keys.changes import ALWAYS
from services.oidc.flows.keys.timing import timing
from services.oidc.flows.keys.turns import only_verifies
from services.oidc.models import SigningKey

STATES = ("next", "current", "previous", "retired")
ORDER = {"current": 0, "next": 1, "previous": 2, "retired": 3}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A key, and when it changes next by itself."""

    kid: str
    alg: str
    state: str
    created_at: datetime
    activated_at: datetime | None
    replaced_at: datetime | None
    retired_at: datetime | None
    withdrawn_at: datetime | None
    is_imported: bool
    only_verifies: bool
    changes_at: datetime | None
    """None: never, or by hand alone."""


def list_keys() -> list[Listed]:
    """Every key, those that sign first; of what is over, the latest first."""
    with db.single_statements() as session:
        rows = list(
            session.scalars(sa.select(SigningKey).order_by(SigningKey.created_at.desc(), SigningKey.kid))
        )
    found = [
        Listed(
            kid=row.kid,
            alg=row.alg,
            state=row.state,
            created_at=row.created_at,
            activated_at=row.activated_at,
            replaced_at=row.replaced_at,
            retired_at=row.retired_at,
            withdrawn_at=row.withdrawn_at,
            is_imported=row.is_imported,
            only_verifies=only_verifies(row),
            changes_at=_next_change(row, rows),
        )
        for row in rows
    ]
    return sorted(found, key=lambda key: (ORDER[key.state], key.alg if key.state != "retired" else ""))


def _next_change(row: SigningKey, rows: list[SigningKey]) -> datetime | None:
    times = timing()
    if row.state == "previous":
        return times.retires_at(row)
    if row.state == "retired":
        return None
    pair = {
        other.state: other for other in rows if other.alg == row.alg and other.state in ("current", "next")
    }
    current, coming = pair.get("current"), pair.get("next")
    turns = [times.rotates_at(current)] if current else []
    turns += [times.ready_at(coming, rows)] if coming else []
    return max(turns)


def gauges() -> GaugeSamples:
    """How many keys there are, whether a next one is missing, and for how long each current one has signed."""
    with db.single_statements() as session:
        rows = session.execute(sa.select(SigningKey.alg, SigningKey.state, SigningKey.activated_at)).all()
    now = utcnow()
    for alg in sorted({*ALWAYS, *(row.alg for row in rows)}):
        states = [row.state for row in rows if row.alg == alg]
        for state in STATES:
            yield (
                "id_oidc_keys",
                "Signing keys",
                {"alg": alg, "state": state},
                float(states.count(state)),
            )
        yield (
            "id_oidc_next_key_missing",
            "1 while no key is published ahead of its turn, else 0",
            {"alg": alg},
            float("next" not in states),
        )
        for row in rows:
            if row.alg == alg and row.state == "current" and row.activated_at is not None:
                yield (
                    "id_oidc_current_key_age_seconds",
                    "For how long the current key has signed",
                    {"alg": alg},
                    (now - row.activated_at).total_seconds(),
                )
