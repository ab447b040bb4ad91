"""/api/v1/messages/suppressions: addresses that are written to no more, and writing to them again."""

from typing import Any

from marshmallow import fields, validate

from libs.people.access import bearer
from libs.web.api import APIBlueprint, page, page_query, said
from services.notification.extensions import limiter
from services.notification.flows import suppressions as flows
from services.notification.flows.search import LONGEST
from services.notification.models import SUPPRESSION_REASONS
from services.notification.routes.api.messages import STAFF
from services.notification.schemas import LiftingSchema, SuppressionSchema

bp = APIBlueprint(
    "suppressions",
    __name__,
    limiter=limiter,
    description="Addresses that are written to no more, for staff.",
)


@bp.get("/api/v1/messages/suppressions")
@bearer("messages:read", role=STAFF)
@bp.arguments(
    page_query(
        str,
        search=fields.String(
            load_default="", validate=validate.Length(max=LONGEST), **said("How the address begins")
        ),
        reason=fields.String(validate=validate.OneOf(SUPPRESSION_REASONS)),
    ),
    location="query",
)
@bp.page_of(SuppressionSchema)
def find(query: dict[str, Any]) -> Any:
    """List suppressed addresses, newest first."""
    (after,) = query.get("cursor") or (None,)
    found = flows.list_suppressions(
        text=query["search"], reason=query.get("reason"), after=after, limit=query["limit"] + 1
    )
    return page(found, limit=query["limit"], keys=lambda row: [row.email])


@bp.post("/api/v1/messages/suppressions/lift")
@bearer("messages:write", role=STAFF)
@bp.arguments(LiftingSchema)
@bp.response(204)
@bp.problems(404)
def lift(body: dict[str, Any]) -> Any:
    """Write to an address again. It is in the body, since addresses of people are no part of an address of ours."""
    flows.lift(email=body["email"], reason=body["reason"])
