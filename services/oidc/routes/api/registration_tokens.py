"""/api/v1/clients/registration-tokens: who may register apps by themselves (RFC 7591 §3), for administrators."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint
from services.oidc.extensions import limiter
from services.oidc.flows import registration_tokens as flows
from services.oidc.schemas.registration_tokens import (
    CreatedRegistrationTokenSchema,
    NewRegistrationTokenSchema,
    RegistrationTokenListSchema,
)

bp = APIBlueprint(
    "registration-tokens",
    __name__,
    limiter=limiter,
    description="Tokens with which apps register themselves, for administrators.",
)


@bp.get("/api/v1/clients/registration-tokens")
@bearer("clients:read", role="admin")
@bp.response(200, RegistrationTokenListSchema)
def find() -> Any:
    """List the registration tokens, newest first."""
    return {"items": flows.list_registration_tokens()}


@bp.post("/api/v1/clients/registration-tokens")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(NewRegistrationTokenSchema)
@bp.response(201, CreatedRegistrationTokenSchema)
@bp.problems(400)
def create(body: dict[str, Any]) -> Any:
    """Make a token with which apps are registered at /oauth2/register.

    It is in this answer and nowhere else.
    """
    lifetime = timedelta(seconds=body["lifetime_seconds"])
    row, token = flows.create_registration_token(note=body["note"], uses=body["uses"], lifetime=lifetime)
    return {"registration_token": row, "token": token}


@bp.delete("/api/v1/clients/registration-tokens/<uuid:token_id>")
@bearer("clients:write", role="admin")
@bp.response(204)
@bp.problems(404)
def revoke(token_id: UUID) -> Any:
    """Revoke a token; the apps that it registered stay."""
    flows.revoke_registration_token(token_id)
