"""The breaker of the mail server: who is down is left alone by all workers, and no message pays for it."""

import json
import time
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.guard.breakers import KEY, Circuit
from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.flows.delivery import sending, settling
from services.notification.models import Message
from tests.conftest import run_command
from tests.notification.conftest import ask, deliver, fresh, make_due, queued, run_task, with_settings, work
from tests.sink import Sink


def circuit(app: Flask) -> Circuit:
    return parts_of(app).breakers.circuits()["smtp"]


def let_a_minute_pass(app: Flask) -> None:
    """The breaker's time is over."""
    row: Any = parts_of(app).redis.hget(KEY, "smtp")
    parts_of(app).redis.hset(KEY, "smtp", json.dumps({**json.loads(row), "retry_at": time.time() - 1}))


def unspent(app: Flask, message: Message) -> bool:
    now = fresh(app, message)
    return (now.state, now.tries, now.last_attempt, now.attempts) == ("queued", 0, 0, [])


@pytest.fixture
def down(mail_app: Flask, sink: Sink) -> list[Message]:
    """The server refused five times in a row; the messages that found it out."""
    sink.refuse()
    messages = [ask(mail_app) for _ in range(5)]
    for message in messages:
        assert circuit(mail_app).state == "closed"
        deliver(mail_app, message)
    return messages


def test_five_failures_in_a_row_leave_the_server_alone(
    mail_app: Flask, sink: Sink, down: list[Message]
) -> None:
    assert circuit(mail_app).state == "open"
    sink.accept()
    message = ask(mail_app)
    work(mail_app)
    assert unspent(mail_app, message)
    run_task(mail_app, "sweep_messages")
    assert queued(mail_app) == [], "nobody is called to a closed door"
    assert sink.connections == 0


def test_a_probe_that_succeeds_takes_everything_up_again(
    mail_app: Flask, sink: Sink, down: list[Message]
) -> None:
    waiting = [ask(mail_app) for _ in range(3)]
    parts_of(mail_app).redis.delete("notification")
    sink.accept()
    let_a_minute_pass(mail_app)
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    assert circuit(mail_app).state == "closed"
    for message in waiting:
        assert [attempt.result for attempt in fresh(mail_app, message).attempts] == ["sent"]
    for message in down:
        make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    assert {fresh(mail_app, message).state for message in down} == {"sent"}


def test_a_probe_that_fails_spends_one_message_one_try(
    mail_app: Flask, sink: Sink, down: list[Message]
) -> None:
    waiting = [ask(mail_app) for _ in range(3)]
    let_a_minute_pass(mail_app)
    work(mail_app)
    assert circuit(mail_app).state == "open"
    assert [fresh(mail_app, message).tries for message in waiting] == [1, 0, 0]


def test_while_somebody_probes_nobody_else_does(mail_app: Flask, sink: Sink, down: list[Message]) -> None:
    message = ask(mail_app)
    let_a_minute_pass(mail_app)
    real, tried = sending.is_left_alone, []

    def probe_of_another() -> bool:
        """Another worker begins its probe between our look and our call."""
        if not tried:
            tried.append(True)
            row: Any = parts_of(mail_app).redis.hget(KEY, "smtp")
            half_open = {**json.loads(row), "state": "half-open", "probe": "x", "retry_at": time.time() + 30}
            parts_of(mail_app).redis.hset(KEY, "smtp", json.dumps(half_open))
            return False
        return real()

    with pytest.MonkeyPatch.context() as patch, mail_app.app_context():
        patch.setattr(sending, "is_left_alone", probe_of_another)
        assert delivery.deliver_due() == 0
    assert unspent(mail_app, message)


