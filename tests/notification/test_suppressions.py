"""Addresses that are written to no more: how they come to be so, what still goes to them, and what ends it."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.messaging.events import DataRequested, MailEnded, NotificationDataCollected, UserErased
from libs.service import parts_of
from services.notification.flows import delivery, suppressions
from services.notification.models import Message, Suppression
from tests.conftest import receive, recorded
from tests.notification.conftest import address, ask, deliver, fresh, run_task, with_settings, work
from tests.notification.test_erasure import member, occurrences, rows
from tests.pages import ORIGIN
from tests.sink import Sink

NO_SUCH = "550 5.1.1 No such mailbox"
NOT_ME = f"{ORIGIN}/password/not-me?token=x"


def reason_of(app: Flask, email: str) -> str | None:
    with app.app_context():
        return suppressions.reason_of(email)


def suppress(app: Flask, email: str, reason: str = "bounced", **values: Any) -> bool:
    with app.app_context():
        return suppressions.suppress(email=email, reason=reason, **values)


def security_mail(app: Flask, email: str) -> Message:
    context = {"name": "Ada", "moment": "2030-01-31T18:30:00+00:00", "device": "Firefox", "not_me": NOT_ME}
    return ask(app, template="password_changed", recipient=email, context=context)


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"])
def test_an_address_that_nobody_has_is_written_to_once(mail_app: Flask, sink: Sink, code: str) -> None:
    email = address()
    sink.tell(recipients={email: f"550 {code} Not here"})
    assert deliver(mail_app, ask(mail_app, recipient=email)).reason == "refused"
    with mail_app.app_context():
        (row,) = suppressions.list_suppressions(text=email)
    assert (row.email, row.reason, row.detail) == (email, "refused", f"550 {code} Not here")
    sink.accept()
    again = deliver(mail_app, ask(mail_app, recipient=email.title()))
    assert (again.state, again.reason, again.attempts, again.tries) == ("suppressed", "suppressed", [], 0)
    assert sink.mails == []


@pytest.mark.parametrize(
    "answer",
    [
        "550 5.7.1 We take no mail from you",
        "552 5.2.2 Mailbox full",
        "550 No",
        "450 4.1.1 Come again",
        "450 5.1.1 A server that cannot decide",
    ],
)
def test_a_policy_a_full_box_or_a_passing_no_suppresses_nobody(
    mail_app: Flask, sink: Sink, answer: str
) -> None:
    email = address()
    sink.tell(recipients={email: answer})
    deliver(mail_app, ask(mail_app, recipient=email))
    assert reason_of(mail_app, email) is None


def test_security_mail_is_always_tried_and_lifts_what_the_server_said_when_it_takes_it(
    mail_app: Flask, sink: Sink
) -> None:
    email = address()
    suppress(mail_app, email, "refused")
    assert deliver(mail_app, security_mail(mail_app, email)).state == "sent"
    assert reason_of(mail_app, email) is None
    assert deliver(mail_app, ask(mail_app, recipient=email)).state == "sent"


def test_a_server_that_relays_proves_nothing_about_an_address_that_bounced(
    mail_app: Flask, sink: Sink
) -> None:
    email = address()
    suppress(mail_app, email, "bounced")
    assert deliver(mail_app, security_mail(mail_app, email)).state == "sent"
    assert reason_of(mail_app, email) == "bounced"


def test_a_complaint_stays_whatever_arrives(mail_app: Flask, sink: Sink) -> None:
    email = address()
    assert suppress(mail_app, email, "complained", detail="abuse")
    assert deliver(mail_app, security_mail(mail_app, email)).state == "sent"
    assert not suppress(mail_app, email, "bounced")
    assert reason_of(mail_app, email) == "complained"
    assert deliver(mail_app, ask(mail_app, recipient=email)).state == "suppressed"


def test_security_mail_that_is_refused_too_changes_nothing(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sink.tell(recipients={email: NO_SUCH})
    suppress(mail_app, email)
    assert deliver(mail_app, security_mail(mail_app, email)).state == "failed"
    assert reason_of(mail_app, email) == "refused"


def test_every_spelling_is_one_address(mail_app: Flask, sink: Sink) -> None:
    local = uuid.uuid4().hex[:8]
    suppress(mail_app, f" STRASSE-ÄDA-{local}@People.test ")
    assert reason_of(mail_app, f"straße-äda-{local}@people.test") == "bounced"
    suppressed = deliver(mail_app, ask(mail_app, recipient=f"Straße-Äda-{local}@people.test"))
    assert suppressed.state == "suppressed"


def test_lifting_is_audited_without_the_address_and_happens_once(mail_app: Flask) -> None:
    email = address()
    suppress(mail_app, email)
    with mail_app.app_context():
        assert suppressions.is_suppressed(email.upper())
        suppressions.lift(email=email.upper(), reason="she rang us")
        assert not suppressions.is_suppressed(email)
        with pytest.raises(suppressions.UnknownSuppression):
            suppressions.lift(email=email)
        entries = parts_of(mail_app).audit.entries()[:2]
    assert [entry.action for entry in entries] == ["address.suppression_lifted", "address.suppressed"]
    assert (entries[0].reason, entries[0].before) == ("she rang us", {"reason": "bounced"})
    assert occurrences(mail_app, email) == {}


def test_the_list_has_the_newest_first_and_goes_on_where_it_ended(mail_app: Flask) -> None:
    prefix = uuid.uuid4().hex
    emails = [f"{prefix}-{number}@people.test" for number in range(5)]
    for number, email in enumerate(emails):
        suppress(mail_app, email, "complained" if number == 2 else "bounced")
    with mail_app.app_context():
        first = suppressions.list_suppressions(text=prefix, limit=3)
        rest = suppressions.list_suppressions(text=prefix, after=first[-1].email)
        assert [row.email for row in (*first, *rest)] == emails[::-1]
        assert [row.email for row in suppressions.list_suppressions(text=prefix, reason="complained")] == [
            emails[2]
        ]
        assert suppressions.list_suppressions(text="%") == []


# ---- who asked is told -----------------------------------------------------------------------------------------


def told(app: Flask, message: Message) -> list[str]:
    return [
        event.outcome
        for event in recorded(app, MailEnded)
        if isinstance(event, MailEnded) and event.deduplication_key == message.deduplication_key
    ]


def subscribers(app: Flask, message: Message) -> list[str]:
    outbox = parts_of(app).outbox
    with app.app_context():
        return list(
            parts_of(app).db.session.scalars(
                sa.select(outbox.deliveries.c.subscriber)
                .join(outbox.events, outbox.events.c.id == outbox.deliveries.c.event_id)
                .where(outbox.events.c.data["deduplication_key"].astext == message.deduplication_key)
            )
        )


def test_who_asked_is_told_that_a_mail_was_refused_or_suppressed(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sink.tell(recipients={email: NO_SUCH})
    refused = deliver(mail_app, ask(mail_app, recipient=email))
    suppressed = deliver(mail_app, ask(mail_app, recipient=email))
    assert (told(mail_app, refused), told(mail_app, suppressed)) == (["failed"], ["suppressed"])
    assert subscribers(mail_app, refused) == ["onboarding"]


def test_who_asked_is_told_that_a_mail_came_too_late_or_was_given_up(mail_app: Flask, sink: Sink) -> None:
    late, given_up, unwritable = ask(mail_app), ask(mail_app), ask(mail_app, recipient="no address")
    with mail_app.app_context(), parts_of(mail_app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == late.id).values(expires_at=sa.func.now()))
        session.execute(sa.update(Message).where(Message.id == given_up.id).values(tries=99))
    sink.refuse()
    for message in (late, given_up, unwritable):
        deliver(mail_app, message)
    assert fresh(mail_app, given_up).reason == "too_many_tries"
    assert [told(mail_app, message) for message in (late, given_up, unwritable)] == [
        ["too_late"],
        ["failed"],
        ["failed"],
    ]


def test_nobody_is_told_who_does_not_listen_and_nothing_of_what_goes_on(mail_app: Flask, sink: Sink) -> None:
    sent = deliver(mail_app, ask(mail_app))
    sink.tell(recipients={"*": NO_SUCH})
    failed = ask(mail_app)
    with mail_app.app_context(), parts_of(mail_app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == failed.id).values(asked_by="oidc"))
    assert deliver(mail_app, failed).state == "failed"
    sink.tell(recipients={"*": "450 4.2.0 Later"})
    deferred = deliver(mail_app, ask(mail_app))
    assert [told(mail_app, message) for message in (sent, failed, deferred)] == [[], [], []]


# ---- caps ------------------------------------------------------------------------------------------------------


def test_an_address_gets_so_much_mail_within_an_hour(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_settings(mail_app, monkeypatch, MAIL_PER_RECIPIENT=3)
    email = address()
    messages = [ask(mail_app, recipient=email.upper() if n % 2 else email) for n in range(5)]
    work(mail_app)
    assert len(sink.mails) == 3
    waiting = [fresh(mail_app, message) for message in messages if fresh(mail_app, message).state != "sent"]
    assert [(m.state, m.reason, m.tries, m.attempts) for m in waiting] == [("queued", "capped", 0, [])] * 2
    assert deliver(mail_app, security_mail(mail_app, email)).state == "sent", "security mail passes"
    assert deliver(mail_app, ask(mail_app)).state == "sent", "others get theirs"

    with mail_app.app_context(), parts_of(mail_app).db.transaction() as session:
        an_hour = sa.text("interval '61 minutes'")
        session.execute(
            sa.update(Message)
            .where(sa.func.lower(Message.recipient) == email)
            .values(sent_at=Message.sent_at - an_hour, due_at=Message.due_at - an_hour - an_hour)
        )
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    assert {fresh(mail_app, message).state for message in messages} == {"sent"}
    assert fresh(mail_app, waiting[0]).reason is None


def test_many_mails_that_shall_not_be_sent_hold_nobody_up(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BATCH", 3)
    email = address()
    suppress(mail_app, email)
    messages = [ask(mail_app, recipient=email) for _ in range(9)]
    good = ask(mail_app)
    with mail_app.app_context():
        assert delivery.deliver_due() == 1
    assert fresh(mail_app, good).state == "sent"
    assert {fresh(mail_app, message).state for message in messages} == {"suppressed"}


# ---- leaving, and one's data -----------------------------------------------------------------------------------


def test_a_person_who_goes_takes_their_suppression_along(mail_app: Flask, sink: Sink) -> None:
    email = address()
    sub = member(mail_app, email, locale="en")
    suppress(mail_app, email, "complained")
    last = ask(mail_app, template="account_erased", recipient=email, context={"name": "Ada"})
    assert receive(mail_app, UserErased(sub=sub, emails=[email]), "account") == "handled"
    assert reason_of(mail_app, email) is None
    sink.tell(recipients={email: NO_SUCH})
    deliver(mail_app, last)
    assert reason_of(mail_app, email) == "refused", "their very last mail"
    rows(mail_app, "UPDATE erasures SET erased_at = erased_at - interval '50 minutes' WHERE sub = :s", s=sub)
    run_task(mail_app, "forget_erased")
    assert reason_of(mail_app, email) is None
    assert occurrences(mail_app, email).keys() <= {"erasures"}


def test_a_suppression_is_among_a_persons_data(mail_app: Flask) -> None:
    email, request_id = address(), str(uuid.uuid4())
    sub = member(mail_app, email, locale="en")
    suppress(mail_app, email, "complained", detail="words of a server")
    assert (
        receive(mail_app, DataRequested(request_id=request_id, sub=sub, emails=[email]), "account")
        == "handled"
    )
    [answer] = [e for e in recorded(mail_app, NotificationDataCollected) if e.request_id == request_id]
    [found] = answer.content["suppressions"]
    assert (found["email"], found["reason"]) == (email, "complained")


def test_a_suppression_of_somebody_else_is_left_alone(mail_app: Flask) -> None:
    email = address()
    sub = member(mail_app, address(), locale="en")
    suppress(mail_app, email)
    left = {email: "2020-01-31T12:00:00+00:00"}
    assert receive(mail_app, UserErased(sub=sub, emails=[email], left=left), "account") == "handled"
    with mail_app.app_context():
        assert parts_of(mail_app).db.session.get(Suppression, email) is not None
