"""What applicants are mailed; each request is part of the transaction that has its cause."""

from typing import Any

from libs.database import utcnow
from libs.messaging.events import MailRequested
from services.onboarding.extensions import outbox
from services.onboarding.flows import links
from services.onboarding.models import Application


def ask_to_confirm(application: Application) -> None:
    """The link that proves the address; it ends the earlier one."""
    url, link = links.issue(application.id, links.CONFIRM_ADDRESS)
    _send(application, "confirm_address", f"confirm:{application.id}:{link.id}", {"link": url}, link)


def send_activation_link(application: Application) -> None:
    """The link that opens the account; it ends the earlier one."""
    url, link = links.issue(application.id, links.ACTIVATE)
    context = {"link": url, "expires_at": link.expires_at.isoformat()}
    _send(application, "activation_link", f"activation:{application.id}:{link.id}", context, link)


def tell_rejected(application: Application) -> None:
    """The decision, with the reviewer's words where there are any."""
    _send(application, "application_rejected", f"rejected:{application.id}", {"reason": application.reason})


def _send(
    application: Application, template: str, key: str, context: dict[str, Any], link: links.Link | None = None
) -> None:
    application.mailed_at = utcnow()
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
