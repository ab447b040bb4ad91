"""/api/v1/invitations: what reviewers do on /admin/invitations, for programs."""

import uuid
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.people.bearer import bearer_name
from libs.web.api import APIBlueprint, header, page_query, part, tagged
from services.onboarding.extensions import idempotency, limiter
from services.onboarding.flows.invitations import keeping as flow
from services.onboarding.routes.api.callers import may_give, read_form
from services.onboarding.routes.invitation_desk import SENT_PER_HOUR
from services.onboarding.schemas.forms import AddressForm
from services.onboarding.schemas.invitations import (
    InvitationSchema,
    MadeInvitationSchema,
    NewInvitationSchema,
    ResendSchema,
    invitation_filters,
    lifetime_of,
)

bp = APIBlueprint(
    "invitations", __name__, limiter=limiter, description="Ways in that skip the review, for reviewers."
)


@bp.get("/api/v1/invitations")
@bearer("applications:read", role="reviewer")
@bp.arguments(page_query(uuid.UUID, **invitation_filters()), location="query")
@bp.page_of(InvitationSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List invitations, newest first."""
    (after,) = wanted.get("cursor", (None,))
    found = flow.find(state=wanted["state"], search=wanted["search"], after=after, size=wanted["limit"])
    return part(found.invitations, goes_on=[found.after] if found.after else None)


@bp.post("/api/v1/invitations")
@limiter.limit("invitations", SENT_PER_HOUR, by=bearer_name)
@bearer("applications:write", role="reviewer")
@idempotency.once("invitations.create", secrets=("link",))
@bp.arguments(NewInvitationSchema)
@bp.response(
    201, MadeInvitationSchema, headers={"Location": header("string", "The invitation"), "ETag": "ETAG"}
)
def create(body: dict[str, Any]) -> Any:
    """Invite an address by mail, or make a link to hand out.

    The link of a mailed invitation is for its mailbox alone; another one is in this answer and nowhere else.
    """
    may_give(body["roles"])
    email = read_form(AddressForm, {"email": body["email"]})["email"] if body["email"] else ""
    made = flow.create(
        email=email,
        most_uses=body["most_uses"],
        lifetime=lifetime_of(body),
        roles=body["roles"],
        locale=body["locale"],
        note=body["note"],
    )
    shown, tag = tagged(made, made.invitation.version)
    return shown, {**tag, "Location": f"/api/v1/invitations/{made.invitation.id}"}


@bp.get("/api/v1/invitations/<uuid:invitation_id>")
@bearer("applications:read", role="reviewer")
@bp.response(200, InvitationSchema)
@bp.problems(404)
@bp.versioned
def show(invitation_id: UUID) -> Any:
    """Show an invitation."""
    invitation = flow.get(invitation_id=invitation_id)
    return tagged(invitation, invitation.version)


@bp.post("/api/v1/invitations/<uuid:invitation_id>/resend")
@limiter.limit("invitations", SENT_PER_HOUR, by=bearer_name)
@bearer("applications:write", role="reviewer")
@bp.arguments(ResendSchema, required=False)
@bp.response(200, MadeInvitationSchema)
@bp.problems(404, 409)
def resend(body: dict[str, Any], invitation_id: UUID) -> Any:
    """Make a new link, which ends the earlier one, and mail it where that was mailed.

    One that is over by time works anew. With roles it is sent by whoever may give them.
    """
    may_give(flow.get(invitation_id=invitation_id).roles)
    return flow.resend(invitation_id=invitation_id, lifetime=lifetime_of(body))


@bp.post("/api/v1/invitations/<uuid:invitation_id>/withdraw")
@bearer("applications:write", role="reviewer")
@bp.response(200, InvitationSchema)
@bp.problems(404)
def withdraw(invitation_id: UUID) -> Any:
    """End an invitation; whom it has let in stays."""
    return flow.withdraw(invitation_id=invitation_id)
