"""What applicants are mailed; each request is part of the transaction that has its cause."""

import uuid
from typing import Any

from libs.database import utcnow, uuid7
from libs.messaging.events import MailRequested
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import links, states, status
from services.onboarding.models import OPEN, Application, Question


def ask_to_confirm(application: Application) -> None:
    """The link that proves the address; it ends the earlier one."""
    url, link = links.issue(application.id, links.CONFIRM_ADDRESS)
    _send(application, "confirm_address", f"confirm:{application.id}:{link.id}", {"link": url}, link)


def send_activation_link(application: Application) -> str:
    """The link that opens the account; it ends the earlier one. Returns its URL, for a browser that may go on by it."""
    url, link = links.issue(application.id, links.ACTIVATE)
    context = {"link": url, "expires_at": link.expires_at.isoformat()}
    _send(application, "activation_link", f"activation:{application.id}:{link.id}", context, link)
    return url


def tell_rejected(application: Application) -> None:
    """The decision, with the reviewer's words where there are any for the applicant."""
    reason = application.reason if application.reason_is_shown else None
    _send(application, "application_rejected", _once("rejected", application), {"reason": reason})


def tell_taken_back(application: Application) -> None:
    """The decision does not hold any more: the application is looked at again."""
    # What was entered is shown to nobody who has not proven to have the address.
    context = {"link": status.url_of(application) if application.confirmed_at else None}
    _send(application, "decision_taken_back", _once("taken_back", application), context)


def ask_question(application: Application, question: Question) -> None:
    """A reviewer's question, with the way to the page where it is answered."""
    context = {"question": question.text, "link": status.url_of(application)}
    _send(application, "application_question", _once("question", application), context)


def note_ended(*, template: str, deduplication_key: str, outcome: str) -> None:
    """A mail will not arrive. One whose link had died first is made anew, if it is still waited for.

    `outcome` is a word of MailEnded. Told late, it says nothing about an application that is decided otherwise or gone.
    """
    kind, _, rest = deduplication_key.partition(":")
    with db.transaction():
        try:
            application = states.get_locked(uuid.UUID(rest.partition(":")[0]))
        except (ValueError, states.NoSuchApplication):
            return
        application.mail_trouble = outcome
        audit.record(
            "application.mail_ended",
            target=states.target(application.id),
            after={"template": template, "outcome": outcome},
        )
        if outcome != "too_late":
            return
        if kind == "confirm" and application.confirmed_at is None and application.state in OPEN:
            ask_to_confirm(application)
        elif kind == "activation" and application.state == "approved":
            send_activation_link(application)


def _once(kind: str, application: Application) -> str:
    """The key of a mail that is asked for once here: what happens again, such as a second no, is another mail."""
    return f"{kind}:{application.id}:{uuid7()}"


def _send(
    application: Application, template: str, key: str, context: dict[str, Any], link: links.Link | None = None
) -> None:
    application.mailed_at, application.mail_trouble = utcnow(), None
    outbox.record(
        MailRequested(
            template=template,
            recipient=application.email,
            locale=application.locale,
            context={"name": application.name, **context},
            deduplication_key=key,
            # Nobody is sent a link that no longer works.
            expires_at=link.expires_at.isoformat() if link else None,
        )
    )
