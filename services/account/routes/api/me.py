"""/api/v1/me: what a person's own app may see and change of their account, in their name."""

import uuid
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.people.bearer import current_bearer
from libs.web.api import APIBlueprint, expected_versions, page_query, tagged
from services.account.extensions import limiter
from services.account.flows import sessions
from services.account.flows.login_events import Wanted, list_login_events
from services.account.flows.profile import change_profile
from services.account.routes.api.callers import me, own_sid, page_of_rows
from services.account.schemas.login_events import OwnLoginEventSchema
from services.account.schemas.sessions import EndedSchema, SessionListSchema
from services.account.schemas.users import MeSchema, ProfileSchema

bp = APIBlueprint("me", __name__, limiter=limiter, description="The account of the person who allowed it.")


@bp.get("/api/v1/me")
@bearer("me")
@bp.response(200, MeSchema)
@bp.problems(404)
@bp.versioned
def show() -> Any:
    """Show the account."""
    user = me()
    return tagged(user, user.version)


@bp.patch("/api/v1/me")
@bearer("me")
@bp.arguments(ProfileSchema)
@bp.response(200, MeSchema)
@bp.problems(404)
@bp.versioned
def change(changes: dict[str, Any]) -> Any:
    """Change what is named of the profile; the rest stays."""
    user = change_profile(sub=me().sub, changes=changes, versions=expected_versions())
    return tagged(user, user.version)


@bp.get("/api/v1/me/sessions")
@bearer("me")
@bp.response(200, SessionListSchema)
@bp.problems(404)
def list_sessions() -> Any:
    """List where the person is signed in, last used first: the hundred newest."""
    found = sessions.list_sessions(sub=me().sub)
    return {"items": [SessionListSchema.item(row, own_sid=current_bearer().sid) for row, _ in found]}


@bp.delete("/api/v1/me/sessions")
@bearer("me")
@bp.response(200, EndedSchema)
@bp.problems(404)
def end_other_sessions() -> Any:
    """End all sessions but the one that the token lives by; with a token of offline access, all."""
    ended = sessions.end_other_sessions(sub=me().sub, keep_sid=own_sid())
    return {"sessions_ended": ended.sessions}


@bp.delete("/api/v1/me/sessions/<uuid:sid>")
@bearer("me")
@bp.response(204)
@bp.problems(404)
def end_session(sid: UUID) -> Any:
    """End one session, and every token that lives by it."""
    sessions.end_session(sub=me().sub, sid=str(sid))


@bp.get("/api/v1/me/login-events")
@bearer("me")
@bp.arguments(page_query(uuid.UUID), location="query")
@bp.page_of(OwnLoginEventSchema)
@bp.problems(404)
def list_attempts(wanted: dict[str, Any]) -> Any:
    """List the attempts to sign in to the account, newest first."""
    (before,) = wanted.get("cursor", (None,))
    return page_of_rows(list_login_events(Wanted(sub=me().sub), before=before, limit=wanted["limit"]))
