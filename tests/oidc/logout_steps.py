"""Ends of sign-ins as account tells of them, and the logouts that clients are told of then."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.events import AccessRevoked
from libs.people.sessions import Session
from services.oidc.extensions import db
from services.oidc.models import LogoutDelivery
from services.oidc.protocol import backchannel_logout
from tests.conftest import receive
from tests.oidc.listeners import Listeners, read
from tests.oidc.relying_party import RelyingParty

Make = Callable[..., RelyingParty]


def end(app: Flask, person: Session, cause: str, *, sids: list[str] | None = None, since: int = 0) -> None:
    """What account's event does here."""
    event = AccessRevoked(sub=person.sub, sids=sids, cause=cause, not_before=since or int(time.time()))
    assert receive(app, event, "account") == "handled"


def send(app: Flask) -> int:
    with app.app_context():
        return backchannel_logout.send_due()


def deliveries(app: Flask) -> list[LogoutDelivery]:
    with app.app_context():
        found = list(db.session.scalars(sa.select(LogoutDelivery).order_by(LogoutDelivery.id)))
        db.session.expunge_all()
    return found


def delivery(app: Flask) -> LogoutDelivery:
    [only] = deliveries(app)
    return only


def update(app: Flask, **values: Any) -> None:
    """Move the clock of the deliveries."""
    with app.app_context(), db.transaction() as session:
        session.execute(sa.update(LogoutDelivery).values(**values))


def make_due(app: Flask) -> None:
    update(app, next_attempt_at=utcnow() - timedelta(seconds=1))


def told(app: Flask, apps: Listeners, client: RelyingParty, name: str) -> list[tuple[str, str | None]]:
    """Sub and sid of each logout that arrived."""
    found = [read(app, token, aud=client.client_id) for token in apps.tokens[name]]
    return [(claims["sub"], claims.get("sid")) for claims in found]
