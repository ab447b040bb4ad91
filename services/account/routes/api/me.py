"""/api/v1/me: what a person's own app may see and change of their account, in their name."""

from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.people.bearer import InvalidToken, current_bearer, current_person
from libs.web.api import APIBlueprint, expected_versions, tagged
from services.account.extensions import limiter
from services.account.flows import sessions, users
from services.account.flows.profile import change_profile
from services.account.models import User
from services.account.schemas.sessions import EndedSchema, SessionListSchema
from services.account.schemas.users import MeSchema, ProfileSchema

bp = APIBlueprint("me", __name__, limiter=limiter, description="The account of the person who allowed it.")

NO_SESSION = str(UUID(int=0))
"""What a token of `offline_access` lives by: no session is spared for it."""


@bp.get("/api/v1/me")
@bearer("me")
@bp.response(200, MeSchema)
@bp.problems(404)
@bp.versioned
def show() -> Any:
    """Show the account."""
    user = _me()
    return tagged(user, user.version)


@bp.patch("/api/v1/me")
@bearer("me")
@bp.arguments(ProfileSchema)
@bp.response(200, MeSchema)
@bp.problems(404)
@bp.versioned
def change(changes: dict[str, Any]) -> Any:
    """Change what is named of the profile; the rest stays."""
    user = change_profile(sub=_me().sub, changes=changes, versions=expected_versions())
    return tagged(user, user.version)


@bp.get("/api/v1/me/sessions")
@bearer("me")
@bp.response(200, SessionListSchema)
@bp.problems(404)
def list_sessions() -> Any:
    """List where the person is signed in, last used first: the hundred newest."""
    found = sessions.list_sessions(sub=_me().sub)
    return {"items": [SessionListSchema.item(row, own_sid=current_bearer().sid) for row, _ in found]}


@bp.delete("/api/v1/me/sessions")
@bearer("me")
@bp.response(200, EndedSchema)
@bp.problems(404)
def end_other_sessions() -> Any:
    """End all sessions but the one that the token lives by; with a token of offline access, all."""
    ended = sessions.end_other_sessions(sub=_me().sub, keep_sid=current_bearer().sid or NO_SESSION)
    return {"sessions_ended": ended.sessions}


@bp.delete("/api/v1/me/sessions/<uuid:sid>")
@bearer("me")
@bp.response(204)
@bp.problems(404)
def end_session(sid: UUID) -> Any:
    """End one session, and every token that lives by it."""
    sessions.end_session(sub=_me().sub, sid=str(sid))


def _me() -> User:
    """Raises UnknownUser, and InvalidToken for somebody who may not sign in any more."""
    user = users.get_user(sub=current_person())
    if not user.is_active:
        raise InvalidToken
    return user
