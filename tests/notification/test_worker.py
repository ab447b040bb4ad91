"""A real worker process on the real queue: it delivers, and its death loses nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.messaging.worker import CONCURRENCY
from libs.service import parts_of
from services.notification.flows import delivery
from services.notification.models import Message
from tests.conftest import envelope_of
from tests.notification.conftest import ask, make_due, message_of, request_of, run_task
from tests.sink import Sink

pytestmark = pytest.mark.soak


@contextlib.contextmanager
def worker(environment: dict[str, str], sink: Sink) -> Iterator[subprocess.Popen[bytes]]:
    """The worker of the service, as the suite starts it."""
    command = [sys.executable, "-m", "celery", "--app", "services.notification.worker", "worker"]
    settings = {**os.environ, **environment, "SMTP_URL": sink.url}
    settings.pop("WORKER_PORT", None)
    process = subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_mail_survives_the_death_of_its_worker(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    event = request_of()
    envelope = envelope_of(mail_app, event, "onboarding")
    assert parts_of(mail_app).tasks.send("receive_event", envelope)
    sink.tell(hang="greeting")
    with worker(environment, sink) as first:
        wait_until(lambda: sink.connections > 0, "the worker never called the server")
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    message = message_of(mail_app, event.deduplication_key)
    assert message.state == "sending"
    sink.accept()
    make_due(mail_app, message)  # two minutes later
    with worker(environment, sink):
        run_task(mail_app, "sweep_messages")
        sink.wait_for(event.recipient, timeout_s=40)
        wait_until(
            lambda: message_of(mail_app, event.deduplication_key).state == "sent", "nobody wrote it down"
        )
    assert len(sink.to(event.recipient)) == 1


def test_two_workers_share_a_queue_and_send_each_mail_once(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    events = [request_of() for _ in range(200)]
    for event in events:
        assert parts_of(mail_app).tasks.send("receive_event", envelope_of(mail_app, event, "onboarding"))
    with worker(environment, sink), worker(environment, sink):
        wait_until(lambda: len(sink.mails) >= len(events), "not every mail came")
        time.sleep(1)
    assert sorted(mail.recipients[0] for mail in sink.mails) == sorted(event.recipient for event in events)


def test_a_worker_that_is_stopped_takes_its_leave(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    event = request_of()
    with worker(environment, sink) as process:
        assert parts_of(mail_app).tasks.send("receive_event", envelope_of(mail_app, event, "onboarding"))
        sink.wait_for(event.recipient, timeout_s=40)
        assert sink.open == 1, "its connection stays open"
        process.terminate()
        process.wait(30)
    wait_until(lambda: sink.open == 0, "its connection stays open")
    assert sink.goodbyes == 1
    assert message_of(mail_app, event.deduplication_key).state == "sent"


def test_workers_that_are_killed_again_and_again_repeat_few_and_lose_none(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    """Each kill may repeat what the threads of the worker were about, and nothing else."""
    messages = [ask(mail_app) for _ in range(400)]
    kills = 4
    for number in range(1, kills + 1):
        with worker(environment, sink) as process:
            run_task(mail_app, "sweep_messages")
            wait_until(lambda: len(sink.mails) >= number * 60, "no mail came")  # noqa: B023
            process.kill()
            process.wait(10)
        end_leases(mail_app, messages)
    with worker(environment, sink), worker(environment, sink):

        def every_mail_came() -> bool:
            run_task(mail_app, "sweep_messages")
            return len({mail.message_id for mail in sink.mails}) == len(messages)

        wait_until(every_mail_came, "not every mail came")
        wait_until(lambda: states(mail_app, messages) == {"sent"}, "not every mail is written down")
    ids = Counter(mail.message_id for mail in sink.mails)
    assert set(ids) == {message.header_id for message in messages}
    assert sum(ids.values()) - len(ids) <= kills * CONCURRENCY * delivery.MOST_TOGETHER


def end_leases(app: Flask, messages: list[Message]) -> None:
    """Two minutes later."""
    with app.app_context(), parts_of(app).db.transaction() as session:
        held = sa.update(Message).where(
            Message.id.in_([message.id for message in messages]), Message.state == "sending"
        )
        session.execute(held.values(due_at=utcnow()))


def states(app: Flask, messages: list[Message]) -> set[str]:
    with app.app_context():
        session = parts_of(app).db.session
        ids = [message.id for message in messages]
        found = set(session.scalars(sa.select(Message.state).where(Message.id.in_(ids)).distinct()))
        session.rollback()
    return found
