"""Door 3: what other services' events mean here."""

from collections.abc import Mapping

from libs.audit import current_actor
from libs.messaging.events import (
    DataRequested,
    Event,
    KeysChanged,
    MailRequested,
    UserChanged,
    UserErased,
)
from libs.messaging.inbox import Handler, occurred_at
from services.notification.extensions import issuer_keys
from services.notification.flows import data_download, erasure, messages, recipients


def handle_mail_requested(event: MailRequested) -> None:
    messages.request_mail(
        template=event.template,
        recipient=event.recipient,
        locale=event.locale,
        context=event.context,
        deduplication_key=event.deduplication_key,
        expires_at=event.expires_at,
        asked_by=current_actor().removeprefix("event:"),
        asked_at=occurred_at(),
    )


def handle_user_changed(event: UserChanged) -> None:
    email = event.claims.get("email")
    if email:
        recipients.remember(sub=event.sub, email=email, locale=event.locale, version=event.version)


def handle_data_requested(event: DataRequested) -> None:
    data_download.collect(request_id=event.request_id, sub=event.sub, emails=event.emails, left=event.left)


def handle_user_erased(event: UserErased) -> None:
    erasure.erase(sub=event.sub, emails=event.emails, left=event.left)


def remember_issuer_keys(event: KeysChanged) -> None:
    """Access tokens at our API are verified with these."""
    issuer_keys.remember(version=event.version, jwks=event.jwks)


HANDLERS: Mapping[type[Event], Handler] = {
    MailRequested: handle_mail_requested,
    UserChanged: handle_user_changed,
    DataRequested: handle_data_requested,
    UserErased: handle_user_erased,
    KeysChanged: remember_issuer_keys,
}
