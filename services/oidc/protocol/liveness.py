"""Whether what was issued still holds: the grant's row, the person, the client, and denials from Redis."""

import uuid
from typing import Any

import redis
import sqlalchemy as sa
from flask import current_app

from libs.database import utcnow
from libs.observe.logs import get_logger
from libs.people import denials
from libs.service import parts_of
from services.oidc.extensions import db
from services.oidc.flows.clients.registered import find_client
from services.oidc.models import Grant, Subject

log = get_logger("OIDC.liveness")

_GRANT = (
    sa.select(
        Grant.id,
        Grant.client_id,
        Grant.sub,
        Grant.sid,
        Grant.is_offline,
        Grant.ended_at,
        Grant.expires_at,
        Subject.status,
        Grant.claims_request,
        Grant.roles,
        Subject.roles.label("present_roles"),
        Subject.claims,
    )
    .join(Subject, Subject.sub == Grant.sub)
    .where(Grant.id == sa.bindparam("grant_id"))
)


def live_grant(claims: dict[str, Any]) -> Any:
    """The row behind an access token of ours, when nothing has ended it; else None."""
    try:
        grant_id = uuid.UUID(claims["grant_id"])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    row = db.fetch_one(_GRANT, {"grant_id": grant_id})
    if row is None or not is_live(row) or find_client(row.client_id) is None:
        return None
    return None if is_denied(row, issued_at=claims["iat"]) else row


def is_live(row: Any) -> bool:
    """Whether a grant's row (with its person's status) still stands."""
    return row.ended_at is None and row.expires_at > utcnow() and row.status == "active"


def is_denied(row: Any, *, issued_at: int) -> bool:
    """Whether a denial reaches what was issued then. With Redis away the rows alone decide."""
    try:
        return denials.is_denied(
            parts_of(current_app).redis,
            sub=row.sub,
            sid=row.sid,
            issued_at=issued_at,
            is_offline=row.is_offline,
        )
    except redis.RedisError as error:
        log.warning("denials_not_read", error=type(error).__name__)
        return False
