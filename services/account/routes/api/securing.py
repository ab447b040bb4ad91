"""/api/v1/users/{sub}/…: where and how a person signs in, and closing an account in danger, for staff."""

from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint
from services.account.extensions import limiter
from services.account.flows import sessions, users
from services.account.flows.overview import look_at
from services.account.flows.password_links import send_password_link
from services.account.flows.revoking import revoke_access
from services.account.flows.second_factor import reset_second_factor
from services.account.flows.securing import secure_account
from services.account.routes.api.callers import other, person
from services.account.schemas.securing import MailedLinkSchema, SecuredSchema
from services.account.schemas.sessions import EndedSchema, SessionListSchema
from services.account.schemas.users import ReasonSchema, RequiredReasonSchema
from services.account.schemas.ways_in import RemovedFactorsSchema, WaysInSchema

bp = APIBlueprint(
    "securing",
    __name__,
    limiter=limiter,
    description="Where and how people sign in, and closing an account in danger, for staff.",
)


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
    ended = revoke_access(sub=person(sub).sub, cause="sessions_revoked")
    return {"sessions_ended": ended.sessions}


@bp.delete("/api/v1/users/<uuid:sub>/sessions/<uuid:sid>")
@bearer("users:write", role="support")
@bp.response(204)
@bp.problems(404)
def end_session(sub: UUID, sid: UUID) -> Any:
    """End one session of a person, and every token that lives by it."""
    sessions.end_session(sub=person(sub).sub, sid=str(sid))


@bp.get("/api/v1/users/<uuid:sub>/ways-in")
@bearer("users:read", role="support")
@bp.response(200, WaysInSchema)
@bp.problems(404)
def show_ways_in(sub: UUID) -> Any:
    """Show how a person can sign in; no secret is among it."""
    return look_at(users.get_user(sub=str(sub)))


@bp.post("/api/v1/users/<uuid:sub>/secure")
@bearer("users:write", role="support")
@bp.arguments(ReasonSchema, required=False)
@bp.response(200, SecuredSchema)
@bp.problems(404)
def secure(body: dict[str, Any], sub: UUID) -> Any:
    """Close an account to everybody but its owner.

    Ends every session and grant, makes the password unusable, keeps second factors, and mails a link that sets a new
    password, unless the account is disabled. Nobody does it to themselves.
    """
    secured = secure_account(sub=other(sub).sub, reason=body["reason"])
    return {"sessions_ended": secured.revoked.sessions, "link_mailed": secured.is_mailed}


@bp.post("/api/v1/users/<uuid:sub>/password-link")
@bearer("users:write", role="support")
@bp.arguments(ReasonSchema, required=False)
@bp.response(202, MailedLinkSchema)
@bp.problems(404, 409)
def mail_password_link(body: dict[str, Any], sub: UUID) -> Any:
    """Mail a person the link that sets their password.

    Earlier ones end. Nobody else sees or chooses a password.
    """
    return {"purpose": send_password_link(sub=person(sub).sub, reason=body["reason"])}


@bp.post("/api/v1/users/<uuid:sub>/second-factor/reset")
@bearer("users:write", role="admin", fresh=True)
@bp.arguments(RequiredReasonSchema)
@bp.response(200, RemovedFactorsSchema)
@bp.problems(404)
def remove_second_factor(body: dict[str, Any], sub: UUID) -> Any:
    """Remove every second factor of a person whom staff have recognised by another way.

    The person is signed out everywhere and told by mail. Passkeys stay where nothing else signs them in.
    """
    return reset_second_factor(sub=other(sub).sub, reason=body["reason"])
