"""The contracts between services: one frozen dataclass per event, past tense and versioned.

Secret fields are declared with sealed(): on the wire they are `{"sealed": "kid:…"}` under EVENT_ENCRYPTION_KEYS.
Golden files in tests/architecture/events/ hold the JSON of each.
"""

import dataclasses
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from libs.guard.keyring import KeyRing

JSONObject = dict[str, Any]


class UnknownEvent(Exception):
    """No contract of this name is known to this release."""


def sealed(**options: Any) -> Any:
    """A field whose value is encrypted on the wire and in the outbox."""
    return dataclasses.field(metadata={"sealed": True}, repr=False, **options)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Plain values only: what JSON can say."""

    NAME: ClassVar[str]
    SUBSCRIBERS: ClassVar[tuple[str, ...]]

    def to_data(self, event_id: uuid.UUID, keys: KeyRing) -> JSONObject:
        """The `data` of the envelope, sealed fields encrypted for this event id."""
        data: JSONObject = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("sealed"):
                content = json.dumps(value).encode()
                value = {"sealed": keys.seal(content, f"event:{field.name}:{event_id}")}
            data[field.name] = value
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any], event_id: uuid.UUID, keys: KeyRing) -> "Event":
        """Read an envelope's `data`; fields this release does not know are ignored.

        Raises CannotOpen for a sealed field whose key is gone, TypeError when a field is missing.
        """
        values = {}
        for field in dataclasses.fields(cls):
            if field.name not in data:
                continue
            value = data[field.name]
            if field.metadata.get("sealed"):
                value = json.loads(keys.open(value["sealed"], f"event:{field.name}:{event_id}"))
            values[field.name] = value
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ApplicantActivated(Event):
    """Staff activated a person directly; by mail the handover ticket carries this instead."""

    NAME = "onboarding.applicant_activated.v1"
    SUBSCRIBERS = ("account",)

    application_id: str
    email: str
    name: str
    locale: str
    roles: list[str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class AccountOpened(Event):
    """An application became an account; its activation link and the application are used up."""

    NAME = "account.opened.v1"
    SUBSCRIBERS = ("onboarding",)

    sub: str
    application_id: str


@dataclass(frozen=True, kw_only=True)
class UserChanged(Event):
    """A snapshot of a person, whole; `version` only grows, so an older one arriving late is ignored."""

    NAME = "account.user_changed.v1"
    SUBSCRIBERS = ("oidc", "onboarding", "notification")

    sub: str
    version: int
    status: str
    roles: list[str]
    claims: JSONObject
    locale: str


@dataclass(frozen=True, kw_only=True)
class AccessRevoked(Event):
    """Access ended: of the sign-in sessions `sids`, or of the whole person when `sids` is None.

    `cause` is a word of docs/architecture.md section 15. `not_before` is epoch seconds: what was issued at or
    before it is dead.
    """

    NAME = "account.access_revoked.v1"
    SUBSCRIBERS = ("oidc",)

    sub: str
    sids: list[str] | None
    cause: str
    not_before: int


@dataclass(frozen=True, kw_only=True)
class DataRequested(Event):
    """A person wants all that each service holds about them. `emails` are their proven addresses, earlier ones too."""

    NAME = "account.data_requested.v1"
    SUBSCRIBERS = ("oidc", "onboarding", "notification")

    request_id: str
    sub: str
    emails: list[str] = sealed()  # noqa: RUF009  a field, made once per class
    left: JSONObject = sealed(default_factory=dict)  # noqa: RUF009
    """Until when each earlier one of them was theirs (ISO 8601): what came later may be somebody else's."""


@dataclass(frozen=True, kw_only=True)
class DataCollected(Event):
    """What its producer holds about the person of a request, whole and in words that JSON can say."""

    SUBSCRIBERS = ("account",)

    request_id: str
    content: JSONObject = sealed()  # noqa: RUF009


class OIDCDataCollected(DataCollected):
    """The issuer's part."""

    NAME = "oidc.data_collected.v1"


class OnboardingDataCollected(DataCollected):
    """onboarding's part."""

    NAME = "onboarding.data_collected.v1"


class NotificationDataCollected(DataCollected):
    """notification's part."""

    NAME = "notification.data_collected.v1"


@dataclass(frozen=True, kw_only=True)
class UserErased(Event):
    """A person is gone for good: every service forgets them. No later snapshot of theirs counts."""

    NAME = "account.user_erased.v1"
    SUBSCRIBERS = ("oidc", "onboarding", "notification")

    sub: str
    emails: list[str] = sealed()  # noqa: RUF009
    """Their proven addresses, for services that know people by address alone."""
    left: JSONObject = sealed(default_factory=dict)  # noqa: RUF009
    """Until when each earlier one of them was theirs, as in DataRequested."""


@dataclass(frozen=True, kw_only=True)
class KeysChanged(Event):
    """The issuer's public keys, whole, as a JWKS; `version` only grows, so an older set arriving late is ignored."""

    NAME = "oidc.keys_changed.v1"
    SUBSCRIBERS = ("account", "onboarding", "notification")

    version: int
    jwks: JSONObject


@dataclass(frozen=True, kw_only=True)
class SignInThreatened(Event):
    """Somebody used a refresh token that was already spent: the person is told."""

    NAME = "oidc.sign_in_threatened.v1"
    SUBSCRIBERS = ("account",)

    sub: str
    cause: str


@dataclass(frozen=True, kw_only=True)
class MailRequested(Event):
    """Ask notification for a mail. `context` (names, links) is sealed; `expires_at` is ISO 8601 or None.

    One deduplication key, one mail, however often the event arrives.
    """

    NAME = "notification.mail_requested.v1"
    SUBSCRIBERS = ("notification",)

    template: str
    recipient: str
    locale: str
    context: JSONObject = sealed()  # noqa: RUF009  a field, made once per class
    deduplication_key: str
    expires_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class MailEnded(Event):
    """A mail will not arrive: `outcome` is `failed`, `suppressed` or `too_late` (the link in it had died first).

    It goes to the one service that asked for the mail, which may make a new one.
    """

    NAME = "notification.mail_ended.v1"
    SUBSCRIBERS = ("account", "onboarding")

    template: str
    deduplication_key: str
    outcome: str


EVENTS: dict[str, type[Event]] = {
    event.NAME: event
    for event in (
        ApplicantActivated,
        AccountOpened,
        UserChanged,
        AccessRevoked,
        DataRequested,
        OIDCDataCollected,
        OnboardingDataCollected,
        NotificationDataCollected,
        UserErased,
        KeysChanged,
        SignInThreatened,
        MailRequested,
        MailEnded,
    )
}

SUBSCRIBERS = tuple(sorted({name for event in EVENTS.values() for name in event.SUBSCRIBERS}))
"""Every service that some event goes to."""


def contract(name: str) -> type[Event]:
    """The event class of a name. Raises UnknownEvent."""
    try:
        return EVENTS[name]
    except KeyError:
        raise UnknownEvent(name) from None
