"""Decisions: approve, reject, several at once, and taking one back until the person is in."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow
from libs.web.problems import Problem
from services.onboarding.extensions import db
from services.onboarding.flows import links, mail, states
from services.onboarding.flows.review import questions, standing
from services.onboarding.models import Application

OPEN_EMAIL = "uq_applications_open_email"


class NotTakenBack(Problem):
    """The decision stands; `detail` says why."""

    status, slug = 409, "not-taken-back"
    title = lazy_gettext("The decision cannot be taken back")


@dataclass(frozen=True)
class Outcome:
    """What came of one application of several: None for `why_not` where it was decided as asked."""

    application_id: uuid.UUID
    name: str
    why_not: Any


def approve(*, application_id: uuid.UUID) -> Application:
    """Say yes. The activation mail leaves once the address is confirmed too, now or later.

    Raises AlreadyDecided, unless it was the same actor saying the same before; ClaimedByAnother.
    """
    return _decide(states.APPROVE, application_id, _after_approval)


def reject(
    *, application_id: uuid.UUID, reason: str | None = None, reason_is_shown: bool = True
) -> Application:
    """Say no; the applicant is mailed the decision, and the reason if it is shown. Raises like approve()."""
    return _decide(
        states.REJECT, application_id, _after_rejection, reason=reason, reason_is_shown=reason_is_shown
    )


def approve_each(application_ids: Iterable[uuid.UUID]) -> list[Outcome]:
    """Say yes to several, each in a transaction of its own: what stands in one's way stops none of the others."""
    return _each(application_ids, lambda one: approve(application_id=one))


def reject_each(
    application_ids: Iterable[uuid.UUID], *, reason: str | None = None, reason_is_shown: bool = True
) -> list[Outcome]:
    """Say no to several, as approve_each()."""
    return _each(
        application_ids,
        lambda one: reject(application_id=one, reason=reason, reason_is_shown=reason_is_shown),
    )


def _each(application_ids: Iterable[uuid.UUID], act: Callable[[uuid.UUID], Application]) -> list[Outcome]:
    outcomes = []
    for one in dict.fromkeys(application_ids):
        try:
            outcomes.append(Outcome(one, act(one).name, None))
        except (standing.AlreadyDecided, standing.ClaimedByAnother) as error:
            outcomes.append(Outcome(one, error.application.name, error.detail))
        except states.NoSuchApplication:
            outcomes.append(Outcome(one, "", lazy_gettext("There is no such application any more.")))
    return outcomes


def take_back(*, application_id: uuid.UUID) -> Application:
    """Undecide: the application is in review again, with whoever took it back, and the applicant is told.

    Possible until the person has enrolled, or account was told to open the account. Raises NotTakenBack.
    """
    actor = current_actor()
    is_reviewer = actor.startswith("user:")
    with db.transaction() as session:
        application = states.get_locked(application_id)
        why_it_stands = _why_it_stands(application)
        if why_it_stands is not None:
            raise NotTakenBack(why_it_stands)
        try:
            with session.begin_nested():
                application = states.make(
                    states.TAKE_BACK,
                    application_id,
                    decided_at=None,
                    decided_by=None,
                    reason=None,
                    reason_is_shown=True,
                    claimed_by=actor if is_reviewer else None,
                    claimed_at=utcnow() if is_reviewer else None,
                )
        except sa.exc.IntegrityError as error:
            if OPEN_EMAIL not in str(error.orig):
                raise
            raise NotTakenBack(
                lazy_gettext("This address has applied again meanwhile: decide on the newer application.")
            ) from error
        links.supersede(application_id, links.ACTIVATE)
        mail.tell_taken_back(application)
        if application.confirmed_at is None:
            # A rejection has ended the link that proves the address, or it is long out of date.
            mail.ask_to_confirm(application)
        return application


def may_be_taken_back(application: Application) -> bool:
    """Whether take_back() has a chance."""
    return _why_it_stands(application) is None


def _why_it_stands(application: Application) -> Any:
    """What keeps a decision from being taken back, in words; None where nothing does."""
    if application.state == "activated":
        return lazy_gettext("The person has an account already.")
    if application.state not in ("approved", "rejected"):
        return lazy_gettext("This application is not decided.")
    if application.directly_activated_at is not None:
        return lazy_gettext("The account was opened directly.")
    if application.email_folded == "":
        return lazy_gettext("The person has left, and nothing of the application is kept.")
    return None


def _decide(
    move: states.Move, application_id: uuid.UUID, follow: Callable[[Application], None], **values: Any
) -> Application:
    actor = current_actor()
    with db.transaction():
        application = states.get_locked(application_id)
        if application.decided_by == actor and application.state in move.leads.values():
            # The answer got lost on its way and the form was sent again.
            return application
        standing.hold(application_id)
        application = states.make(move, application_id, decided_by=actor, **values)
        questions.close(application_id)
        follow(application)
        return application


def _after_approval(application: Application) -> None:
    if application.confirmed_at is not None:
        mail.send_activation_link(application)


def _after_rejection(application: Application) -> None:
    links.supersede(application.id)
    mail.tell_rejected(application)
