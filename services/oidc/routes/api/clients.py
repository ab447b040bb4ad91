"""/api/v1/clients: the apps that sign people in, for programs of staff and for clients by themselves.

Support looks, an administrator changes. Whatever could open a door wants a fresh sign-in of a person.
"""

import copy
from datetime import datetime, timedelta
from typing import Any

from libs.people.access import bearer
from libs.web.api import APIBlueprint, expected_versions, header, page_query, part, tagged
from services.oidc.extensions import limiter
from services.oidc.flows import clients as flows
from services.oidc.flows.clients.search import search_clients
from services.oidc.flows.clients.secrets import living_secrets
from services.oidc.models import Client
from services.oidc.schemas.clients import (
    ChangedClientSchema,
    ClientChangesSchema,
    ClientSchema,
    CreatedClientSchema,
    NewClientSchema,
    NewSecretSchema,
    RotationSchema,
    SecretListSchema,
    client_filters,
)

bp = APIBlueprint(
    "clients", __name__, limiter=limiter, description="Apps that sign people in or call APIs, for staff."
)


@bp.get("/api/v1/clients")
@bearer("clients:read", role="support")
@bp.arguments(page_query(datetime, str, **client_filters()), location="query")
@bp.page_of(ClientSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List clients, newest first."""
    found = search_clients(
        text=wanted["search"], state=wanted.get("state"), after=wanted.get("cursor"), limit=wanted["limit"]
    )
    return part(found.clients, goes_on=found.after)


@bp.post("/api/v1/clients")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(NewClientSchema)
@bp.response(201, CreatedClientSchema, headers={"Location": header("string", "The client"), "ETag": "ETAG"})
def create(body: dict[str, Any]) -> Any:
    """Register a client.

    Its secret is in this answer and nowhere else.
    """
    made = flows.create_client(**body)
    shown, tag = tagged({"client": made.client, "client_secret": made.secret}, made.client.version)
    return shown, {**tag, "Location": f"/api/v1/clients/{made.client.client_id}"}


@bp.get("/api/v1/clients/<client_id>")
@bearer("clients:read", role="support")
@bp.response(200, ClientSchema)
@bp.problems(404)
@bp.versioned
def show(client_id: str) -> Any:
    """Show all settings of a client."""
    return _whole(flows.get_client(client_id))


@bp.patch("/api/v1/clients/<client_id>")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(ClientChangesSchema)
@bp.response(200, ChangedClientSchema)
@bp.problems(404)
@bp.versioned
def change(body: dict[str, Any], client_id: str) -> Any:
    """Change what is named, and leave the rest.

    A client that proves itself by a secret from now on gets its first: in this answer and nowhere else.
    """
    return _changed(client_id, body)


@bp.put("/api/v1/clients/<client_id>")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(NewClientSchema)
@bp.response(200, ChangedClientSchema)
@bp.problems(404)
@bp.versioned
def replace(body: dict[str, Any], client_id: str) -> Any:
    """Give the client exactly these settings; what is not said becomes as usual, or is taken away.

    A client that proves itself by a secret from now on gets its first: in this answer and nowhere else.
    """
    usual = {setting.name: copy.deepcopy(flows.USUAL.get(setting.name)) for setting in flows.SETTINGS}
    return _changed(client_id, {**usual, **body})


@bp.delete("/api/v1/clients/<client_id>")
@bearer("clients:write", role="admin", fresh=True)
@bp.response(204)
@bp.problems(404)
def delete(client_id: str) -> Any:
    """Delete a client with its secrets, consents, grants and tokens."""
    flows.delete_client(client_id)


@bp.post("/api/v1/clients/<client_id>/enable")
@bearer("clients:write", role="admin", fresh=True)
@bp.response(200, ClientSchema)
@bp.problems(404)
def enable(client_id: str) -> Any:
    """Let a disabled client in again; it starts anew."""
    return _whole(flows.change_client(client_id, is_enabled=True).client)


@bp.post("/api/v1/clients/<client_id>/disable")
@bearer("clients:write", role="admin")
@bp.response(200, ClientSchema)
@bp.problems(404)
def disable(client_id: str) -> Any:
    """Refuse whatever the client asks for, and end what it was given: its grants and tokens.

    Enabling it again brings none of them back.
    """
    return _whole(flows.change_client(client_id, is_enabled=False).client)


@bp.get("/api/v1/clients/<client_id>/secrets")
@bearer("clients:read", role="support")
@bp.response(200, SecretListSchema)
@bp.problems(404)
def list_secrets(client_id: str) -> Any:
    """List a client's secrets by age, use and expiry, newest first.

    Nobody can see a secret itself.
    """
    return {"items": living_secrets(flows.get_client(client_id))[::-1]}


@bp.post("/api/v1/clients/<client_id>/rotate-secret")
@bearer("clients:write", role="admin", fresh=True)
@bp.arguments(RotationSchema, required=False)
@bp.response(200, NewSecretSchema)
@bp.problems(400, 404)
def rotate_secret(body: dict[str, Any], client_id: str) -> Any:
    """Give a client a new secret; the one before goes on working for a while.

    The new one is in this answer and nowhere else.
    """
    overlap, seconds = timedelta(seconds=body["overlap_seconds"]), body["lifetime_seconds"]
    lifetime = timedelta(seconds=seconds) if seconds is not None else None
    return {"client_secret": flows.rotate_secret(client_id, overlap=overlap, lifetime=lifetime)}


def _changed(client_id: str, changes: dict[str, Any]) -> Any:
    changed = flows.change_client(client_id, expected=expected_versions(), **changes)
    return tagged(changed, changed.client.version)


def _whole(client: Client) -> Any:
    return tagged(client, client.version)
