"""Connections that stay open between mails, what ends them, and how large a mail may be."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.models import Message
from services.notification.transport import connections as open_connections
from services.notification.transport.conversation import connections
from tests.notification.conftest import SENDER, ask, deliver, fresh, run_task, with_settings, work
from tests.notification.odd_server import odd_server
from tests.sink import Sink


@pytest.fixture(autouse=True)
def _none_open() -> Iterator[None]:
    connections.close()
    yield
    connections.close()


def results(app: Flask, message: Message) -> list[str | None]:
    return [attempt.result for attempt in fresh(app, message).attempts]


def wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_many_mails_go_over_one_connection(mail_app: Flask, sink: Sink) -> None:
    messages = [ask(mail_app) for _ in range(5)]
    for message in messages:
        assert deliver(mail_app, message).state == "sent"
    assert (len(sink.mails), sink.connections) == (5, 1)


def test_a_backlog_of_one_task_goes_over_one_connection_past_a_bad_address(
    mail_app: Flask, sink: Sink
) -> None:
    messages = [ask(mail_app) for _ in range(30)]
    sink.tell(recipients={messages[3].recipient: "550 5.1.1 No such mailbox"})
    parts_of(mail_app).redis.delete("notification")
    run_task(mail_app, "deliver", str(messages[0].id))
    assert (len(sink.mails), sink.connections) == (29, 1)
    assert fresh(mail_app, messages[3]).state == "failed"


def test_a_connection_that_the_server_dropped_costs_no_try(mail_app: Flask, sink: Sink) -> None:
    deliver(mail_app, ask(mail_app))
    sink.cut()
    message = ask(mail_app)
    assert deliver(mail_app, message).state == "sent"
    assert (results(mail_app, message), sink.connections) == (["sent"], 2)


def test_a_server_that_goes_after_it_got_the_mail_is_not_asked_again_at_once(
    mail_app: Flask, sink: Sink
) -> None:
    deliver(mail_app, ask(mail_app))
    sink.tell(drop=1)
    message = ask(mail_app)
    assert deliver(mail_app, message).state == "deferred"
    assert (len(sink.to(message.recipient)), sink.connections) == (1, 1)


@pytest.mark.parametrize("answer", ["recipients", "data"])
def test_a_server_that_closes_down_is_no_servers_no(mail_app: Flask, sink: Sink, answer: str) -> None:
    words = "421 4.3.2 Shutting down"
    sink.tell(**{answer: {"*": words} if answer == "recipients" else words})
    message = deliver(mail_app, ask(mail_app))
    assert (message.state, results(mail_app, message)) == ("deferred", ["unreachable"])
    assert message.attempts[0].answer == words


def test_a_connection_serves_so_many_mails_and_no_more(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_connections, "MOST_MAILS", 2)
    for _ in range(5):
        deliver(mail_app, ask(mail_app))
    assert (len(sink.mails), sink.connections) == (5, 3)


@pytest.mark.parametrize("limit", ["LONGEST_IDLE", "LONGEST_LIFE"])
def test_a_connection_that_nobody_uses_is_closed(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    deliver(mail_app, ask(mail_app))
    assert sink.open == 1
    monkeypatch.setattr(open_connections, limit, timedelta(0))
    wait_until(lambda: sink.open == 0, "it stays open")
    monkeypatch.undo()
    with_settings(mail_app, monkeypatch, SMTP_URL=sink.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
    assert deliver(mail_app, ask(mail_app)).state == "sent", "and the keeper begins anew"


def test_a_forked_child_leaves_the_connection_to_its_parent(mail_app: Flask, sink: Sink) -> None:
    deliver(mail_app, ask(mail_app))
    child = os.fork()
    if child == 0:
        os._exit(0 if connections.take(parts_of(mail_app).settings.smtp_server, cut_at=0) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert deliver(mail_app, ask(mail_app)).state == "sent"
    assert sink.connections == 1


def test_a_child_that_is_forked_while_a_mail_is_on_its_way_does_not_wait_for_it(
    mail_app: Flask, sink: Sink
) -> None:
    sink.tell(hang="data")
    message = ask(mail_app)
    sending = threading.Thread(target=deliver, args=(mail_app, message))
    sending.start()
    wait_until(lambda: sink.mails, "the mail is not on its way")
    child = os.fork()
    if child == 0:
        os._exit(0)
    sink.accept()
    sending.join()
    ended: list[int] = []
    wait_until(lambda: ended or ended.extend(filter(None, os.waitpid(child, os.WNOHANG)[:1])), "it hangs")
    assert fresh(mail_app, message).state == "sent", "and the parent's conversation goes on"


def test_a_mail_that_is_too_large_is_parked_with_words(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = {"name": "Ada", "reason": "Слова. " * 500}
    with_settings(mail_app, monkeypatch, MAIL_SIZE_LIMIT=50_000)
    fits = ask(mail_app, template="application_rejected", context=context)
    assert deliver(mail_app, fits).state == "sent"
    monkeypatch.setattr("services.notification.settings.LEAST_SIZE_LIMIT", 1000)
    with_settings(mail_app, monkeypatch, MAIL_SIZE_LIMIT=10_000)
    message = deliver(mail_app, ask(mail_app, template="application_rejected", context=context))
    assert (message.state, message.reason) == ("parked", "unwritable")
    assert "more than MAIL_SIZE_LIMIT" in (message.attempts[0].answer or "")
    assert len(sink.mails) == 1


def test_a_mail_larger_than_the_server_takes_is_parked_before_it_is_sent(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sink(most_bytes=2000) as sink:
        with_settings(app, monkeypatch, SMTP_URL=sink.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
        messages = [ask(app), ask(app)]
        work(app)
        for message in messages:
            parked = fresh(app, message)
            assert (parked.state, parked.reason) == ("parked", "unwritable")
            assert "the server takes 2000 at most" in (parked.attempts[0].answer or "")
        assert sink.connections == 1


# ---- what no decent server does ---------------------------------------------------------------------------------


def test_a_yes_to_what_was_not_asked_is_no_mail_taken(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server(lambda _, verb: "250 OK" if verb == "DATA" else None) as server:
        with_settings(app, monkeypatch, SMTP_URL=server.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
        message = deliver(app, ask(app))
        assert (message.state, results(app, message), server.mails) == ("deferred", ["unreachable"], [])


def test_answers_that_are_one_behind_lose_no_mail(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def answer(connection: int, verb: str) -> str | None:
        if connection == 1 and verb == "RCPT" and not refused:
            refused.append(verb)
            return "450 4.2.0 Later"
        return "250 OK\r\n250 OK again" if verb == "RSET" else None

    with odd_server(answer) as server:
        with_settings(app, monkeypatch, SMTP_URL=server.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
        assert deliver(app, ask(app)).state == "deferred"
        message = deliver(app, ask(app))
        assert (message.state, results(app, message)) == ("sent", ["sent"])
        assert (len(server.mails), server.connections) == (1, 2)


def test_a_goodbye_without_end_holds_nobody_up(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_connections, "MOST_MAILS", 1)
    with odd_server(lambda _, verb: "221-Bye" if verb == "QUIT" else None) as server:
        with_settings(app, monkeypatch, SMTP_URL=server.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
        message = ask(app)
        sending = threading.Thread(target=deliver, args=(app, message), daemon=True)
        sending.start()
        sending.join(5)
        assert not sending.is_alive()
        assert fresh(app, message).state == "sent"


def test_what_there_was_no_time_for_is_another_tasks(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "GO_ON_FOR_S", 0.0)
    messages = [ask(mail_app) for _ in range(3)]
    parts_of(mail_app).redis.delete("notification")
    with mail_app.app_context():
        assert delivery.deliver_due() == 1
    left = [fresh(mail_app, message) for message in messages[1:]]
    assert [(message.state, message.tries, message.due_at) for message in left] == [
        ("queued", 0, message.due_at) for message in messages[1:]
    ]
    rounds = 0
    while work(mail_app):
        rounds += 1
    assert rounds <= 3
    assert {fresh(mail_app, message).state for message in messages} == {"sent"}
    assert len(sink.mails) == 3


def test_two_threads_go_on_and_the_others_are_free(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    with delivery.GOING_ON, delivery.GOING_ON, mail_app.app_context():
        assert delivery.deliver_due() == 0
        assert delivery.deliver(message_id=message.id) == "sent"


@pytest.mark.parametrize("pipelining", [True, False])
def test_servers_with_and_without_pipelining_get_their_mail(
    app: Flask, monkeypatch: pytest.MonkeyPatch, pipelining: bool
) -> None:
    with Sink(pipelining=pipelining) as sink:
        with_settings(app, monkeypatch, SMTP_URL=sink.url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=1)
        good, bad, busy, last = (ask(app) for _ in range(4))
        assert deliver(app, good).state == "sent"
        [connection] = connections._idle
        assert connection.smtp.has_extn("pipelining") == pipelining
        sink.tell(recipients={bad.recipient: "550 5.1.1 No such mailbox"})
        assert deliver(app, bad).attempts[0].answer == "550 5.1.1 No such mailbox"
        sink.tell(data="451 4.3.0 Busy")
        assert deliver(app, busy).attempts[0].answer == "451 4.3.0 Busy"
        sink.accept()
        dotted = ask(app, template="application_rejected", context={"name": "Ada", "reason": ".\n..\n.x"})
        assert [deliver(app, message).state for message in (dotted, last)] == ["sent", "sent"]
        assert "> .\n> ..\n> .x" in sink.to(dotted.recipient)[0].text
        assert (len(sink.mails), sink.connections) == (3, 1)


def test_a_server_that_wants_a_mail_to_nobody_gets_none(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said no to the recipient, and go ahead to DATA, which came in the same piece."""
    heard: list[bytes] = []

    def converse(listener: socket.socket) -> None:
        with listener.accept()[0] as caller:
            caller.sendall(b"220 here\r\n")
            while line := caller.recv(1000):
                heard.append(line)
                caller.sendall(
                    b"250-here\r\n250 PIPELINING\r\n"
                    if line.startswith(b"ehlo")
                    else b"250 OK\r\n550 5.7.1 Not from you\r\n354 Go ahead\r\n"
                )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=converse, args=(listener,))
        server.start()
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        with_settings(app, monkeypatch, SMTP_URL=url, MAIL_FROM=SENDER, SMTP_TIMEOUT_S=2)
        message = deliver(app, ask(app))
        server.join(10)
    assert (message.state, message.attempts[0].answer) == ("failed", "550 5.7.1 Not from you")
    assert [line.count(b"\r\n") for line in heard] == [1, 3]
