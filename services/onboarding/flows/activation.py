"""From an approved application to an account: the way over, links by command, activation without a mail."""

import uuid
from datetime import datetime

from flask import current_app
from flask_babel import lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow
from libs.messaging.events import ApplicantActivated
from libs.observe.logs import get_logger
from libs.people.handover import seal_ticket
from libs.restoring import is_undone
from libs.service import parts_of
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import links, people, states
from services.onboarding.flows.review import questions
from services.onboarding.models import UNDECIDED, Application

log = get_logger("onboarding.activation")


class NotApproved(Problem):
    status, slug = 409, "not-approved"
    title = lazy_gettext("The application is not approved")


def look_at_activation(*, token: str) -> Application:
    """The application of a living activation link; looking spends nothing. Raises LinkEnded."""
    return states.get(links.open_link(token, links.ACTIVATE).application_id)


def seal_enrolment(*, token: str) -> str:
    """The ticket with which account lets the person of a living activation link enrol. Raises LinkEnded.

    Nothing is spent: a mail scanner that presses buttons burns no link, and account opens one account per
    application whatever we hand out.
    """
    application = look_at_activation(token=token)
    content = {
        "application_id": str(application.id),
        "email": application.email,
        # False where the link was printed for an operator before the applicant confirmed the address.
        "email_verified": application.confirmed_at is not None,
        "name": application.name,
        "locale": application.locale,
        "roles": application.roles,
        "continue": application.continue_to,
    }
    return seal_ticket(parts_of(current_app).settings, purpose="enrol", audience="account", content=content)


def make_link(*, application_id: uuid.UUID) -> str:
    """A new activation link for an operator to hand over; it ends the earlier one. Raises NotApproved."""
    with db.transaction():
        application = states.get_locked(application_id)
        if application.state != "approved":
            raise NotApproved(
                lazy_gettext(
                    "The application of %(email)s is %(state)s: only approved ones have an activation link.",
                    email=application.email,
                    state=application.state,
                )
            )
        url, _ = links.issue(application.id, links.ACTIVATE)
        audit.record("application.link_printed", target=states.target(application.id))
        return url


def activate_directly(*, application_id: uuid.UUID, reason: str) -> Application:
    """Have the account opened without the applicant's doing; account mails them a link to set a password.

    Approves what nobody decided yet. The address is not proven by it, but by the link that account mails. Repeating it
    is harmless until the account is open. Raises NotApproved.
    """
    with db.transaction():
        application = states.get_locked(application_id)
        if application.state in UNDECIDED:
            application = states.make(states.APPROVE, application.id, decided_by=current_actor())
            questions.close(application.id)
        if application.state != "approved":
            raise NotApproved(
                lazy_gettext(
                    "The application of %(email)s is %(state)s: it cannot be activated.",
                    email=application.email,
                    state=application.state,
                )
            )
        # From here on nothing is taken back, withdrawn or expired: account may open it at any moment.
        application.directly_activated_at = utcnow()
        audit.record("application.directly_activated", target=states.target(application.id), reason=reason)
        outbox.record(
            ApplicantActivated(
                application_id=str(application.id),
                email=application.email,
                name=application.name,
                locale=application.locale,
                roles=application.roles,
                reason=reason,
            )
        )
        return application


def note_opened(*, application_id: uuid.UUID, sub: str, opened_at: datetime | None = None) -> None:
    """The account is open: application and link are used up. Told twice, it happens once.

    Told after the account has been erased, there is nothing left that it would be about. Whoever was on their way when
    a yes was taken back, or when the application ended, has their account all the same: the history says so.
    Where this database was restored since, it may be older than the account, which is what counts. Raises NotPossible,
    NoSuchApplication.
    """
    with db.transaction():
        if people.is_erased(sub=sub):
            return
        is_older = is_undone(opened_at)
        try:
            application = states.get_locked(application_id)
        except states.NoSuchApplication:
            if not is_older:
                raise
            log.warning("application_undone", application_id=str(application_id), sub=sub)
            return
        if application.state == "activated" and application.sub == sub:
            return
        if application.state != "approved":
            audit.record(
                "application.enrolled_meanwhile",
                target=states.target(application_id),
                before={"state": application.state},
            )
        move = states.ACTIVATE_AFTER_RESTORE if is_older else states.ACTIVATE
        states.make(move, application_id, sub=sub)
        questions.close(application_id)
        links.use_up(application_id, links.ACTIVATE)
        links.supersede(application_id)
