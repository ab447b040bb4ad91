"""/api/v1/users/login-events, login-failures: the record of attempts to sign in, for staff."""

import uuid
from typing import Any
from uuid import UUID

from libs.people.access import bearer
from libs.web.api import APIBlueprint, page_query
from services.account.extensions import limiter
from services.account.flows import users
from services.account.flows.login_events import Wanted, count_failures, list_login_events
from services.account.routes.api.callers import page_of_rows
from services.account.schemas.login_events import (
    FailureCountsSchema,
    FailuresSinceSchema,
    LoginEventSchema,
    attempt_filters,
    event_filters,
)

bp = APIBlueprint(
    "login_events", __name__, limiter=limiter, description="Every attempt to sign in, for staff."
)


@bp.get("/api/v1/users/login-events")
@bearer("users:read", role="support")
@bp.arguments(page_query(uuid.UUID, **event_filters()), location="query")
@bp.page_of(LoginEventSchema)
def find(wanted: dict[str, Any]) -> Any:
    """List the attempts to sign in that meet everything that is named, newest first."""
    return _listed(wanted)


@bp.get("/api/v1/users/<uuid:sub>/login-events")
@bearer("users:read", role="support")
@bp.arguments(page_query(uuid.UUID, **attempt_filters()), location="query")
@bp.page_of(LoginEventSchema)
@bp.problems(404)
def find_of_person(wanted: dict[str, Any], sub: UUID) -> Any:
    """List the attempts to sign in to one account, newest first."""
    return _listed({**wanted, "sub": users.get_user(sub=str(sub)).sub})


@bp.get("/api/v1/users/login-failures")
@bearer("users:read", role="support")
@bp.arguments(FailuresSinceSchema, location="query")
@bp.response(200, FailureCountsSchema)
def count(wanted: dict[str, Any]) -> Any:
    """Count why attempts to sign in failed, most first; in the last hour unless told otherwise."""
    found = count_failures(since=wanted["since"])
    return {"items": [{"failure_reason": reason, "count": number} for reason, number in found]}


def _listed(wanted: dict[str, Any]) -> Any:
    (before,) = wanted.pop("cursor", (None,))
    limit = wanted.pop("limit")
    return page_of_rows(list_login_events(Wanted(**wanted), before=before, limit=limit))
