"""What oidc does when other services say that something happened."""

from collections.abc import Callable
from typing import Any

from libs.messaging.events import AccessRevoked, Event, UserChanged
from services.oidc.flows.revoking import end_access
from services.oidc.flows.subjects import remember_subject


def handle_user_changed(event: UserChanged) -> None:
    """Keep the issuer's copy of the person; an older snapshot that arrives late changes nothing."""
    remember_subject(
        sub=event.sub, version=event.version, status=event.status, roles=event.roles, claims=event.claims
    )


def handle_access_revoked(event: AccessRevoked) -> None:
    """End grants as far as the cause goes."""
    end_access(sub=event.sub, sids=event.sids, cause=event.cause, not_before=event.not_before)


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    UserChanged: handle_user_changed,
    AccessRevoked: handle_access_revoked,
}
