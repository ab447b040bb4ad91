"""Asking to join: the application, the proof of the address, a fresh mail for whoever lost one."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert

from libs.audit import acting_as
from libs.database import utcnow, uuid7
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.flows import links, mail, policies, states, status
from services.onboarding.flows.invitations import uses
from services.onboarding.flows.policies import Verdict
from services.onboarding.flows.review import reviewers
from services.onboarding.models import IS_OPEN, OPEN, UNDECIDED, Application, Invitation, fold

log = get_logger("onboarding.apply")

MAIL_INTERVAL = timedelta(minutes=1)
"""Who asks again within this time is sent no second mail."""
COME_BACK_AFTER_S = 3600


class NotTaken(Problem):
    """The policy refuses this application, and may say so: `verdict` names the rule."""

    def __init__(self, verdict: Verdict):
        self.status, self.slug, self.title = _REFUSALS[verdict.rule]
        is_about_address = verdict.rule in ("refused_domain", "disposable_domain")
        super().__init__(
            verdict.words,
            errors={"email": verdict.words} if is_about_address else None,
            retry_after=COME_BACK_AFTER_S if self.status == 503 else None,
        )
        self.verdict = verdict


_ADDRESS_REFUSED = (422, "address-refused", lazy_gettext("This address cannot be used here"))
_REFUSALS: dict[str, tuple[int, str, Any]] = {
    "closed": (403, "applications-closed", lazy_gettext("Nobody can join at the moment")),
    "refused_domain": _ADDRESS_REFUSED,
    "disposable_domain": _ADDRESS_REFUSED,
    "invitation_only": (403, "invitation-needed", lazy_gettext("Joining needs an invitation")),
    "nobody_to_review": (503, "nobody-to-review", lazy_gettext("Nobody can read applications at the moment")),
}
"""How each open refusal is answered: status, slug, title."""


def submit(
    *,
    email: str,
    name: str,
    why: str,
    locale: str,
    continue_to: str | None,
    answers: dict[str, Any] | None = None,
    terms_version: str | None = None,
    ip: str,
    invitation: Invitation | None = None,
) -> Application | None:
    """Take an application and mail a link that confirms its address.

    An address has one open application: sent again, it is the same row. Until the address is confirmed the
    newest answers count, and a change of them ends the earlier link, so that nobody confirms what they were
    not shown. Does the same work whatever is known of the address: also where a rule refuses a new application
    quietly, when it returns None. With an `invitation` that was mailed to the address no mail is needed: its link
    came by one.

    Raises NotTaken where the policy refuses openly, whatever is known of the address.
    """
    said = {"name": name, "why": why, "answers": answers or {}, "terms_version": terms_version}
    network = policies.network_of(ip)
    with db.transaction():
        verdict = policies.decide(email=email, network=network, invitation=invitation)
        if verdict.outcome == policies.REFUSED and not verdict.is_quiet:
            raise NotTaken(verdict)
        if verdict.outcome == policies.REFUSED:
            _repeat_or_nothing(email, verdict)
            return None
        application, is_new = _open_application(
            email=email, locale=locale, continue_to=continue_to, network=network, **said
        )
        # Whoever brings the mailbox confirms what they say themselves, wherever a stranger's words stand meanwhile.
        is_proven_now = application.confirmed_at is None and uses.is_for(invitation, application)
        changed = [field for field, value in said.items() if getattr(application, field) != value]
        if is_new:
            audit.record(
                "application.submitted",
                target=states.target(application.id),
                after={"state": application.state},
            )
        elif changed and (application.state == "submitted" or is_proven_now):
            for field in changed:
                setattr(application, field, said[field])
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


def _repeat_or_nothing(email: str, verdict: Verdict) -> None:
    """No new application is taken; one that is open already is not a new one."""
    application = _find_open(fold(email))
    if application is None:
        log.info("application_refused", rule=verdict.rule)
        _do_the_same_work()
    else:
        _repeat_mail(application)


def _open_application(*, email: str, **values: Any) -> tuple[Application, bool]:
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


def confirm_address(*, token: str) -> str:
    """The applicant has the address. Returns where they go on: to their account, or to where things stand.

    What the policy lets in is approved at this moment, in the policy's name. An approved application is mailed its
    activation link, and the same link is returned: whoever presses the button has just proved the mailbox.
    Raises LinkEnded.
    """
    with db.transaction():
        link = links.open_link(token, links.CONFIRM_ADDRESS)
        states.get_locked(link.application_id)
        links.spend(link)
        application = states.make(states.CONFIRM, link.application_id)
        if application.state in UNDECIDED:
            application = _approve_by_policy(application)
        if application.state == "approved":
            url = mail.send_activation_link(application)
            return url.removeprefix(parts_of(current_app).settings.PUBLIC_URL)
        mail.tell_confirmed(application)
        if application.state == "confirmed":
            reviewers.tell(application)
        return status.path_of(application)


def _approve_by_policy(application: Application) -> Application:
    """Let in whom the policy trusts; everybody else is the reviewers'."""
    verdict = policies.decide_on_confirmation(application)
    if verdict.outcome != policies.APPROVED:
        return application
    is_invited = verdict.rule == "invitation"
    actor = f"invitation:{application.invitation_id}" if is_invited else f"policy:{verdict.rule}"
    with acting_as(actor):
        return states.make(states.APPROVE, application.id, decided_by=actor)


def send_again(*, email: str) -> None:
    """Mail the link that this address's open application waits for. Says nothing about there being one."""
    with db.transaction():
        _send_again(_find_open(fold(email)))


def send_again_for_link(*, token: str) -> None:
    """The same for the application of a mailed link, alive or ended."""
    with db.transaction():
        link = links.find(token, *links.PATHS)
        _send_again(states.get_locked(link.application_id) if link else None)


def send_again_for_status(*, token: str) -> None:
    """The same for the application of a status link."""
    with db.transaction():
        application = status.find(token)
        _send_again(states.get_locked(application.id) if application else None)


def _send_again(application: Application | None) -> None:
    if application is None or application.state not in OPEN:
        _do_the_same_work()
    else:
        _repeat_mail(application)


def _repeat_mail(application: Application) -> None:
    """The mail with which its applicant goes on, at most one a minute."""
    is_soon = application.mailed_at is not None and utcnow() - application.mailed_at < MAIL_INTERVAL
    if is_soon:
        _do_the_same_work()  # it is on its way already
        return
    audit.record("application.mail_repeated", target=states.target(application.id))
    if application.confirmed_at is None:
        mail.ask_to_confirm(application)
    elif application.state == "approved":
        mail.send_activation_link(application)
    else:
        mail.tell_confirmed(application)
        with db.session.begin_nested() as savepoint:  # what a link costs, undone
            links.issue(application.id, links.CONFIRM_ADDRESS)
            savepoint.rollback()


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
