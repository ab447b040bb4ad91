"""/api/v1/users: what staff do on /admin/users, for programs of theirs and for clients by themselves."""

import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint, page, page_query, tagged
from services.account.extensions import audit, limiter
from services.account.flows import search, sessions, users
from services.account.flows.lists import gather
from services.account.flows.revoking import revoke_access
from services.account.flows.staff import get_for_change, get_other_for_change
from services.account.models import ROLES
from services.account.schemas.sessions import EndedSchema, SessionListSchema
from services.account.schemas.users import AuditEntrySchema, ReasonSchema, UserSchema, user_filters

bp = APIBlueprint("users", __name__, limiter=limiter, description="Everybody's accounts, for staff.")

ROLE = f"<any({', '.join(ROLES)}):role>"


@bp.get("/api/v1/users")
@bearer("users:read", role="support")
@bp.arguments(page_query(uuid.UUID, **user_filters()), location="query")
@bp.page_of(UserSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List people, newest first."""
    (before,) = wanted.get("cursor", (None,))
    found = gather(
        lambda before, count: search.search_users(
            text=wanted["search"], state=wanted.get("status"), before=before, limit=count
        ),
        before=before,
        limit=wanted["limit"] + 1,
    )
    return page(found.rows, limit=wanted["limit"], keys=lambda user: [user.id])


@bp.get("/api/v1/users/<uuid:sub>")
@bearer("users:read", role="support")
@bp.response(200, UserSchema)
@bp.problems(404)
@bp.versioned
def show(sub: UUID) -> Any:
    """Show a person."""
    return _whole(sub)


@bp.post("/api/v1/users/<uuid:sub>/disable")
@bearer("users:write", role="admin")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, UserSchema)
@bp.problems(404, 409)
def disable(body: dict[str, Any], sub: UUID) -> Any:
    """Let nobody sign in as this person, and end all sessions and grants.

    Nobody disables themselves, nor the last administrator: another one must be left to undo it.
    """
    users.disable_user(sub=_other(sub), reason=body["reason"])
    return _whole(sub)


@bp.post("/api/v1/users/<uuid:sub>/enable")
@bearer("users:write", role="admin")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, UserSchema)
@bp.problems(404)
def enable(body: dict[str, Any], sub: UUID) -> Any:
    """Let a disabled person sign in again."""
    users.enable_user(sub=_other(sub), reason=body["reason"])
    return _whole(sub)


@bp.put(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin")
@bp.response(200, UserSchema)
@bp.problems(404)
def add_role(sub: UUID, role: str) -> Any:
    """Give a role."""
    users.add_role(sub=_other(sub), role=role)
    return _whole(sub)


@bp.delete(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin")
@bp.response(200, UserSchema)
@bp.problems(404, 409)
def remove_role(sub: UUID, role: str) -> Any:
    """Take a role away; access tokens that carry it die."""
    users.remove_role(sub=_other(sub), role=role)
    return _whole(sub)


@bp.get("/api/v1/users/<uuid:sub>/sessions")
@bearer("users:read", role="support")
@bp.response(200, SessionListSchema)
@bp.problems(404)
def list_sessions(sub: UUID) -> Any:
    """List where a person is signed in, last used first: the hundred newest."""
    found = sessions.list_sessions(sub=users.get_user(sub=str(sub)).sub)
    return {"items": [SessionListSchema.item(row, own_sid=current_bearer().sid) for row, _ in found]}


@bp.delete("/api/v1/users/<uuid:sub>/sessions")
@bearer("users:write", role="support")
@bp.response(200, EndedSchema)
@bp.problems(404)
def revoke(sub: UUID) -> Any:
    """End every session and grant of a person."""
    ended = revoke_access(sub=_person(sub), cause="sessions_revoked")
    return {"sessions_ended": ended.sessions}


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


def _person(sub: UUID) -> str:
    """Whom the caller may act on; a client by itself, which an administrator has let in, on everybody."""
    caller = current_bearer()
    if caller.sub is None:
        return users.get_user(sub=str(sub)).sub
    return get_for_change(sub=str(sub), actor=caller.sub, roles=caller.roles).sub


def _other(sub: UUID) -> str:
    """The same for what nobody does to themselves."""
    caller = current_bearer()
    if caller.sub is None:
        return _person(sub)
    return get_other_for_change(sub=str(sub), actor=caller.sub, roles=caller.roles).sub


def _whole(sub: UUID) -> Any:
    user = users.get_user(sub=str(sub))
    return tagged(user, user.version)
