"""/api/v1/users: what staff do on /admin/users, for programs of theirs and for clients by themselves."""

import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

from flask_babel import gettext

from libs.people.access import bearer
from libs.web.api import APIBlueprint, header, page, page_query, tagged
from services.account.extensions import audit, limiter
from services.account.flows import search, users
from services.account.flows.erasure import NotTheAddress, erase_user, is_address_of, keep_account
from services.account.flows.password_links import open_without_password
from services.account.models import ROLES
from services.account.routes.api.callers import other, page_of_rows, whole
from services.account.schemas.leaving import EraseSchema, ErasureSchema
from services.account.schemas.users import (
    AuditEntrySchema,
    NewUserSchema,
    ReasonSchema,
    UserSchema,
    user_filters,
)

bp = APIBlueprint("users", __name__, limiter=limiter, description="Everybody's accounts, for staff.")

ROLE = f"<any({', '.join(ROLES)}):role>"


@bp.get("/api/v1/users")
@bearer("users:read", role="support")
@bp.arguments(page_query(uuid.UUID, **user_filters()), location="query")
@bp.page_of(UserSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List people, newest first."""
    (before,) = wanted.get("cursor", (None,))
    found = search.search_users(
        text=wanted["search"], state=wanted.get("state"), before=before, limit=wanted["limit"]
    )
    return page_of_rows(found)


@bp.post("/api/v1/users")
@bearer("users:write", role="admin", fresh=True)
@bp.arguments(NewUserSchema)
@bp.response(201, UserSchema, headers={"Location": header("string", "The account"), "ETag": "ETAG"})
@bp.problems(409)
def create(body: dict[str, Any]) -> Any:
    """Open an account, and mail its owner the link that sets a password.

    Nobody else chooses or sees one.
    """
    user = open_without_password(**body)
    shown, tag = tagged(user, user.version)
    return shown, {**tag, "Location": f"/api/v1/users/{user.sub}"}


@bp.get("/api/v1/users/<uuid:sub>")
@bearer("users:read", role="support")
@bp.response(200, UserSchema)
@bp.problems(404)
@bp.versioned
def show(sub: UUID) -> Any:
    """Show a person."""
    return whole(sub)


@bp.post("/api/v1/users/<uuid:sub>/disable")
@bearer("users:write", role="admin")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, UserSchema)
@bp.problems(404, 409)
def disable(body: dict[str, Any], sub: UUID) -> Any:
    """Let nobody sign in as this person, and end all sessions and grants.

    Nobody disables themselves, nor the last administrator: another one must be left to undo it.
    """
    users.disable_user(sub=other(sub).sub, reason=body["reason"])
    return whole(sub)


@bp.post("/api/v1/users/<uuid:sub>/enable")
@bearer("users:write", role="admin")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, UserSchema)
@bp.problems(404)
def enable(body: dict[str, Any], sub: UUID) -> Any:
    """Let a disabled person sign in again."""
    users.enable_user(sub=other(sub).sub, reason=body["reason"])
    return whole(sub)


@bp.put(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin", fresh=True)
@bp.response(200, UserSchema)
@bp.problems(404)
def add_role(sub: UUID, role: str) -> Any:
    """Give a role."""
    users.add_role(sub=other(sub).sub, role=role)
    return whole(sub)


@bp.delete(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin", fresh=True)
@bp.response(200, UserSchema)
@bp.problems(404, 409)
def remove_role(sub: UUID, role: str) -> Any:
    """Take a role away; access tokens that carry it die."""
    users.remove_role(sub=other(sub).sub, role=role)
    return whole(sub)


@bp.get("/api/v1/users/<uuid:sub>/erasure")
@bearer("users:read", role="support")
@bp.response(200, ErasureSchema)
@bp.problems(404)
def show_erasure(sub: UUID) -> Any:
    """Show whether an account is to be erased, and when."""
    return {"erase_at": users.get_user(sub=str(sub)).erase_at}


@bp.post("/api/v1/users/<uuid:sub>/erasure")
@bearer("users:write", role="admin", fresh=True)
@bp.arguments(EraseSchema)
@bp.response(200, ErasureSchema)
@bp.problems(404, 409)
def erase(body: dict[str, Any], sub: UUID) -> Any:
    """Erase an account after the time of grace, or now and for good.

    Sessions and grants end either way. Asked again, the time already set stays.
    """
    user = other(sub)
    if not is_address_of(user, body["email"]):
        words = gettext("Nothing was erased: that is not the address of this account.")
        raise NotTheAddress(errors={"email": words})
    return {"erase_at": erase_user(sub=user.sub, now=body["now"], reason=body["reason"])}


@bp.delete("/api/v1/users/<uuid:sub>/erasure")
@bearer("users:write", role="admin")
@bp.response(204)
@bp.problems(404)
def keep(sub: UUID) -> Any:
    """Let an account stay that was about to be erased."""
    keep_account(sub=other(sub).sub)


@bp.get("/api/v1/users/<uuid:sub>/audit")
@bearer("users:read", role="support")
@bp.arguments(page_query(datetime, uuid.UUID), location="query")
@bp.page_of(AuditEntrySchema)
@bp.problems(404)
def list_audit(wanted: dict[str, Any], sub: UUID) -> Any:
    """List what was done to an account and by whom, newest first."""
    target = f"user:{users.get_user(sub=str(sub)).sub}"
    found = audit.entries(target=target, before=wanted.get("cursor"), limit=wanted["limit"] + 1)
    return page(found, limit=wanted["limit"], keys=lambda entry: [entry.created_at, entry.id])
