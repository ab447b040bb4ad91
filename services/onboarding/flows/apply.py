"""Asking to join: the application, the proof of the address, a fresh mail for whoever lost one."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from libs.audit import acting_as
from libs.database import utcnow, uuid7
from services.onboarding.extensions import audit, db
from services.onboarding.flows import links, mail, states
from services.onboarding.flows.invitations import uses
from services.onboarding.flows.review import reviewers
from services.onboarding.models import IS_OPEN, OPEN, UNDECIDED, Application, Invitation, fold

__all__ = ["confirm_address", "fold", "look_at_confirmation", "send_again", "send_again_for_link", "submit"]

MAIL_INTERVAL = timedelta(minutes=1)
"""Who asks again within this time is sent no second mail."""


def submit(
    *,
    email: str,
    name: str,
    why: str,
    locale: str,
    continue_to: str | None,
    invitation: Invitation | None = None,
) -> Application:
    """Take an application and mail a link that confirms its address.

    An address has one open application: sent again, it is the same row. Until the address is confirmed the
    newest answers count, and a change of them ends the earlier link, so that nobody confirms what they were
    not shown. Does the same work whatever is known of the address. With an `invitation` that was mailed to the
    address no mail is needed: its link came by one.
    """
    answers = {"name": name, "why": why}
    with db.transaction():
        application, is_new = _open_application(
            email=email, locale=locale, continue_to=continue_to, **answers
        )
        changed = [field for field, value in answers.items() if getattr(application, field) != value]
        if is_new:
            audit.record(
                "application.submitted",
                target=states.target(application.id),
                after={"state": application.state},
            )
        elif application.state == "submitted" and changed:
            application.name, application.why = name, why
            application.locale, application.continue_to = locale, continue_to
            audit.record(
                "application.answers_changed",
                target=states.target(application.id),
                after={"changed": changed},
            )
        if uses.is_for(invitation, application):
            return application
        if is_new or (changed and application.state == "submitted"):
            mail.ask_to_confirm(application)
        else:
            _repeat_mail(application)
        return application


def _open_application(*, email: str, **values: str | None) -> tuple[Application, bool]:
    """The one open application of this address, held, and whether it was made just now."""
    while True:
        made = db.session.execute(
            insert(Application)
            .values(email=email, email_folded=fold(email), **values)
            .on_conflict_do_nothing(index_elements=["email_folded"], index_where=IS_OPEN)
            .returning(Application.id)
        ).scalar_one_or_none()
        application = _find_open(fold(email))
        if application is not None:
            return application, made is not None
        # What stood in the way was closed between the two statements: the way is free now.


def _find_open(folded: str) -> Application | None:
    return db.session.execute(
        sa.select(Application)
        .where(Application.email_folded == folded, Application.state.in_(OPEN))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()


def look_at_confirmation(*, token: str) -> tuple[Application, str | None]:
    """The application of a confirmation link, and why the link has ended (None while it lives).

    Spends nothing. Raises LinkEnded when there is no such link.
    """
    link = links.find(token, links.CONFIRM_ADDRESS)
    if link is None:
        raise links.LinkEnded("unknown")
    return states.get(link.application_id), links.end_of(link)


def confirm_address(*, token: str) -> str | None:
    """The applicant has the address. An approved application is mailed its activation link at this moment.

    Returns that link where the person was invited, whose browser goes on with it. Raises LinkEnded.
    """
    with db.transaction():
        link = links.open_link(token, links.CONFIRM_ADDRESS)
        states.get_locked(link.application_id)
        links.spend(link)
        application = states.make(states.CONFIRM, link.application_id)
        if application.invitation_id is not None and application.state in UNDECIDED:
            actor = uses.target(application.invitation_id)
            with acting_as(actor):
                application = states.make(states.APPROVE, application.id, decided_by=actor)
        if application.state == "confirmed":
            reviewers.tell(application)
        if application.state != "approved":
            return None
        url = mail.send_activation_link(application)
        return url if application.invitation_id is not None else None


def send_again(*, email: str) -> None:
    """Mail the link that this address's open application waits for. Says nothing about there being one."""
    with db.transaction():
        application = _find_open(fold(email))
        if application is None:
            _do_the_same_work()
        else:
            _repeat_mail(application)


def send_again_for_link(*, token: str) -> None:
    """The same for the application of a mailed link, alive or ended."""
    with db.transaction():
        link = links.find(token, *links.PATHS)
        application = states.get_locked(link.application_id) if link else None
        if application is None or application.state not in OPEN:
            _do_the_same_work()
        else:
            _repeat_mail(application)


def _repeat_mail(application: Application) -> None:
    """The mail that an open application waits for, at most one a minute."""
    is_soon = application.mailed_at is not None and utcnow() - application.mailed_at < MAIL_INTERVAL
    if application.state == "confirmed" or is_soon:
        # Either the reviewers are to act, or the mail is on its way already.
        _do_the_same_work()
        return
    audit.record("application.mail_repeated", target=states.target(application.id))
    if application.confirmed_at is None:
        mail.ask_to_confirm(application)
    else:
        mail.send_activation_link(application)


def _do_the_same_work() -> None:
    """What a mail costs, undone: the time of an answer must not say whether there was one to send."""
    with db.session.begin_nested() as savepoint:
        nobody = Application(
            id=uuid7(), email="", email_folded="", name="", why="", locale="en", state="rejected"
        )
        db.session.add(nobody)
        db.session.flush()
        audit.record("application.mail_repeated", target=states.target(nobody.id))
        mail.ask_to_confirm(nobody)
        savepoint.rollback()