def test_a_circuit_that_opens_among_mails_that_go_together_costs_the_rest_no_try(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [ask(mail_app) for _ in range(6)]
    monkeypatch.setattr(delivery, "TOGETHER_S", 60.0)
    monkeypatch.setattr(sending, "TRUST_S", 0.0)

    def open_it(_: object) -> None:
        if len(sink.mails) == 3:
            row = {"state": "open", "failures": 5, "retry_at": time.time() + 30}
            parts_of(mail_app).redis.hset(KEY, "smtp", json.dumps(row))

    sink.before_answer = open_it
    with mail_app.app_context():
        assert delivery.deliver_due() == 3
    assert [fresh(mail_app, message).state for message in messages] == ["sent"] * 3 + ["queued"] * 3
    assert all(unspent(mail_app, message) for message in messages[3:])


def test_a_database_that_goes_away_among_mails_that_go_together_hears_of_those_that_left(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [ask(mail_app) for _ in range(4)]
    monkeypatch.setattr(delivery, "TOGETHER_S", 60.0)
    real = sending.send

    def send(message: Any) -> Any:
        if len(sink.mails) == 3:
            raise sa.exc.OperationalError("SELECT", {}, Exception("away"))
        return real(message)

    monkeypatch.setattr(sending, "send", send)
    with mail_app.app_context(), pytest.raises(sa.exc.OperationalError):
        delivery.deliver_due()
    assert [fresh(mail_app, message).state for message in messages] == ["sent"] * 3 + ["sending"]


def test_an_end_that_cannot_be_written_costs_no_other_mail_its_own(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [ask(mail_app) for _ in range(4)]
    sink.tell(recipients={messages[2].recipient: "550 5.1.1 No such mailbox"})
    monkeypatch.setattr(delivery, "TOGETHER_S", 60.0)

    def stumble(end: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(settling, "_settle", stumble)
    with mail_app.app_context():
        delivery.deliver_due()
    states = [fresh(mail_app, message).state for message in messages]
    assert states == ["sent", "sent", "sending", "sent"]


def test_a_statement_whose_answer_is_lost_begins_nothing_twice(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [ask(mail_app) for _ in range(3)]
    monkeypatch.setattr(delivery, "TOGETHER_S", 60.0)
    real, failed = settling._settle_sent, []

    def settle_sent(*arguments: Any) -> Any:
        begun = real(*arguments)
        if not failed:
            failed.append(True)
            raise sa.exc.OperationalError("SELECT", {}, Exception("the connection broke after its commit"))
        return begun

    monkeypatch.setattr(settling, "_settle_sent", settle_sent)
    with mail_app.app_context():
        delivery.deliver_due()
    ended = [fresh(mail_app, message) for message in messages]
    assert [message.state for message in ended] == ["sent"] * 3
    assert [message.tries for message in ended] == [1, 2, 2], "begun by the statement, and once more"
    assert len(sink.mails) == 3


@pytest.mark.parametrize("answer", ["550 5.1.1 No such mailbox", "450 4.2.0 Greylisted"])
def test_what_it_says_of_a_recipient_is_not_the_servers_fault(
    mail_app: Flask, sink: Sink, answer: str
) -> None:
    sink.tell(recipients={"*": answer})
    for _ in range(7):
        deliver(mail_app, ask(mail_app))
    assert circuit(mail_app) == Circuit()


def test_mails_that_went_well_in_between_keep_it_closed(mail_app: Flask, sink: Sink) -> None:
    for _ in range(3):
        sink.refuse()
        for _ in range(3):
            deliver(mail_app, ask(mail_app))
        sink.accept()
        assert deliver(mail_app, ask(mail_app)).state == "sent"
    assert circuit(mail_app).state == "closed"


def test_it_is_seen_by_command_in_health_and_as_a_gauge(
    mail_app: Flask, sink: Sink, down: list[Message]
) -> None:
    rows = json.loads(run_command(mail_app, "breakers", "list", "--json").output)
    assert {"name": "smtp", "state": "open"}.items() <= rows[0].items()
    with mail_app.app_context():
        row = delivery.mail_health()
        assert (row.status, row.details) == ("degraded", {"reason": "left_alone"})
        source = parts_of(mail_app).gauges
        assert source is not None
        assert ("id_breaker_state", {"name": "smtp"}, 2) in [(s[0], s[2], s[3]) for s in source()]
    assert run_command(mail_app, "breakers", "reset", "smtp").exit_code == 0
    sink.accept()
    message = ask(mail_app)
    assert deliver(mail_app, message).state == "sent"
    with mail_app.app_context():
        assert delivery.mail_health().status == "healthy"


def test_the_mailbox_has_no_breaker(
    mail_app: Flask, down: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_settings(mail_app, monkeypatch, SMTP_URL="")
    assert deliver(mail_app, ask(mail_app)).state == "sent"
