"""The life of a delivery. Nothing else moves one, but staff who want another round of tries.

    queued ──► sending ──► delivered
      ▲ ▲         │ │
      │ └─────────┘ └────► parked      refused too often, or not answered for PATIENCE
      └───────────────────────┘        staff send it again

`sending` is leased: a worker that died repeats the delivery at most, under the same `jti`. A client is sent one at a
time, and one that gives no answer holds its others back: it costs the workers one try, however much waits for it.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from libs.database import utcnow
from libs.observe.logs import get_logger, set_correlation_id
from services.oidc.extensions import db
from services.oidc.models import LogoutDelivery

log = get_logger("OIDC.logout")

LEASE = timedelta(seconds=60)
"""Longer than a client may take to answer."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=30)
MOST_REFUSALS = 8
"""With the waits between them about ten minutes: a client that says no may just be being deployed."""
CLAIMS_LOCK = 0x01DC_0B5E
"""The advisory lock under which workers choose, so that two never send to one client at a time."""

PENDING = ("queued", "sending")
RESULTS = ("delivered", "refused", "unanswered", "failed", "dropped")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a worker needs of the delivery that it holds; `attempt` is the proof of its lease."""

    id: uuid.UUID
    client_id: str
    sub: str
    sid: str | None
    attempt: int
    correlation_id: str | None


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, by a word of RESULTS."""

    result: str
    error: str | None = None
    wait: timedelta | None = None
    """What the client asked for."""
    is_final: bool = False
    """Another try would end alike."""


def delivered() -> Outcome:
    """The client says that it is done, or that there was nothing to do."""
    return Outcome("delivered")


def refused(error: str) -> Outcome:
    """The client answers, and does not do it: that says nothing about the next one."""
    return Outcome("refused", error)


def unanswered(error: str, *, wait: timedelta | None = None) -> Outcome:
    """The client cannot be reached, or cannot do anything now."""
    return Outcome("unanswered", error, wait)


def failed(error: str) -> Outcome:
    """A fault of ours."""
    return Outcome("failed", error)


def dropped(error: str) -> Outcome:
    """There is nobody to send it to any more."""
    return Outcome("dropped", error, is_final=True)


def claim(limit: int) -> list[Delivery]:
    """Lease up to `limit` deliveries that are due, of a client each, the longest due first."""
    now = utcnow()
    waiting = sa.orm.aliased(LogoutDelivery)
    is_left_alone = (
        sa.select(waiting.id)
        .where(
            waiting.client_id == LogoutDelivery.client_id,
            waiting.state.in_(PENDING),
            waiting.next_attempt_at > now,
            sa.or_(waiting.state == "sending", waiting.holds_client),
        )
        .exists()
    )
    firsts = (
        sa.select(LogoutDelivery.id, LogoutDelivery.next_attempt_at)
        .distinct(LogoutDelivery.client_id)
        .where(LogoutDelivery.state.in_(PENDING), LogoutDelivery.next_attempt_at <= now, ~is_left_alone)
        # Whoever held the others back is tried first.
        .order_by(
            LogoutDelivery.client_id, LogoutDelivery.holds_client.desc(), LogoutDelivery.next_attempt_at
        )
        .subquery()
    )
    chosen = sa.select(firsts.c.id).order_by(firsts.c.next_attempt_at).limit(limit)
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIMS_LOCK)))
        rows = session.execute(
            sa.update(LogoutDelivery)
            .where(LogoutDelivery.id.in_(chosen.scalar_subquery()))
            .values(state="sending", attempts=LogoutDelivery.attempts + 1, next_attempt_at=now + LEASE)
            .returning(
                LogoutDelivery.id,
                LogoutDelivery.client_id,
                LogoutDelivery.sub,
                LogoutDelivery.sid,
                LogoutDelivery.attempts.label("attempt"),
                LogoutDelivery.correlation_id,
            )
            .execution_options(synchronize_session=False)
        ).all()
    return [Delivery(**row._mapping) for row in rows]


def settle(delivery: Delivery, outcome: Outcome) -> str | None:
    """Write down how an attempt ended. Returns the delivery's state; None when it is no longer ours to move."""
    set_correlation_id(delivery.correlation_id)
    now = utcnow()
    with db.transaction() as session:
        row = session.get(LogoutDelivery, delivery.id, with_for_update=True, populate_existing=True)
        if row is None:
            return None  # its client is gone
        if outcome.result == "delivered" and row.state != "delivered":
            # A fact, even when it comes after the lease ran out.
            row.state, row.delivered_at, row.last_error, row.holds_client = "delivered", now, None, False
        elif row.state != "sending" or row.attempts != delivery.attempt:
            return None
        else:
            row.last_error = outcome.error
            row.next_attempt_at = now + (outcome.wait or wait_after(row.attempts))
            has_patience = row.attempts < MOST_REFUSALS and not outcome.is_final
            if outcome.result == "unanswered":
                has_patience = row.next_attempt_at < row.give_up_at
            row.state = "queued" if has_patience else "parked"
            row.holds_client = has_patience and outcome.result == "unanswered"
            if not has_patience and outcome.result == "unanswered":
                _park_overdue(row.client_id, outcome.error)
        state: str = row.state
    record = log.info if state == "delivered" else log.warning
    record(
        "logout_" + outcome.result,
        client_id=delivery.client_id,
        delivery_id=str(delivery.id),
        attempt=delivery.attempt,
        state=state,
        error=outcome.error,
    )
    return state


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubling, with jitter so that a crowd spreads out."""
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
    return wait * random.uniform(0.8, 1.2)  # noqa: S311  not a secret


def _park_overdue(client_id: str, error: str | None) -> None:
    """What waited as long for the same client has waited long enough: it is not tried one by one."""
    with db.transaction() as session:
        session.execute(
            sa.update(LogoutDelivery)
            .where(
                LogoutDelivery.client_id == client_id,
                LogoutDelivery.state == "queued",
                LogoutDelivery.give_up_at <= utcnow() + LONGEST_WAIT,
            )
            .values(state="parked", last_error=error, holds_client=False)
            .execution_options(synchronize_session=False)
        )
