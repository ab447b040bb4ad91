"""What onboarding does when another service says that something happened."""

import uuid

from libs.messaging.events import (
    AccountOpened,
    DataRequested,
    Event,
    KeysChanged,
    MailEnded,
    UserChanged,
    UserErased,
)
from libs.messaging.inbox import Handler, occurred_at
from services.onboarding.extensions import issuer_keys
from services.onboarding.flows import activation, data_download, erasure, mail, people
from services.onboarding.flows.invitations import keeping


def handle_opened(event: AccountOpened) -> None:
    activation.note_opened(
        application_id=uuid.UUID(event.application_id), sub=event.sub, opened_at=occurred_at()
    )


def handle_user_changed(event: UserChanged) -> None:
    people.remember_person(
        sub=event.sub,
        version=event.version,
        name=str(event.claims.get("name") or ""),
        email=str(event.claims.get("email") or ""),
        roles=event.roles,
        status=event.status,
        locale=event.locale,
    )


def handle_data_requested(event: DataRequested) -> None:
    data_download.collect(request_id=event.request_id, sub=event.sub, emails=event.emails, left=event.left)


def handle_user_erased(event: UserErased) -> None:
    erasure.erase(sub=event.sub, emails=event.emails, left=event.left)


def handle_mail_ended(event: MailEnded) -> None:
    if event.template == "invitation":
        keeping.note_ended(deduplication_key=event.deduplication_key, outcome=event.outcome)
    else:
        mail.note_ended(
            template=event.template, deduplication_key=event.deduplication_key, outcome=event.outcome
        )


def remember_issuer_keys(event: KeysChanged) -> None:
    """Access tokens at our API are verified with these."""
    issuer_keys.remember(version=event.version, jwks=event.jwks)


HANDLERS: dict[type[Event], Handler] = {
    AccountOpened: handle_opened,
    UserChanged: handle_user_changed,
    DataRequested: handle_data_requested,
    UserErased: handle_user_erased,
    KeysChanged: remember_issuer_keys,
    MailEnded: handle_mail_ended,
}
