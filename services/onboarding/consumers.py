"""What onboarding does when another service says that something happened."""

import uuid

from libs.messaging.events import AccountOpened, Event, UserChanged
from libs.messaging.inbox import Handler
from services.onboarding.flows import activation, people


def handle_opened(event: AccountOpened) -> None:
    activation.note_opened(application_id=uuid.UUID(event.application_id), sub=event.sub)


def handle_user_changed(event: UserChanged) -> None:
    people.remember_person(
        sub=event.sub,
        version=event.version,
        name=str(event.claims.get("name") or ""),
        roles=event.roles,
        status=event.status,
        locale=event.locale,
    )


HANDLERS: dict[type[Event], Handler] = {AccountOpened: handle_opened, UserChanged: handle_user_changed}
