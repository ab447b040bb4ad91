"""Reviewing applications: the queue, one application with its history, the decision."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.observe.metrics import GaugeSamples
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.flows import links, mail, people, states
from services.onboarding.flows.apply import fold
from services.onboarding.models import STATES, UNDECIDED, Application

PAGE_SIZE = 50
FILTERS = ("undecided", *STATES, "all")
LONGEST_HISTORY = 200


class AlreadyDecided(Problem):
    """Another reviewer was faster, or the decision was made long ago."""

    status, slug = 409, "already-decided"
    title = lazy_gettext("This application has already been decided")

    def __init__(self, detail: Any, application: Application):
        super().__init__(detail)
        self.application = application


@dataclass(frozen=True)
class Page:
    """A page of the queue. `after` opens the next one; None on the last."""

    applications: list[Application]
    after: uuid.UUID | None


@dataclass(frozen=True)
class Entry:
    """A line of an application's history. `who` is a name where we know one, else the actor."""

    at: datetime
    action: str
    actor: str
    who: str | None
    reason: str | None


def queue(
    *,
    state: str = "undecided",
    search: str = "",
    newest_first: bool = False,
    after: uuid.UUID | None = None,
    size: int = PAGE_SIZE,
) -> Page:
    """Applications of a filter, by age. `search` finds parts of names and addresses.

    Pages go on from the last id seen, so that the hundredth costs what the first does.
    """
    query = sa.select(Application).limit(size + 1)
    query = query.order_by(Application.id.desc() if newest_first else Application.id)
    if state == "undecided":
        query = query.where(Application.state.in_(UNDECIDED))
    elif state != "all":
        query = query.where(Application.state == state)
    words = search.replace("\0", "").strip()
    if words:
        query = query.where(
            sa.or_(
                Application.email_folded.contains(words.lower(), autoescape=True),
                Application.name.icontains(words, autoescape=True),
            )
        )
    if after is not None:
        query = query.where(Application.id < after if newest_first else Application.id > after)
    found = list(db.session.execute(query).scalars())
    return Page(found[:size], found[size - 1].id if len(found) > size else None)


def of_address(email: str) -> list[Application]:
    """All applications of an address, newest first."""
    return list(
        db.session.execute(
            sa.select(Application)
            .where(Application.email_folded == fold(email))
            .order_by(Application.id.desc())
            .limit(PAGE_SIZE)
        ).scalars()
    )


def history(*, application_id: uuid.UUID) -> list[Entry]:
    """What happened to an application, oldest first."""
    rows = audit.entries(target=states.target(application_id), limit=LONGEST_HISTORY)
    names = people.names_of(row.actor for row in rows)
    return [
        Entry(row.created_at, row.action, row.actor, names.get(row.actor), row.reason)
        for row in reversed(rows)
    ]


def approve(*, application_id: uuid.UUID) -> Application:
    """Say yes. The activation mail leaves once the address is confirmed too, now or later.

    Raises AlreadyDecided, unless it was the same reviewer saying the same before.
    """
    return _decide(states.APPROVE, application_id, _after_approval, reason=None)


def reject(*, application_id: uuid.UUID, reason: str | None = None) -> Application:
    """Say no; the applicant is mailed the decision and the reason. Raises AlreadyDecided like approve()."""
    return _decide(states.REJECT, application_id, _after_rejection, reason=reason)


def _decide(
    move: states.Move,
    application_id: uuid.UUID,
    follow: Callable[[Application], None],
    *,
    reason: str | None,
) -> Application:
    actor = current_actor()
    with db.transaction():
        try:
            application = states.make(move, application_id, decided_by=actor, reason=reason)
        except states.NotPossible as error:
            application = error.application
            if application.decided_by == actor and application.state in move.leads.values():
                # The answer got lost on its way and the form was sent again.
                return application
            raise AlreadyDecided(_who_decided(application), application) from error
        follow(application)
        return application


def _after_approval(application: Application) -> None:
    if application.confirmed_at is not None:
        mail.send_activation_link(application)


def _after_rejection(application: Application) -> None:
    links.supersede(application.id)
    mail.tell_rejected(application)


def _who_decided(application: Application) -> Any:
    actor = application.decided_by or ""
    who = people.names_of([actor]).get(actor, actor.removeprefix("command:"))
    if application.state == "rejected":
        return lazy_gettext("%(who)s has already rejected this application.", who=who)
    return lazy_gettext("%(who)s has already approved this application.", who=who)


def count_undecided() -> int:
    return db.session.execute(
        sa.select(sa.func.count()).select_from(Application).where(Application.state.in_(UNDECIDED))
    ).scalar_one()


def gauges() -> GaugeSamples:
    """How many applications are in each state, 0 included."""
    rows = db.session.execute(sa.select(Application.state, sa.func.count()).group_by(Application.state))
    counts = {row[0]: row[1] for row in rows}
    for state in STATES:
        yield "id_applications", "Applications, by state", {"state": state}, counts.get(state, 0)
