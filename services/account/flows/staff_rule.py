"""The rule that staff need a second factor: without one, a sign-in carries none of their roles."""

import time
from collections.abc import Sequence

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.messaging.events import AccessRevoked
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.copies import owe
from services.account.flows.factors import reachable_acr
from services.account.models import Rule, User

NAME = "staff_second_factor"
LOCK = 20_260_311
"""Advisory: whoever gives roles holds it shared, whoever changes the rule holds it alone; taken before any row."""


class WouldLockYouOut(Problem):
    """Whoever makes the rule would lose their own roles by it."""

    status, slug = 409, "would-lock-you-out"
    title = lazy_gettext("Set up a second factor for yourself first")


def is_second_factor_required() -> bool:
    """Whether staff need one."""
    with db.single_statements() as session:
        return _value(session)


def read_rule_for_roles(session: DatabaseSession) -> bool:
    """Whether whoever has roles needs a second factor; it stays so until the transaction under way has ended.

    Called before any row is locked.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(LOCK)))
    return _value(session)


def require_second_factor_of_staff(*, required: bool, by: str | None = None) -> int:
    """Make the rule, or lift it, for everybody with a role, now and later. Returns how many people it reaches.

    `by` is the sub of the administrator who decides, None for an operator. Every session's copy is rewritten; what
    apps hold of these people ends: it may carry roles that one factor gave. Raises WouldLockYouOut.
    """
    with db.transaction() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        if required and by is not None:
            mine = session.scalar(sa.select(User.id).where(User.sub == by))
            if mine is None or reachable_acr(session, user_id=mine) == "1":
                raise WouldLockYouOut(
                    gettext("Without one you would lose your own roles at once, and could not undo this.")
                )
        before = _value(session)
        statement = insert(Rule).values(name=NAME, value=required)
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": required}))
        has_role = sa.func.cardinality(User.roles) > 0
        # In one order, as everywhere that many people are locked.
        affected = session.scalars(
            sa.select(User.id)
            .where(User.needs_second_factor.is_distinct_from(required), has_role if required else sa.true())
            .order_by(User.id)
            .with_for_update(key_share=True)
        ).all()
        reached = session.execute(
            sa.update(User)
            .where(User.id.in_(affected))
            .values(needs_second_factor=required)
            .returning(User.id, User.sub)
            .execution_options(synchronize_session=False)
        ).all()
        owe(*[("rewrite_copies", str(person.id)) for person in reached])
        if required:
            _end_grants([person.sub for person in reached])
        audit.record(
            "rule.changed",
            target=f"rule:{NAME}",
            before={"required": before},
            after={"required": required, "people": len(reached)},
        )
    return len(reached)


def _end_grants(subs: Sequence[str]) -> None:
    """End what apps hold of these people, whose sessions stay; in the transaction under way."""
    owe(*[("deny_sub", sub) for sub in subs])
    for sub in subs:
        outbox.record(
            AccessRevoked(sub=sub, sids=None, cause="second_factor_required", not_before=int(time.time()))
        )


def _value(session: DatabaseSession) -> bool:
    return bool(session.scalar(sa.select(Rule.value).where(Rule.name == NAME)))
