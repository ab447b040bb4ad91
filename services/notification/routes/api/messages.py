"""/api/v1/messages: which mail left, which waits, which failed and why. Never what a mail said."""

from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint, page_query, part
from services.notification.extensions import limiter
from services.notification.flows import messages as flows
from services.notification.flows.search import Wanted, search_messages
from services.notification.schemas import MessageSchema, WholeMessageSchema, message_filters

STAFF = ("reviewer", "support")

bp = APIBlueprint("messages", __name__, limiter=limiter, description="Mail that was asked for, for staff.")


@bp.get("/api/v1/messages")
@bearer("messages:read", role=STAFF)
@bp.arguments(page_query(UUID, **message_filters()), location="query")
@bp.page_of(MessageSchema)
def find(query: dict[str, Any]) -> Any:
    """List messages, newest first."""
    wanted = Wanted(
        to=query["to"],
        template=query["template"],
        states=(query["state"],) if "state" in query else (),
        correlation_id=query["correlation_id"],
        header_id=query["message_id"],
    )
    (before,) = query.get("cursor") or (None,)
    found = search_messages(wanted, before=before, limit=query["limit"])
    return part(found.rows, goes_on=[found.before] if found.before else None)


@bp.get("/api/v1/messages/<uuid:message_id>")
@bearer("messages:read", role=STAFF)
@bp.response(200, WholeMessageSchema)
@bp.problems(404)
def show(message_id: UUID) -> Any:
    """Show a message with its attempts and what came back."""
    return flows.get_message(message_id)


@bp.post("/api/v1/messages/<uuid:message_id>/retry")
@bearer("messages:write", role=STAFF)
@bp.response(200, WholeMessageSchema)
@bp.problems(404, 409)
def retry(message_id: UUID) -> Any:
    """Queue a message again: what is failed, parked or suppressed, or was sent, while its content is kept.

    It is the same message: mail programs know it again by its Message-ID.
    """
    flows.retry(message_id=message_id)
    return flows.get_message(message_id)
