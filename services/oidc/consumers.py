"""What oidc does when other services say that something happened."""

from collections.abc import Callable
from typing import Any

from libs.messaging.events import AccessRevoked, DataRequested, Event, UserChanged, UserErased
from services.oidc.flows.data_download import collect
from services.oidc.flows.erasure import erase
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


def handle_data_requested(event: DataRequested) -> None:
    """Tell account what the issuer holds about a person who asks."""
    collect(request_id=event.request_id, sub=event.sub)


def handle_user_erased(event: UserErased) -> None:
    """Forget the person."""
    erase(sub=event.sub)


HANDLERS: dict[type[Event], Callable[[Any], None]] = {
    UserChanged: handle_user_changed,
    AccessRevoked: handle_access_revoked,
    DataRequested: handle_data_requested,
    UserErased: handle_user_erased,
}
