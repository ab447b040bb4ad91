"""Door 3: what other services' events mean here."""

from collections.abc import Mapping

from libs.messaging.events import Event, MailRequested, UserChanged
from libs.messaging.inbox import Handler
from services.notification.flows import messages, recipients


def handle_mail_requested(event: MailRequested) -> None:
    messages.request_mail(
        template=event.template,
        recipient=event.recipient,
        locale=event.locale,
        context=event.context,
        deduplication_key=event.deduplication_key,
        expires_at=event.expires_at,
    )


def handle_user_changed(event: UserChanged) -> None:
    email = event.claims.get("email")
    if email:
        recipients.remember(sub=event.sub, email=email, locale=event.locale, version=event.version)


HANDLERS: Mapping[type[Event], Handler] = {
    MailRequested: handle_mail_requested,
    UserChanged: handle_user_changed,
}
