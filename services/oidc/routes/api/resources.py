"""/api/v1/clients/resources: the APIs of others that access tokens may be addressed to (RFC 8707)."""

from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint, expected_versions, header, tagged
from services.oidc.extensions import limiter
from services.oidc.flows.resources import changing as flows
from services.oidc.models import Resource
from services.oidc.schemas.resources import (
    NewResourceSchema,
    ResourceChangesSchema,
    ResourceListSchema,
    ResourceSchema,
)

bp = APIBlueprint(
    "resources",
    __name__,
    limiter=limiter,
    description="APIs of others that our access tokens are for, for staff.",
)


@bp.get("/api/v1/clients/resources")
@bearer("clients:read", role="support")
@bp.response(200, ResourceListSchema)
def find() -> Any:
    """List the registered resources, by name."""
    return {"items": flows.list_resources()}


@bp.post("/api/v1/clients/resources")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(NewResourceSchema)
@bp.response(201, ResourceSchema, headers={"Location": header("string", "The resource"), "ETag": "ETAG"})
def create(body: dict[str, Any]) -> Any:
    """Register an API with its scopes, which clients may be allowed from then on."""
    made = flows.create_resource(**body)
    shown, tag = _whole(made)
    return shown, {**tag, "Location": f"/api/v1/clients/resources/{made.id}"}


@bp.get("/api/v1/clients/resources/<uuid:resource_id>")
@bearer("clients:read", role="support")
@bp.response(200, ResourceSchema)
@bp.problems(404)
@bp.versioned
def show(resource_id: UUID) -> Any:
    """Show a resource."""
    return _whole(flows.get_resource(resource_id))


@bp.patch("/api/v1/clients/resources/<uuid:resource_id>")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(ResourceChangesSchema)
@bp.response(200, ResourceSchema)
@bp.problems(404, 409)
@bp.versioned
def change(body: dict[str, Any], resource_id: UUID) -> Any:
    """Change what is named, and leave the rest.

    A scope goes once no client may ask for it.
    """
    return _whole(flows.update_resource(resource_id, expected=expected_versions(), **body))


@bp.delete("/api/v1/clients/resources/<uuid:resource_id>")
@bearer("clients:write", role="admin", fresh=True)
@bp.response(204)
@bp.problems(404, 409)
def delete(resource_id: UUID) -> Any:
    """Forget a resource whose scopes no client may ask for."""
    flows.delete_resource(resource_id)


def _whole(resource: Resource) -> Any:
    return tagged(resource, resource.version)
