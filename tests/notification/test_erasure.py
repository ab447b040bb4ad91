"""Somebody is gone: their address and what was written to it are forgotten, the last mail once it has left."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import DataRequested, NotificationDataCollected, UserErased
from libs.service import parts_of
from tests.conftest import receive, recorded, run_command
from tests.notification.conftest import address, ask, deliver, fresh, run_task
from tests.notification.test_recipients import language_of_mail_to, member
from tests.sink import Sink


def rows(app: Flask, text: str, **values: Any) -> list[Any]:
    with app.app_context(), parts_of(app).db.engine.begin() as connection:
        found = connection.execute(sa.text(text), values)
        return list(found) if found.returns_rows else []


def erase(app: Flask, sub: str, *emails: str) -> None:
    assert receive(app, UserErased(sub=sub, emails=list(emails)), "account") == "handled"


def occurrences(app: Flask, word: str) -> dict[str, int]:
    """In which tables, the mailbox aside, a word stands; the mailbox is the person's own."""
    found = {}
    for table in (
        "messages",
        "attempts",
        "recipients",
        "erasures",
        "audit_entries",
        "inbox_events",
        "outbox_events",
    ):
        [(count,)] = rows(
            app, f"SELECT count(*) FROM {table} AS t WHERE t::text ILIKE :like", like=f"%{word}%"
        )
        if count:
            found[table] = count
    return found


def test_what_was_sent_loses_its_address_at_once(mail_app: Flask, sink: Sink) -> None:
    email, other = address(), address()
    sub = member(mail_app, email.upper(), locale="ru")
    mine = deliver(mail_app, ask(mail_app, recipient=email.title()))
    theirs = deliver(mail_app, ask(mail_app, recipient=other))
    erase(mail_app, sub, email)
    assert (fresh(mail_app, mine).recipient, fresh(mail_app, mine).state) == ("erased", "sent")
    assert fresh(mail_app, theirs).recipient == other


def test_the_last_mail_leaves_first_whichever_event_comes_first(mail_app: Flask, sink: Sink) -> None:
    for mail_is_first in (True, False):
        email = address()
        sub = member(mail_app, email, locale="ru")
        values: dict[str, Any] = {
            "template": "account_erased",
            "recipient": email,
            "context": {"name": "Ada"},
        }
        if mail_is_first:
            message = ask(mail_app, **values)
            erase(mail_app, sub, email)
        else:
            erase(mail_app, sub, email)
            message = ask(mail_app, **values)
        run_task(mail_app, "forget_erased")
        assert fresh(mail_app, message).recipient == email, "it waits for its delivery"
        assert deliver(mail_app, message).state == "sent"
        assert [mail.recipients for mail in sink.to(email)] == [[email]]
        rows(
            mail_app,
            "UPDATE erasures SET erased_at = erased_at - interval '61 minutes' WHERE sub = :sub",
            sub=sub,
        )
        rows(
            mail_app,
            "UPDATE messages SET created_at = created_at - interval '61 minutes' WHERE recipient = :email",
            email=email,
        )
        run_task(mail_app, "forget_erased")
        assert fresh(mail_app, message).recipient == "erased"
        run_task(mail_app, "forget_erased")
        assert occurrences(mail_app, email) == {}


def test_a_server_that_is_away_keeps_the_address_until_the_mail_has_left(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="en")
    message = ask(mail_app, template="account_erased", recipient=email, context={"name": "Ada"})
    erase(mail_app, sub, email)
    sink.refuse()
    assert deliver(mail_app, message).state == "deferred"
    rows(
        mail_app,
        "UPDATE erasures SET erased_at = erased_at - interval '59 minutes' WHERE sub = :sub",
        sub=sub,
    )
    run_task(mail_app, "forget_erased")
    assert fresh(mail_app, message).recipient == email


def test_what_a_server_answered_is_forgotten_and_a_failed_mail_cannot_be_tried_again(app: Flask) -> None:
    email = address()
    sub = member(app, email, locale="en")
    message = ask(app, recipient=email)
    rows(
        app,
        "INSERT INTO attempts (message_id, number, started_at, result, answer)"
        " VALUES (:id, 1, now(), 'refused', :answer)",
        id=message.id,
        answer=f"550 no such user {email}",
    )
    rows(app, "UPDATE messages SET state = 'failed', reason = 'refused' WHERE id = :id", id=message.id)
    erase(app, sub, email)
    assert fresh(app, message).attempts[0].answer is None
    tried = run_command(app, "messages", "retry", str(message.id))
    assert tried.exit_code == 1
    assert "new one must be asked for" in tried.output


