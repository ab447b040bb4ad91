"""What applicants are mailed; each request is part of the transaction that has its cause."""

import re
import uuid
from typing import Any

from libs.database import utcnow, uuid7
from libs.messaging.events import MailRequested
from services.onboarding.extensions import audit, db, outbox
from services.onboarding.flows import links, states, status
from services.onboarding.models import OPEN, Application, Link, Question

_LIKE_A_LINK = re.compile(r"\S[.。．｡]\S|//|@")
MOST_REPEATS = 3
"""How often in a row a mail is made anew whose link had died before it could leave."""


def ask_to_confirm(application: Application, *, repeat: int = 0) -> None:
    """The link that proves the address; it ends the earlier one. `repeat` counts mails that nobody asked for."""
    url, link = links.issue(application.id, links.CONFIRM_ADDRESS)
    _send(application, "confirm_address", _key("confirm", link, repeat), {"link": url}, link)


def tell_confirmed(application: Application) -> None:
    """The address is confirmed and the reviewers are next; with the link to where things stand."""
    key = _once("confirmed", application)
    _send(application, "address_confirmed", key, {"status": status.url_of(application)})


def send_activation_link(application: Application, *, repeat: int = 0) -> str:
    """The link that opens the account; it ends the earlier one. Returns it, for whoever has just proved the address."""
    url, link = links.issue(application.id, links.ACTIVATE)
    context = {"link": url, "expires_at": link.expires_at.isoformat(), "status": _status_of(application)}
    _send(application, "activation_link", _key("activation", link, repeat), context, link)
    return url


def tell_rejected(application: Application) -> None:
    """The decision, with the reviewer's words where there are any for the applicant."""
    context = {
        "reason": application.reason if application.reason_is_shown else None,
        "status": _status_of(application),
    }
    _send(application, "application_rejected", _once("rejected", application), context)


def tell_taken_back(application: Application) -> None:
    """The decision does not hold any more: the application is looked at again."""
    # What was entered is shown to nobody who has not proven to have the address.
    context = {"link": status.url_of(application) if application.confirmed_at else None}
    _send(application, "decision_taken_back", _once("taken_back", application), context)


def ask_question(application: Application, question: Question) -> None:
    """A reviewer's question, with the way to the page where it is answered."""
    context = {"question": question.text, "link": status.url_of(application)}
    _send(application, "application_question", _once("question", application), context)


def tell_withdrawn(application: Application) -> None:
    """That it is as they wished; to a confirmed address, for another one was never told of anything."""
    _tell_end(application, "application_withdrawn", "withdrawn")


def tell_expired(application: Application) -> None:
    """That time ran out; to a confirmed address."""
    _tell_end(application, "application_expired", "expired")


def _tell_end(application: Application, template: str, kind: str) -> None:
    if application.confirmed_at is not None:
        context = {"status": status.url_of(application)}
        _send(application, template, f"{kind}:{application.id}", context)


def note_ended(*, template: str, deduplication_key: str, outcome: str) -> None:
    """A mail will not arrive. One whose link had died first is made anew, if it is still waited for.

    `outcome` is a word of MailEnded. A mail whose link was followed by a newer one, or is used, troubles nobody; nor
    does what is told of an application that is gone. A mail is made anew MOST_REPEATS times in a row: who cannot be
    reached for days needs another way.
    """
    kind, application_id, link_id, repeat = _read(deduplication_key)
    with db.transaction():
        try:
            application = states.get_locked(application_id) if application_id else None
        except states.NoSuchApplication:
            return
        if application is None or (link_id is not None and not links.is_newest(link_id)):
            return
        application.mail_trouble = outcome
        audit.record(
            "application.mail_ended",
            target=states.target(application.id),
            after={"template": template, "outcome": outcome},
        )
        if outcome != "too_late" or repeat >= MOST_REPEATS:
            return
        if kind == "confirm" and application.confirmed_at is None and application.state in OPEN:
            ask_to_confirm(application, repeat=repeat + 1)
        elif kind == "activation" and application.state == "approved":
            send_activation_link(application, repeat=repeat + 1)


def _key(kind: str, link: Link, repeat: int) -> str:
    return f"{kind}:{link.application_id}:{link.id}" + (f":{repeat}" if repeat else "")


def _read(key: str) -> tuple[str, uuid.UUID | None, uuid.UUID | None, int]:
    """The parts of a deduplication key of ours; a key of a mail without a link names none."""
    kind, *parts = key.split(":")
    try:
        application_id = uuid.UUID(parts[0])
        has_link = kind in ("confirm", "activation") and len(parts) > 1
        repeat = int(parts[2]) if has_link and len(parts) > 2 else 0
        return kind, application_id, uuid.UUID(parts[1]) if has_link else None, repeat
    except (IndexError, ValueError):
        return kind, None, None, 0


def _status_of(application: Application) -> str | None:
    """The link to where things stand, once the address is the applicant's."""
    return status.url_of(application) if application.confirmed_at is not None else None


def _once(kind: str, application: Application) -> str:
    """The key of a mail that is asked for once here: what happens again, such as a second no, is another mail."""
    return f"{kind}:{application.id}:{uuid7()}"


def _greeted(application: Application) -> str:
    """The name to greet with; none that mail programs make a link of, while anybody may have typed that address."""
    is_safe = application.confirmed_at is not None or not _LIKE_A_LINK.search(application.name)
    return application.name if is_safe else ""


def _send(
    application: Application, template: str, key: str, context: dict[str, Any], link: links.Link | None = None
) -> None:
    application.mailed_at, application.mail_trouble = utcnow(), None
    outbox.record(
        MailRequested(
            template=template,
            recipient=application.email,
            locale=application.locale,
            context={"name": _greeted(application), **context},
            deduplication_key=key,
            # Nobody is sent a link that no longer works.
            expires_at=link.expires_at.isoformat() if link else None,
        )
    )
