"""Collecting: parts arrive in any order, perhaps twice, perhaps never; then the person is mailed the link."""

import json
import uuid
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.guard import single_use
from libs.observe.logs import get_logger
from libs.service import parts_of
from services.account.extensions import audit, db
from services.account.flows.data_download.own import own_part
from services.account.flows.notices import tell
from services.account.models import DataPart, DataRequest, User

log = get_logger("account.data_download")

OWN = "account"
OTHERS = ("oidc", "onboarding", "notification")
SERVICES = (OWN, *OTHERS)
REQUESTS_PER_BATCH = 20


def keep_part(*, request_id: str, service: str, content: dict[str, Any]) -> None:
    """Keep what a service sent; with the last part the link is mailed. One that comes late is still handed out."""
    with db.transaction() as session:
        request = _lock(session, DataRequest.id == uuid.UUID(request_id))
        if request is None:
            log.info("data_part_for_nobody", service=service)  # erased, or asked anew
            return
        _keep(session, request.id, service, content)
        if request.mailed_at is None and set(_services(session, request.id)) >= set(OTHERS):
            _finish(session, request)


def assemble_overdue() -> int:
    """Hand out, without what is missing, what has waited long enough. Returns how many requests."""
    waited = utcnow() - parts_of(current_app).settings.DATA_COLLECTION_LIFETIME
    overdue = sa.and_(DataRequest.mailed_at.is_(None), DataRequest.created_at < waited)
    done = 0
    while done < REQUESTS_PER_BATCH:
        with db.transaction() as session:
            request = _lock(session, overdue)
            if request is None:
                break
            missing = sorted(set(OTHERS) - set(_services(session, request.id)))
            log.warning("data_incomplete", request_id=str(request.id), missing=missing)
            _finish(session, request)
        done += 1
    return done


def _lock(session: DatabaseSession, condition: sa.ColumnElement[bool]) -> DataRequest | None:
    """One request of this condition, its person's row locked first as everywhere."""
    found = session.execute(
        sa.select(DataRequest.id, DataRequest.user_id).where(condition).order_by(DataRequest.id).limit(1)
    ).one_or_none()
    if found is None:
        return None
    session.execute(sa.select(User.id).where(User.id == found.user_id).with_for_update(key_share=True))
    request: DataRequest | None = session.scalar(
        sa.select(DataRequest)
        .where(DataRequest.id == found.id, condition)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return request


def _services(session: DatabaseSession, request_id: uuid.UUID) -> list[str]:
    return list(session.scalars(sa.select(DataPart.service).where(DataPart.request_id == request_id)))


def _finish(session: DatabaseSession, request: DataRequest) -> None:
    """Add our own part and mail the link."""
    user = session.get_one(User, request.user_id, populate_existing=True)
    settings = parts_of(current_app).settings
    _keep(session, request.id, OWN, own_part(session, user))
    token, request.token_digest = single_use.make()
    request.mailed_at = utcnow()
    request.expires_at = request.mailed_at + settings.DATA_LINK_LIFETIME
    tell(
        session,
        user=user,
        template="data_ready",
        context={
            "link": f"{settings.PUBLIC_URL}/account/data/download?token={token}",
            "expires_at": request.expires_at.isoformat(),
        },
    )
    audit.record("data.collected", target=f"user:{user.sub}")


def _keep(session: DatabaseSession, request_id: uuid.UUID, service: str, content: dict[str, Any]) -> None:
    sealed = parts_of(current_app).data_keys.seal(json.dumps(content).encode(), place(request_id, service))
    session.execute(
        insert(DataPart)
        .values(request_id=request_id, service=service, sealed_content=sealed)
        .on_conflict_do_nothing()
    )


def place(request_id: uuid.UUID, service: str) -> str:
    """Where a part belongs, for the key ring."""
    return f"data_parts.content:{request_id}:{service}"
