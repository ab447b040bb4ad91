"""/api/v1/users: what staff do on /admin/users, for programs of theirs and for clients by themselves."""

import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

from flask_babel import gettext

from libs.people.access import NotAllowed, bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint, page, page_query, tagged
from services.account.extensions import audit, limiter
from services.account.flows import sessions, users
from services.account.flows.revoking import revoke_access
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
    found = users.search_users(
        text=wanted["search"], status=wanted.get("status"), before=before, limit=wanted["limit"] + 1
    )
    return page(found, limit=wanted["limit"], keys=lambda user: [user.id])


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
@bp.problems(404)
def disable(body: dict[str, Any], sub: UUID) -> Any:
    """Let nobody sign in as this person, and end all sessions and grants.

    Nobody disables themselves: another administrator must be left to undo it.
    """
    if str(sub) == current_bearer().sub:
        raise NotAllowed(gettext("You cannot disable your own account."))
    users.disable_user(sub=str(sub), reason=body["reason"])
    return _whole(sub)


@bp.post("/api/v1/users/<uuid:sub>/enable")
@bearer("users:write", role="admin")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, UserSchema)
@bp.problems(404)
def enable(body: dict[str, Any], sub: UUID) -> Any:
    """Let a disabled person sign in again."""
    users.enable_user(sub=str(sub), reason=body["reason"])
    return _whole(sub)


@bp.put(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin")
@bp.response(200, UserSchema)
@bp.problems(404)
def add_role(sub: UUID, role: str) -> Any:
    """Give a role."""
    users.add_role(sub=str(sub), role=role)
    return _whole(sub)


@bp.delete(f"/api/v1/users/<uuid:sub>/roles/{ROLE}")
@bearer("users:write", role="admin")
@bp.response(200, UserSchema)
@bp.problems(404)
def remove_role(sub: UUID, role: str) -> Any:
    """Take a role away; access tokens that carry it die."""
    users.remove_role(sub=str(sub), role=role)
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
    ended = revoke_access(sub=users.get_user(sub=str(sub)).sub, cause="sessions_revoked")
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


def _whole(sub: UUID) -> Any:
    user = users.get_user(sub=str(sub))
    return tagged(user, user.version)
