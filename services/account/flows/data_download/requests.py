"""Asking for the data, and taking it once it is there."""

import json
import uuid
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session as DatabaseSession

from libs.database import utcnow
from libs.guard import single_use
from libs.messaging.events import DataRequested
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.extensions import audit, db, outbox
from services.account.flows.data_download.collecting import SERVICES, place
from services.account.flows.email_change import proven_emails
from services.account.flows.users import lock_user
from services.account.models import DataPart, DataRequest, User


class RequestUnderWay(Problem):
    """One request at a time: the services are busy with the last one."""

    status, slug, title = 409, "request-under-way", lazy_gettext("Your data is being collected already")


class DataGone(Problem):
    """No such link for this person, or its time is over."""

    status, slug, title = 410, "data-gone", lazy_gettext("This link does not work any more")


def ask_for_data(*, sub: str) -> None:
    """Ask every service for what it holds about the person; a mail says when it is there.

    What was collected earlier goes. Raises RequestUnderWay.
    """
    with db.transaction() as session:
        user = lock_user(session, sub=sub)
        if _newest(session, user.id, is_waiting=True) is not None:
            raise RequestUnderWay
        session.execute(
            sa.delete(DataRequest)
            .where(DataRequest.user_id == user.id)
            .execution_options(synchronize_session=False)
        )
        now = utcnow()
        request = DataRequest(
            user_id=user.id,
            created_at=now,
            expires_at=now + parts_of(current_app).settings.DATA_LINK_LIFETIME,
        )
        session.add(request)
        session.flush()
        proven = proven_emails(session, user)
        outbox.record(
            DataRequested(request_id=str(request.id), sub=sub, emails=proven.emails, left=proven.left)
        )
        audit.record("data.requested", target=f"user:{sub}")


def find_request(*, sub: str) -> DataRequest | None:
    """The person's newest request that is alive."""
    with db.single_statements() as session:
        user_id = session.scalar(sa.select(User.id).where(User.sub == sub))
        return _newest(session, user_id) if user_id is not None else None


def _newest(session: DatabaseSession, user_id: uuid.UUID, *, is_waiting: bool = False) -> DataRequest | None:
    query = sa.select(DataRequest).where(DataRequest.user_id == user_id, DataRequest.expires_at > utcnow())
    if is_waiting:
        query = query.where(DataRequest.mailed_at.is_(None))
    newest = query.order_by(DataRequest.id.desc()).limit(1).execution_options(populate_existing=True)
    return session.scalar(newest)


def look_at_data(*, sub: str, token: str) -> DataRequest:
    """The request of a living link of this person. Raises DataGone, for another person's too."""
    with db.single_statements() as session:
        request = session.scalar(
            sa.select(DataRequest)
            .join(User, User.id == DataRequest.user_id)
            .where(
                DataRequest.token_digest == single_use.digest(token),
                DataRequest.expires_at > utcnow(),
                User.sub == sub,
            )
            .execution_options(populate_existing=True)
        )
    if request is None:
        raise DataGone
    return request


def take_data(*, sub: str, token: str) -> bytes:
    """Everything that was collected, as one JSON document. The link stays good until its end: a download may break.

    Raises DataGone.
    """
    request = look_at_data(sub=sub, token=token)
    keys = parts_of(current_app).data_keys
    with db.transaction() as session:
        parts = session.scalars(sa.select(DataPart).where(DataPart.request_id == request.id))
        found: dict[str, Any] = {
            part.service: json.loads(keys.open(part.sealed_content, place(request.id, part.service)))
            for part in parts
        }
        audit.record("data.downloaded", target=f"user:{sub}")
    missing = [service for service in SERVICES if service not in found]
    document: dict[str, Any] = {
        "issuer": parts_of(current_app).settings.PUBLIC_URL,
        "sub": sub,
        "requested_at": request.created_at.isoformat(),
        "services": {service: found[service] for service in SERVICES if service in found},
    }
    if missing:
        document["missing"] = gettext(
            "These services did not answer in time: %(services)s. Download again later, or ask once more.",
            services=", ".join(missing),
        )
    return json.dumps(document, ensure_ascii=False, indent=2).encode()
