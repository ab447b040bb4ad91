"""What dashboards see of applications; cheap, however many there are.

Decisions are counted where they are made (`id_application_decisions_total`, flows/states.py).
"""

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe.metrics import GaugeSamples
from services.onboarding.extensions import db
from services.onboarding.models import STATES, UNDECIDED, Application

COUNTED = 10_000
"""Applications of a state that are counted one by one; beyond that the number is what the planner estimates."""
# What the last ANALYZE found: rows of the table, and which part of them is in which state.
_ESTIMATES = sa.text(
    "SELECT unnest(most_common_vals::text::text[]) AS state,"
    " (SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'applications'::regclass)"
    " * unnest(most_common_freqs) AS count"
    " FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'applications' AND attname = 'state'"
)


def count_undecided() -> int:
    """How many wait for a decision, by the index that holds no others."""
    return db.session.execute(
        sa.select(sa.func.count()).select_from(Application).where(Application.state.in_(UNDECIDED))
    ).scalar_one()


def gauges() -> GaugeSamples:
    """How many applications are in each state, 0 included, and since when the oldest waits for a decision."""
    for state, count in _counts().items():
        yield "id_applications", "Applications, by state", {"state": state}, count
    since = db.session.scalar(
        sa.select(sa.func.min(Application.confirmed_at)).where(Application.state.in_(UNDECIDED))
    )
    age = (utcnow() - since).total_seconds() if since else 0
    yield (
        "id_applications_oldest_seconds",
        "Since when the oldest application with a confirmed address waits for a decision",
        {},
        age,
    )


def _counts() -> dict[str, float]:
    """Exact up to COUNTED of a state; of more, the estimate of the last ANALYZE."""
    counted = [
        sa.select(sa.func.count()).select_from(
            sa.select(Application.id).where(Application.state == state).limit(COUNTED).subquery()
        )
        for state in STATES
    ]
    row = db.session.execute(sa.select(*[one.scalar_subquery() for one in counted])).one()
    counts: dict[str, float] = dict(zip(STATES, row, strict=True))
    if max(counts.values()) == COUNTED:
        for state, estimate in db.session.execute(_ESTIMATES):
            if counts.get(state) == COUNTED:
                counts[state] = max(COUNTED, round(estimate))
    return counts
