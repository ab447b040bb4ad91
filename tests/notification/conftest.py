"""Mail on its way: a real SMTP server, and a worker's work done on demand."""

import base64
import dataclasses
import json
import secrets
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.guard import breakers
from libs.messaging.events import MailRequested
from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.flows.delivery import sending
from services.notification.models import WAITING, Message
from tests.conftest import envelope_of, receive
from tests.pages import ORIGIN, Browser
from tests.sink import Sink

SENDER = "UpdSpace ID <id@updspace.test>"


@pytest.fixture
def app(notification_app: Flask) -> Flask:
    """notification as `make run` has it: mail ends in the mailbox. Its task queue starts empty, and nothing is due."""
    parts = parts_of(notification_app)
    parts.redis.delete("notification", breakers.KEY)
    sending._trusted_until = 0.0
    with notification_app.app_context(), parts.db.transaction() as session:
        later = utcnow() + timedelta(days=1)
        session.execute(sa.update(Message).where(Message.state.in_(WAITING)).values(due_at=later))
    return notification_app


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A good SMTP server."""
    with Sink() as server:
        yield server


@pytest.fixture
def mail_app(app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """notification with the sink as its mail server and a short time-out."""
    return with_settings(app, monkeypatch, SMTP_URL=sink.url, SMTP_TIMEOUT_S=1, MAIL_FROM=SENDER)


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def with_settings(app: Flask, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Flask:
    settings = dataclasses.replace(parts_of(app).settings, **changes)
    settings.check()
    monkeypatch.setattr(parts_of(app), "settings", settings)
    return app


def address() -> str:
    """An address nobody else has."""
    return f"ada-{secrets.token_hex(5)}@people.test"


def request_of(**overrides: Any) -> MailRequested:
    """A request for the mail that confirms an address."""
    values: dict[str, Any] = {
        "template": "confirm_address",
        "recipient": address(),
        "locale": "en",
        "context": {"name": "Ada", "link": f"{ORIGIN}/apply/confirm?token={secrets.token_urlsafe(32)}"},
        "deduplication_key": f"confirm:{uuid.uuid4()}",
        "expires_at": None,
    }
    return MailRequested(**{**values, **overrides})


def ask(app: Flask, **overrides: Any) -> Message:
    """Receive a request and return the message that it became."""
    event = request_of(**overrides)
    assert receive(app, event, "onboarding") == "handled"
    return message_of(app, event.deduplication_key)


def message_of(app: Flask, key: str) -> Message:
    """The message of a deduplication key, with its attempts, as it is now."""
    with app.app_context():
        session = parts_of(app).db.session
        message = session.scalar(
            sa.select(Message)
            .where(Message.deduplication_key == key)
            .options(sa.orm.selectinload(Message.attempts))
            .execution_options(populate_existing=True)
        )
        assert message is not None, f"no message has the key {key}"
        session.expunge_all()
        return message


def fresh(app: Flask, message: Message) -> Message:
    return message_of(app, message.deduplication_key)


def run_task(app: Flask, name: str, *args: Any) -> None:
    """Run a task as a worker would: in the app's context."""
    with app.app_context():
        parts_of(app).tasks.functions[f"notification.{name}"](*args)


def deliver(app: Flask, message: Message) -> Message:
    """Deliver this message and no other, if it is due; the message after it."""
    with app.app_context():
        delivery.deliver(message_id=message.id)
    return fresh(app, message)


def make_due(app: Flask, message: Message) -> None:
    """Let the wait, or the lease, of a message be over."""
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == message.id).values(due_at=utcnow()))


def queued(app: Flask) -> list[tuple[str, list[Any]]]:
    """The tasks in the service's queue, oldest first: name and arguments."""
    tasks = []
    for raw in reversed(parts_of(app).redis.lrange("notification", 0, -1)):
        task = json.loads(raw)
        tasks.append((task["headers"]["task"], json.loads(base64.b64decode(task["body"]))[0]))
    return tasks


def work(app: Flask) -> int:
    """Run every task in the queue, as a worker would. Returns how many there were."""
    tasks = queued(app)
    parts_of(app).redis.delete("notification")
    for name, arguments in tasks:
        run_task(app, name.removeprefix("notification."), *arguments)
    return len(tasks)


def keep_parked(app: Flask, event: MailRequested) -> dict[str, Any]:
    """Deliver an event that cannot be handled until the inbox parks it; returns the inbox row."""
    envelope = envelope_of(app, event, "onboarding")
    parts = parts_of(app)
    with app.app_context():
        for _ in range(8):
            state = parts.inbox.receive(envelope)
        assert state == "parked"
        row = parts.db.session.execute(
            sa.select(parts.inbox.table).where(
                parts.inbox.table.c.event_id == uuid.UUID(envelope["event_id"])
            )
        ).one()
        parts.db.session.rollback()
    return dict(row._mapping)


def forget_event(app: Flask, event_id: uuid.UUID) -> None:
    """Take a parked event away again, so that it does not trouble other tests."""
    parts = parts_of(app)
    with app.app_context(), parts.db.transaction() as session:
        session.execute(parts.inbox.table.delete().where(parts.inbox.table.c.event_id == event_id))
