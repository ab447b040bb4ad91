"""Workers killed with -9 at the worst moment: mail is repeated once at most, and never lost."""

import signal
import subprocess
import sys
import threading
import time

import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.notification.models import Message
from tests.notification.conftest import ask, deliver, fresh, make_due, run_task, work
from tests.sink import Received, Sink

DELIVER = """
import sys, uuid
from services.notification import create_app
from services.notification.flows import delivery
app = create_app()
with app.app_context():
    print(delivery.deliver(message_id=uuid.UUID(sys.argv[1])), flush=True)
"""


def worker_for(message: Message, environment: dict[str, str], sink: Sink) -> subprocess.Popen[str]:
    """A process of its own that delivers one message."""
    settings = {**environment, "SMTP_URL": sink.url, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", DELIVER, str(message.id)]
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def wait_until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_worker_killed_between_the_250_and_its_commit_repeats_the_mail_once(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    message = ask(mail_app)
    engine = sa.create_engine(parts_of(mail_app).settings.sqlalchemy_url)
    with engine.connect() as holder:
        locked = threading.Event()

        def lock_the_row(_: Received) -> None:
            # The worker gets its 250 and then waits for this lock: it can never commit.
            holder.execute(sa.text("SELECT id FROM messages WHERE id = :id FOR UPDATE"), {"id": message.id})
            locked.set()

        sink.before_answer = lock_the_row
        process = worker_for(message, environment, sink)
        assert locked.wait(30)
        with engine.connect() as observer:

            def waits_for_the_lock() -> bool:
                observer.rollback()
                query = (
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = :name"
                )
                name = observer.engine.url.database
                return observer.execute(sa.text(query), {"name": name}).scalar_one() > 0

            wait_until(waits_for_the_lock, "the worker never came to its commit")
        kill(process)
        holder.rollback()
    engine.dispose()
    sink.before_answer = None
    assert len(sink.to(message.recipient)) == 1
    assert fresh(mail_app, message).state == "sending"
    deliver(mail_app, message)
    assert len(sink.to(message.recipient)) == 1, "the lease of the dead worker still holds"

    make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    sent = fresh(mail_app, message)
    assert (sent.state, [attempt.result for attempt in sent.attempts]) == ("sent", ["lost", "sent"])
    make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    mails = sink.to(message.recipient)
    assert len(mails) == 2
    assert {mail.message_id for mail in mails} == {message.header_id}


def test_a_worker_killed_while_the_server_is_silent_loses_nothing(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    message = ask(mail_app)
    sink.tell(hang="greeting")
    process = worker_for(message, environment, sink)
    wait_until(lambda: sink.connections == 1, "the worker never called the server")
    kill(process)
    sink.accept()
    make_due(mail_app, message)
    assert deliver(mail_app, message).state == "sent"
    assert len(sink.to(message.recipient)) == 1


def test_a_worker_killed_before_it_called_the_server_loses_nothing(mail_app: Flask, sink: Sink) -> None:
    from services.notification.flows import delivery

    message = ask(mail_app)
    with mail_app.app_context():
        delivery._take(message.id)  # and then nothing
    make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    assert len(sink.to(message.recipient)) == 1
