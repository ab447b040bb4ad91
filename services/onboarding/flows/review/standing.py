"""Whether a reviewer may act on an application now: nobody has decided it, and no other reviewer has claimed it."""

import uuid
from typing import Any

from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.web.problems import Problem
from services.onboarding.flows import people, states
from services.onboarding.models import UNDECIDED, Application

HELD_BACK_BY_CLAIMS = ("user:", "client:")
"""Whom another's claim stops. Commands, policies and invitations are above claims."""


class AlreadyDecided(Problem):
    """Another reviewer was faster, or the application has ended otherwise."""

    status, slug = 409, "already-decided"
    title = lazy_gettext("This application has already been decided")

    def __init__(self, application: Application):
        super().__init__(_what_happened(application))
        self.application = application


class ClaimedByAnother(Problem):
    """Another reviewer is at it; whoever knows better takes it over first."""

    status, slug = 409, "claimed-by-another"
    title = lazy_gettext("Another reviewer has claimed this application")

    def __init__(self, application: Application):
        who = name_of(application.claimed_by)
        super().__init__(
            lazy_gettext("%(who)s has claimed this application. Take it over if you want to go on.", who=who)
        )
        self.application = application


def hold(application_id: uuid.UUID) -> Application:
    """The application, for the actor to act on, held until the transaction under way ends.

    Raises AlreadyDecided, ClaimedByAnother, NoSuchApplication.
    """
    application = states.get_locked(application_id)
    check_undecided(application)
    if is_held_by_another(application):
        raise ClaimedByAnother(application)
    return application


def check_undecided(application: Application) -> None:
    """Raises AlreadyDecided."""
    if application.state not in UNDECIDED:
        raise AlreadyDecided(application)


def is_held_by_another(application: Application) -> bool:
    """Whether somebody else's claim keeps the actor from acting."""
    if application.state != "in_review" or application.claimed_by is None:
        return False
    actor = current_actor()
    return application.claimed_by != actor and actor.startswith(HELD_BACK_BY_CLAIMS)


def name_of(actor: str | None) -> Any:
    """What people call an actor of the audit."""
    kind, _, rest = (actor or "").partition(":")
    known = people.names_of([actor]).get(actor or "")
    if known:
        return known
    words = {
        "user": lazy_gettext("A reviewer"),
        "client": lazy_gettext("A program"),
        "policy": lazy_gettext("The policy"),
        "invitation": lazy_gettext("An invitation"),
        "command": rest,
    }
    return words.get(kind) or lazy_gettext("The system")


def _what_happened(application: Application) -> Any:
    if application.state == "activated":
        return lazy_gettext("This application has become an account.")
    if application.state == "withdrawn":
        return lazy_gettext("The applicant has withdrawn this application.")
    if application.state == "expired":
        return lazy_gettext("This application has expired.")
    who = name_of(application.decided_by)
    if application.state == "rejected":
        return lazy_gettext("%(who)s has already rejected this application.", who=who)
    return lazy_gettext("%(who)s has already approved this application.", who=who)
