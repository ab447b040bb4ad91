"""What account does when another service says something."""

from collections.abc import Mapping

from libs.messaging.events import (
    ApplicantActivated,
    DataCollected,
    Event,
    KeysChanged,
    MailEnded,
    NotificationDataCollected,
    OIDCDataCollected,
    OnboardingDataCollected,
    SignInThreatened,
)
from libs.messaging.inbox import Handler
from services.account.extensions import issuer_keys
from services.account.flows.data_download import keep_part
from services.account.flows.mail_ended import note_ended
from services.account.flows.password_links import open_account
from services.account.flows.threats import warn_of_threat


def open_for_applicant(event: ApplicantActivated) -> None:
    open_account(
        application_id=event.application_id,
        email=event.email,
        name=event.name,
        locale=event.locale,
        roles=event.roles,
    )


def warn_person(event: SignInThreatened) -> None:
    warn_of_threat(sub=event.sub, cause=event.cause)


def keep_data(event: DataCollected) -> None:
    producer = event.NAME.partition(".")[0]
    keep_part(request_id=event.request_id, service=producer, content=event.content)


def note_mail_ended(event: MailEnded) -> None:
    note_ended(template=event.template, deduplication_key=event.deduplication_key, outcome=event.outcome)


def remember_issuer_keys(event: KeysChanged) -> None:
    """Access tokens at our API are verified with these."""
    issuer_keys.remember(version=event.version, jwks=event.jwks)


HANDLERS: Mapping[type[Event], Handler] = {
    ApplicantActivated: open_for_applicant,
    SignInThreatened: warn_person,
    OIDCDataCollected: keep_data,
    OnboardingDataCollected: keep_data,
    NotificationDataCollected: keep_data,
    KeysChanged: remember_issuer_keys,
    MailEnded: note_mail_ended,
}
