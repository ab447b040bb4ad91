"""The mail that an application waits for, sent afresh by a reviewer whom the applicant has told that none came."""

import uuid

from flask_babel import lazy_gettext

from libs.database import utcnow
from libs.web.problems import Problem
from services.onboarding.extensions import audit, db
from services.onboarding.flows import mail, states
from services.onboarding.flows.apply import MAIL_INTERVAL
from services.onboarding.flows.review import questions
from services.onboarding.models import OPEN, Application


class NoMailWaitedFor(Problem):
    """The applicant is to do nothing for which there would be a mail; or one has left just now."""

    status, slug = 409, "no-mail-waited-for"
    title = lazy_gettext("No mail was sent")


def is_waited_for(application: Application, *, is_asked: bool) -> bool:
    """Whether there is a mail without which the applicant cannot go on. `is_asked`: a question is open."""
    is_to_act = application.confirmed_at is None or application.state == "approved" or is_asked
    return application.state in OPEN and application.directly_activated_at is None and is_to_act


def send_again(*, application_id: uuid.UUID) -> None:
    """A fresh mail: the open question, the link that proves the address, or the one that opens the account.

    Raises NoMailWaitedFor.
    """
    with db.transaction():
        application = states.get_locked(application_id)
        question = questions.open_of(application_id)
        if not is_waited_for(application, is_asked=question is not None):
            raise NoMailWaitedFor(lazy_gettext("The applicant waits for no mail now."))
        if application.mailed_at is not None and utcnow() - application.mailed_at < MAIL_INTERVAL:
            raise NoMailWaitedFor(lazy_gettext("A mail has left less than a minute ago."))
        audit.record("application.mail_repeated", target=states.target(application_id))
        if question is not None:
            mail.ask_question(application, question)
        elif application.confirmed_at is None:
            mail.ask_to_confirm(application)
        else:
            mail.send_activation_link(application)
