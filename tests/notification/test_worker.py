"""A real worker process on the real queue: it delivers, and its death loses nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from libs.service import parts_of
from tests.conftest import envelope_of
from tests.notification.conftest import make_due, message_of, request_of, run_task
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
    deadline = time.monotonic() + 40
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
