"""The state machine of an application: which moves there are, and the one statement that makes them.

    submitted ── confirm ──► confirmed
        │  ▲                  │  ▲
        │  └──── release ─────┼──┘
        └──────── claim ──────┴──► in_review ◄── take back ──┐
        │                     │        │                     │
        └─────────────────────┴────────┴── approve ──► approved ── activate ──► activated
                                       └── reject ───► rejected

An address may also be confirmed in review and after the approval: the state stays, and `confirmed_at` is set.
From every open state the applicant may withdraw; what nobody goes on with expires.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.service import parts_of
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.models import OPEN, UNDECIDED, Application

BEFORE_REVIEW = "before review"
"""Where a move leads back to: `confirmed`, or `submitted` while the address is not proven."""


@dataclass(frozen=True)
class Move:
    """A step of an application: the audit's name of it, where it leads from each state, when it was made.

    `at` is the column that keeps the time; a move whose column is set is never made again, unless it is `repeatable`.
    """

    action: str
    leads: Mapping[str, str]
    at: str
    repeatable: bool = False


def _from(states: Iterable[str], to: str) -> dict[str, str]:
    return dict.fromkeys(states, to)


CONFIRM = Move(
    "application.address_confirmed",
    {"submitted": "confirmed", "in_review": "in_review", "approved": "approved"},
    "confirmed_at",
)
CLAIM = Move("application.claimed", _from(UNDECIDED, "in_review"), "claimed_at", repeatable=True)
RELEASE = Move("application.released", {"in_review": BEFORE_REVIEW}, "claimed_at", repeatable=True)
APPROVE = Move("application.approved", _from(UNDECIDED, "approved"), "decided_at")
REJECT = Move("application.rejected", _from(UNDECIDED, "rejected"), "decided_at")
TAKE_BACK = Move(
    "application.decision_taken_back",
    _from(("approved", "rejected"), "in_review"),
    "decided_at",
    repeatable=True,
)
EXPIRE = Move("application.expired", _from(("submitted", "in_review", "approved"), "expired"), "expired_at")
WITHDRAW = Move("application.withdrawn", _from(OPEN, "withdrawn"), "withdrawn_at")
ACTIVATE = Move(
    "application.activated",
    # Whoever enrols in the minutes in which a yes is taken back has an account all the same.
    _from(("approved", "in_review", "rejected", "expired", "withdrawn"), "activated"),
    "activated_at",
)
ACTIVATE_AFTER_RESTORE = Move(
    ACTIVATE.action,
    # This database may be older than account's: what led to the account is lost here.
    {**ACTIVATE.leads, **_from(UNDECIDED, "activated")},
    ACTIVATE.at,
)


class NotPossible(Problem):
    """The application is not, or no longer, where this move starts."""

    status, slug = 409, "not-possible"
    title = lazy_gettext("The application has moved on")

    def __init__(self, application: Application):
        super().__init__(lazy_gettext("This is not possible in the state that the application is in now."))
        self.application = application


class NoSuchApplication(Problem):
    """No application has this id, or its person was erased at this moment."""

    status, slug = 404, "unknown-application"
    title = lazy_gettext("There is no application with this id")


def target(application_id: uuid.UUID) -> str:
    """What the audit calls an application."""
    return f"application:{application_id}"


def make(
    move: Move, application_id: uuid.UUID, *, where: sa.ColumnElement[bool] | None = None, **values: Any
) -> Application:
    """Make the move, once: of two side by side one wins. Its audit entry is part of the transaction under way.

    `where` is what must be true of the application besides its state. `values` are columns that change with it; a
    `reason` among them is the audit's too.

    Raises NotPossible with the application as it stands, NoSuchApplication.
    """
    with db.transaction() as session:
        was = (
            sa.select(Application.id, Application.state)
            .where(Application.id == application_id)
            .with_for_update()
            .cte("was")
        )
        moved = session.execute(
            sa.update(Application)
            .where(
                Application.id == was.c.id,
                was.c.state.in_(move.leads),
                sa.true() if move.repeatable else getattr(Application, move.at).is_(None),
                sa.true() if where is None else where,
            )
            .values({"state": _target_state(move, was.c.state), move.at: utcnow(), **values})
            .returning(Application, was.c.state.label("was")),
            execution_options={"synchronize_session": False, "populate_existing": True},
        ).one_or_none()
        if moved is None:
            raise NotPossible(get(application_id))
        application: Application = moved[0]
        audit.record(
            move.action,
            target=target(application_id),
            before={"state": moved.was},
            after={"state": application.state},
            reason=values.get("reason"),
        )
        outcome = _outcome(move, application)
        if outcome:
            counter = parts_of(current_app).metrics.application_decisions.labels(outcome=outcome)
            db.after_commit(counter.inc)
        return application


def _outcome(move: Move, application: Application) -> str | None:
    """What a move counts as among decisions: a word of DECISION_OUTCOMES, or none."""
    if move is APPROVE:
        by = (application.decided_by or "").partition(":")[0]
        return f"approved_by_{by}" if by in ("policy", "invitation") else "approved"
    if move is REJECT:
        return "rejected"
    return "taken_back" if move is TAKE_BACK else None


def _target_state(move: Move, was: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    before_review = sa.case((Application.confirmed_at.is_(None), "submitted"), else_="confirmed")
    return sa.case(
        *(
            (was == state, before_review if leads_to == BEFORE_REVIEW else sa.literal(leads_to))
            for state, leads_to in move.leads.items()
        )
    )


def get(application_id: uuid.UUID) -> Application:
    """The application as it stands now. Raises NoSuchApplication."""
    application = db.session.get(Application, application_id, populate_existing=True)
    if application is None:
        raise NoSuchApplication
    return application


def get_locked(application_id: uuid.UUID) -> Application:
    """The same, held until the transaction under way ends; whoever makes links holds their application."""
    application = db.session.get(Application, application_id, populate_existing=True, with_for_update=True)
    if application is None:
        raise NoSuchApplication
    return application
