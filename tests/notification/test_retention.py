"""How long messages are kept: contents for a while, rows for longer, and what waits for as long as it waits."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import first_uuid7, utcnow
from libs.service import parts_of
from services.notification.flows import retention
from services.notification.models import Attempt, MailboxEntry, Message
from tests.notification.conftest import ask, deliver, run_task
from tests.sink import Sink

DAY = timedelta(days=1)


def aged(app: Flask, message: Message, age: timedelta, **values: object) -> str:
    """The message as one of that age: its id is its time. Its key, by which it is found."""
    made = utcnow() - age
    new_id = first_uuid7(made).int + (message.id.int & (1 << 62) - 1)
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.text("SET LOCAL session_replication_role = replica"))
        for table in (Attempt, MailboxEntry):
            session.execute(
                sa.update(table).where(table.message_id == message.id).values(message_id=_uuid(new_id))
            )
        session.execute(
            sa.update(Message)
            .where(Message.id == message.id)
            .values(id=_uuid(new_id), created_at=made, **values)
        )
    return message.deduplication_key


def _uuid(value: int) -> object:
    import uuid

    return uuid.UUID(int=value)


def found(app: Flask, key: str) -> Message | None:
    with app.app_context():
        message: Message | None = parts_of(app).db.session.scalar(
            sa.select(Message).where(Message.deduplication_key == key)
        )
        parts_of(app).db.session.expunge_all()
        return message


def count(app: Flask, table: type, since: datetime) -> int:
    with app.app_context():
        return parts_of(app).db.session.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.message_id < first_uuid7(since))
        )


def test_rows_go_after_their_time_with_attempts_and_mailbox(app: Flask) -> None:
    old = aged(app, deliver(app, ask(app)), 91 * DAY)
    young = aged(app, deliver(app, ask(app)), 89 * DAY)
    assert count(app, Attempt, utcnow() - 90 * DAY) == count(app, MailboxEntry, utcnow() - 90 * DAY) == 1
    run_task(app, "clear_messages")
    assert found(app, old) is None
    assert found(app, young) is not None
    assert count(app, Attempt, utcnow() - 90 * DAY) == count(app, MailboxEntry, utcnow() - 90 * DAY) == 0


@pytest.mark.parametrize("state", ["queued", "sending", "deferred"])
def test_what_waits_is_never_deleted(app: Flask, state: str) -> None:
    key = aged(app, ask(app), 400 * DAY, state=state)
    run_task(app, "clear_messages")
    message = found(app, key)
    assert message is not None
    assert message.sealed_context is not None


@pytest.mark.parametrize("state", ["failed", "parked", "suppressed"])
def test_what_did_not_leave_keeps_its_content_for_a_month(app: Flask, state: str) -> None:
    old = aged(app, ask(app), 31 * DAY, state=state, reason="refused")
    young = aged(app, ask(app), 29 * DAY, state=state, reason="refused")
    gone = aged(app, ask(app), 91 * DAY, state=state, reason="refused")
    run_task(app, "clear_messages")
    messages = [found(app, key) for key in (old, young, gone)]
    assert [message and message.sealed_context is not None for message in messages] == [False, True, None]


def test_it_goes_in_batches_until_all_is_done(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    keys = [aged(app, deliver(app, ask(app)), 100 * DAY) for _ in range(5)]
    with app.app_context():
        assert retention.clear_messages() == 5
        assert retention.clear_messages() == 0
    assert [found(app, key) for key in keys] == [None] * 5


def test_a_row_that_somebody_holds_is_passed_over(app: Flask, sink: Sink) -> None:
    held, free = (aged(app, deliver(app, ask(app)), 100 * DAY) for _ in range(2))
    engine = sa.create_engine(parts_of(app).settings.sqlalchemy_url)
    with engine.connect() as holder:
        holder.execute(
            sa.text("SELECT 1 FROM messages WHERE deduplication_key = :key FOR UPDATE"), {"key": held}
        )
        run_task(app, "clear_messages")
        holder.rollback()
    engine.dispose()
    assert found(app, held) is not None
    assert found(app, free) is None
    run_task(app, "clear_messages")
