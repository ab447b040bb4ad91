"""The state machine of an application: which moves there are, and the one statement that makes them.

    submitted ── confirm ──► confirmed ──┬─ approve ──► approved ── activate ──► activated
        └──────── approve, reject ───────┴─ reject ───► rejected

An address may also be confirmed after the approval: the state stays `approved` and `confirmed_at` is set.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.models import Application


@dataclass(frozen=True)
class Move:
    """A step of an application: the audit's name of it, where it leads from each state, when it was made.

    `at` is the column that keeps the time; a move whose column is set is never made again.
    """

    action: str
    leads: Mapping[str, str]
    at: str


CONFIRM = Move(
    "application.address_confirmed", {"submitted": "confirmed", "approved": "approved"}, "confirmed_at"
)
APPROVE = Move("application.approved", {"submitted": "approved", "confirmed": "approved"}, "decided_at")
REJECT = Move("application.rejected", {"submitted": "rejected", "confirmed": "rejected"}, "decided_at")
ACTIVATE = Move("application.activated", {"approved": "activated"}, "activated_at")


class NotPossible(Problem):
    """The application is not, or no longer, where this move starts."""

    status, slug = 409, "not-possible"
    title = lazy_gettext("The application has moved on")

    def __init__(self, application: Application):
        super().__init__(lazy_gettext("This is not possible in the state that the application is in now."))
        self.application = application


class NoSuchApplication(LookupError):
    """No application has this id or address; the message is a sentence."""


def target(application_id: uuid.UUID) -> str:
    """What the audit calls an application."""
    return f"application:{application_id}"


def make(move: Move, application_id: uuid.UUID, **values: Any) -> Application:
    """Make the move, once: of two side by side one wins. Its audit entry is part of the transaction under way.

    `values` are columns that change with it; a `reason` among them is the audit's too.

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
                getattr(Application, move.at).is_(None),
            )
            .values({"state": sa.case(dict(move.leads), value=was.c.state), move.at: utcnow(), **values})
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
        return application


def get(application_id: uuid.UUID) -> Application:
    """The application as it stands now. Raises NoSuchApplication."""
    application = db.session.get(Application, application_id, populate_existing=True)
    if application is None:
        raise NoSuchApplication(f"No application has the id {application_id}.")
    return application


def get_locked(application_id: uuid.UUID) -> Application:
    """The same, held until the transaction under way ends; whoever makes links holds their application."""
    application = db.session.get(Application, application_id, populate_existing=True, with_for_update=True)
    if application is None:
        raise NoSuchApplication(f"No application has the id {application_id}.")
    return application
