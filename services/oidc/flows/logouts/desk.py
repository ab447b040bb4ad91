"""Deliveries as staff see them: what is on its way, what is parked and why, and sending it again."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.observe.metrics import GaugeSamples
from libs.web.problems import Problem
from services.oidc.extensions import audit, db, tasks
from services.oidc.flows.logouts.delivering import PENDING
from services.oidc.models import Client, LogoutDelivery
from services.oidc.models.logouts import PATIENCE

STATES = ("queued", "sending", "delivered", "parked")
PAGE = 50
RETRY_BATCH = 1000


class UnknownDelivery(Problem):
    """No delivery has this id."""

    status, slug, title = 404, "unknown-logout", lazy_gettext("There is no such logout")


class NothingToRetry(Problem):
    """Only what is parked can be sent again."""

    status, slug, title = 409, "nothing-to-retry", lazy_gettext("This logout is not parked")


def list_deliveries(
    *,
    state: str | None = None,
    client_id: str | None = None,
    before: uuid.UUID | None = None,
    limit: int = PAGE,
) -> Sequence[sa.Row[tuple[LogoutDelivery, str]]]:
    """Deliveries with their client's name, the newest first: those in a state, of a client, older than one."""
    query = (
        sa.select(LogoutDelivery, Client.name.label("client_name"))
        .join(Client, Client.client_id == LogoutDelivery.client_id)
        .order_by(LogoutDelivery.id.desc())
        .limit(limit)
    )
    if state in STATES:
        query = query.where(LogoutDelivery.state == state)
    if client_id:
        query = query.where(LogoutDelivery.client_id == client_id)
    if before is not None:
        query = query.where(LogoutDelivery.id < before)
    with db.single_statements() as session:
        return session.execute(query.execution_options(populate_existing=True)).all()


def retry(delivery_id: uuid.UUID) -> None:
    """Send a parked one again, with as much patience as a new one. Raises UnknownDelivery, NothingToRetry."""
    with db.transaction() as session:
        state = session.scalar(sa.select(LogoutDelivery.state).where(LogoutDelivery.id == delivery_id))
        if state is None:
            raise UnknownDelivery
        if not _queue_again(LogoutDelivery.id == delivery_id):
            raise NothingToRetry
        audit.record("logout.retried", target=f"logout:{delivery_id}", after={"state": "queued"})
        db.after_commit(lambda: tasks.send("send_logouts"))


def retry_parked(*, client_id: str | None = None) -> int:
    """Send all that are parked again, or those of a client. Returns how many."""
    which = [LogoutDelivery.client_id == client_id] if client_id else []
    count = 0
    while True:
        with db.transaction():
            batch = _queue_again(*which)
            count += batch
            if batch:
                target = f"client:{client_id}" if client_id else "logouts"
                audit.record("logouts.retried", target=target, after={"count": batch})
                db.after_commit(lambda: tasks.send("send_logouts"))
        if batch < RETRY_BATCH:
            return count


def count_parked() -> int:
    """How many wait for staff."""
    return _count("parked")["parked"]


def gauges() -> GaugeSamples:
    """How many are on their way, and how many wait for staff."""
    counts = _count(*PENDING) | _count("parked")
    for state, count in counts.items():
        yield "id_oidc_logout_deliveries", "Logout tokens not delivered", {"state": state}, count


def _queue_again(*which: sa.ColumnElement[bool]) -> int:
    now = utcnow()
    with db.transaction() as session:
        parked = (
            sa.select(LogoutDelivery.id)
            .where(LogoutDelivery.state == "parked", *which)
            .order_by(LogoutDelivery.id)
            .limit(RETRY_BATCH)
            .with_for_update()
        )
        moved = session.execute(
            sa.update(LogoutDelivery)
            .where(LogoutDelivery.id.in_(parked.scalar_subquery()))
            .values(state="queued", attempts=0, next_attempt_at=now, give_up_at=now + PATIENCE)
            .returning(LogoutDelivery.id)
            .execution_options(synchronize_session=False)
        ).all()
    return len(moved)


def _count(*states: str) -> dict[str, int]:
    """By state. Asked as one of the partial indexes has it, which never sees what is delivered."""
    rows = db.fetch_all(
        sa.select(LogoutDelivery.state, sa.func.count())
        .where(LogoutDelivery.state.in_(states))
        .group_by(LogoutDelivery.state)
    )
    return {**dict.fromkeys(states, 0), **{row[0]: row[1] for row in rows}}
