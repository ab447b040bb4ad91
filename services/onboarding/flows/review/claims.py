"""Claims: who is at an application, so that no two reviewers read the same one."""

import uuid

from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.web.problems import Problem
from services.onboarding.extensions import db
from services.onboarding.flows import states
from services.onboarding.flows.review import standing
from services.onboarding.models import Application


class NotYours(Problem):
    """There is no claim of the actor's to give back."""

    status, slug = 409, "not-yours"
    title = lazy_gettext("You have not claimed this application")


def claim(*, application_id: uuid.UUID, instead_of: str | None = None) -> Application:
    """Take up an application. Claimed by the same actor before, nothing changes.

    `instead_of` is whom it is taken over from: of two who take it over at once, one has it and the other is told.
    Raises AlreadyDecided, ClaimedByAnother.
    """
    actor = current_actor()
    with db.transaction():
        application = states.get_locked(application_id)
        standing.check_undecided(application)
        holder = application.claimed_by if application.state == "in_review" else None
        if holder == actor:
            return application
        if holder is not None and holder != instead_of:
            raise standing.ClaimedByAnother(application)
        return states.make(states.CLAIM, application_id, claimed_by=actor)


def release(*, application_id: uuid.UUID) -> Application:
    """Give one's own claim back; the application waits for anybody again. Raises AlreadyDecided, NotYours."""
    with db.transaction():
        application = states.get_locked(application_id)
        standing.check_undecided(application)
        if application.state != "in_review" or application.claimed_by != current_actor():
            raise NotYours
        return states.make(states.RELEASE, application_id, claimed_by=None, claimed_at=None)
