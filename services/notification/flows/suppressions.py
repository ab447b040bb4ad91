"""Suppressions: addresses that are written to no more, but for their security, until staff or an arrival lifts them."""

import contextlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert

from libs.guard.ratelimit import hashed_user
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.notification.extensions import audit, db
from services.notification.flows.recipients import mailbox_of
from services.notification.models import Suppression

log = get_logger("notification.suppressions")

PAGE = 50
LONGEST_DETAIL = 300
COMPLAINED = "complained"
"""What a person wants outweighs what a server says, and no mail that arrives lifts it."""
TAKEN, DELIVERED = ("refused",), ("refused", "bounced")
"""What is lifted when a server took mail for the address, and when a provider reports that it lies in the mailbox."""


class UnknownSuppression(Problem):
    status, slug = 404, "unknown-suppression"
    title = lazy_gettext("This address is not suppressed")


def suppress(*, email: str, reason: str, detail: str = "") -> bool:
    """Write to this address no more. `reason` is a word of models.SUPPRESSION_REASONS. False when it was so before.

    Said again, the newer reason and detail count, save that a complaint stays one.
    """
    row = insert(Suppression).values(email=mailbox_of(email), reason=reason, detail=detail[:LONGEST_DETAIL])
    with db.transaction() as session:
        is_known = is_suppressed(email)
        session.execute(
            row.on_conflict_do_update(
                index_elements=[Suppression.email],
                set_={name: row.excluded[name] for name in ("reason", "detail")},
                where=Suppression.reason != COMPLAINED,
            )
        )
        if not is_known:
            audit.record("address.suppressed", target=_target(email), after={"reason": reason})
            log.info("address_suppressed", reason=reason)
    return not is_known


def is_suppressed(email: str) -> bool:
    return reason_of(email) is not None


def reason_of(email: str) -> str | None:
    """Why the address is written to no more; None when it is."""
    return db.session.scalar(sa.select(Suppression.reason).where(Suppression.email == mailbox_of(email)))


def lift(*, email: str, reason: str | None = None) -> None:
    """Write to this address again. `reason` is what staff say about it. Raises UnknownSuppression."""
    with db.transaction() as session:
        was = session.execute(
            sa.delete(Suppression).where(Suppression.email == mailbox_of(email)).returning(Suppression.reason)
        ).scalar_one_or_none()
        if was is None:
            raise UnknownSuppression
        audit.record(
            "address.suppression_lifted", target=_target(email), before={"reason": was}, reason=reason
        )


def lift_for_arrival(*, email: str, said: Collection[str]) -> None:
    """A mail arrived there, as far as whoever tells can know: what is `said` less well is lifted.

    The server that takes our mail knows better than its own refusal, not what a provider reports later.
    """
    # Somebody else may lift it at the same moment.
    with db.transaction(), contextlib.suppress(UnknownSuppression):
        if reason_of(email) in said:
            lift(email=email, reason="a mail arrived")


def forget(*, email: str, before: datetime) -> None:
    """Its owner of then is gone, and so is every reason to remember the address (docs/decisions/0027)."""
    with db.transaction() as session:
        session.execute(
            sa.delete(Suppression).where(
                Suppression.email == mailbox_of(email), Suppression.created_at < before
            )
        )


def list_suppressions(
    *, text: str = "", reason: str | None = None, after: str | None = None, limit: int = PAGE
) -> Sequence[Suppression]:
    """The newest first: addresses that begin with a text, of one reason, those that follow an address."""
    query = sa.select(Suppression).order_by(Suppression.created_at.desc(), Suppression.email).limit(limit)
    if text:
        query = query.where(Suppression.email.startswith(mailbox_of(text.replace("\0", "")), autoescape=True))
    if reason:
        query = query.where(Suppression.reason == reason)
    last = db.session.get(Suppression, mailbox_of(after.replace("\0", ""))) if after else None
    if last is not None:
        same = sa.and_(Suppression.created_at == last.created_at, Suppression.email > last.email)
        query = query.where(sa.or_(Suppression.created_at < last.created_at, same))
    return db.session.scalars(query.execution_options(populate_existing=True)).all()


def history(email: str) -> list[sa.Row[Any]]:
    """Who suppressed and lifted this address, and why, newest first."""
    return audit.entries(target=_target(email), limit=PAGE)


def _target(email: str) -> str:
    """A keyed hash: the audit is kept for good, and names nobody who asks to be forgotten."""
    return f"address:{hashed_user(parts_of(current_app).settings, mailbox_of(email))[:16]}"
