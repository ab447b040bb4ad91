"""What others tell notification ends in the same state in whatever order it comes, and however often."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import DataRequested, Event, UserChanged, UserErased
from services.notification.extensions import db
from services.notification.flows import recipients
from services.notification.models import Message, Recipient
from tests.any_order import Life, end_alike
from tests.notification.conftest import address, request_of, run_task


def snapshots(sub: str, email: str) -> list[Event]:
    return [
        UserChanged(
            sub=sub,
            version=version,
            status="active",
            roles=[],
            claims={"email": email if version > 1 else f"old-{email}"},
            locale="ru" if version == 3 else "en",
        )
        for version in range(1, 4)
    ]


def kept(app: Flask, sub: str, keys: list[str]) -> dict[str, Any]:
    """After everything that waits was delivered, as a worker would."""
    with app.app_context():
        ids = db.session.scalars(sa.select(Message.id).where(Message.deduplication_key.in_(keys))).all()
        db.session.rollback()
    for message_id in ids:
        run_task(app, "deliver", str(message_id))
    run_task(app, "forget_erased")
    with app.app_context(), db.transaction() as session:
        person = session.get(Recipient, sub, populate_existing=True)
        found = session.execute(
            sa.select(Message.template, Message.state, Message.recipient == "erased", Message.asked_by)
            .where(Message.deduplication_key.in_(keys))
            .order_by(Message.template)
        )
        return {
            "person": person and (person.locale, person.version == 3),
            "language": person and recipients.locale_of(person.email),
            "messages": [tuple(row) for row in found],
        }


def life(app: Flask, *, is_erased: bool) -> Life:
    sub, email = str(uuid.uuid4()), address()
    mails = [request_of(recipient=email) for _ in range(3)]
    events: list[Event] = [*snapshots(sub, email), *mails]
    events.append(DataRequested(request_id=str(uuid.uuid4()), sub=sub, emails=[email], left={}))
    if is_erased:
        events.append(UserErased(sub=sub, emails=[email]))
    return events, lambda: kept(app, sub, [mail.deduplication_key for mail in mails])


def test_mail_is_asked_for_while_its_reader_changes(app: Flask) -> None:
    state = end_alike(app, lambda: life(app, is_erased=False))
    assert state["person"] == ("ru", True)
    assert state["messages"] == [("confirm_address", "sent", False, "onboarding")] * 3


def test_an_erased_person_stays_forgotten(app: Flask) -> None:
    state = end_alike(app, lambda: life(app, is_erased=True))
    assert state["person"] == ("", False)
    assert state["messages"] == [("confirm_address", "sent", True, "onboarding")] * 3