def test_a_late_snapshot_does_not_bring_an_erased_person_back(mail_app: Flask, sink: Sink) -> None:
    email, sub = address(), str(uuid.uuid4())
    erase(mail_app, sub, email)
    member(mail_app, email, locale="ru", sub=sub, version=7)
    assert language_of_mail_to(mail_app, sink, email, asked="en") == "en"
    erase(mail_app, sub, email)
    assert rows(mail_app, "SELECT email, locale FROM recipients WHERE sub = :sub", sub=sub) == [("", "")]


def test_a_message_that_somebody_holds_just_then_is_forgotten_afterwards(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="en")
    message = ask(mail_app, recipient=email)
    erase(mail_app, sub, email)
    deliver(mail_app, message)
    rows(
        mail_app,
        "UPDATE erasures SET erased_at = erased_at - interval '61 minutes' WHERE sub = :sub",
        sub=sub,
    )
    rows(
        mail_app,
        "UPDATE messages SET created_at = created_at - interval '2 minutes' WHERE id = :id",
        id=message.id,
    )
    with mail_app.app_context():
        engine = parts_of(mail_app).db.engine
    with engine.begin() as holder:
        holder.execute(sa.text("SELECT 1 FROM messages WHERE id = :id FOR KEY SHARE"), {"id": message.id})
        run_task(mail_app, "forget_erased")
    run_task(mail_app, "forget_erased")
    assert fresh(mail_app, message).recipient == "erased"
    assert occurrences(mail_app, email) == {}


def test_whoever_joins_again_later_is_somebody_new(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="en")
    erase(mail_app, sub, email)
    rows(mail_app, "UPDATE erasures SET erased_at = erased_at - interval '2 hours' WHERE sub = :sub", sub=sub)
    again = deliver(mail_app, ask(mail_app, recipient=email))
    run_task(mail_app, "forget_erased")
    assert fresh(mail_app, again).recipient == email
    assert rows(mail_app, "SELECT 1 FROM erasures WHERE sub = :sub", sub=sub) == []


def test_a_person_is_told_which_mail_went_to_them_and_nothing_of_others(mail_app: Flask, sink: Sink) -> None:
    email, other, request_id = address(), address(), str(uuid.uuid4())
    sub = member(mail_app, email, locale="ru")
    deliver(mail_app, ask(mail_app, recipient=email))
    deliver(mail_app, ask(mail_app, recipient=other))
    asked = DataRequested(request_id=request_id, sub=sub, emails=[email.upper()])
    assert receive(mail_app, asked, "account") == "handled"
    [answer] = [
        event for event in recorded(mail_app, NotificationDataCollected) if event.request_id == request_id
    ]
    assert answer.content["recipient"] == {"email": email, "locale": "ru"}
    assert [(mail["mail"], mail["to"], mail["state"]) for mail in answer.content["messages"]] == [
        ("confirm_address", email, "sent")
    ]
    assert "link" not in str(answer.content)


def test_an_address_that_somebody_else_uses_since_is_theirs(mail_app: Flask, sink: Sink) -> None:
    old, until, request_id = address(), "2020-01-31T12:00:00+00:00", str(uuid.uuid4())
    sub = member(mail_app, address(), locale="en")
    message = deliver(mail_app, ask(mail_app, recipient=old))
    asked = DataRequested(request_id=request_id, sub=sub, emails=[old], left={old: until})
    assert receive(mail_app, asked, "account") == "handled"
    [answer] = [e for e in recorded(mail_app, NotificationDataCollected) if e.request_id == request_id]
    assert answer.content["messages"] == []
    assert receive(mail_app, UserErased(sub=sub, emails=[old], left={old: until}), "account") == "handled"
    run_task(mail_app, "forget_erased")
    assert fresh(mail_app, message).recipient == old


def test_messages_are_found_by_address_by_an_index(app: Flask) -> None:
    plan = rows(
        app,
        "SET LOCAL enable_seqscan = off; EXPLAIN SELECT id FROM messages WHERE lower(recipient) = lower('a@b.test')",
    )
    assert "ix_messages_" in str(plan)
    assert "Index Cond: (lower(recipient)" in str(plan)
