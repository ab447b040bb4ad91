"""Workers killed with -9 at the worst moment: few mails are repeated, once, and none is lost."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.service import parts_of
from services.notification.flows import delivery, lifecycle
from services.notification.models import Message
from tests.notification.conftest import ask, deliver, fresh, make_due, run_task, work
from tests.sink import Received, Sink

DELIVER = """
import sys, uuid
from services.notification import create_app
from services.notification.flows import delivery
app = create_app()
delivery.TOGETHER_S = float(sys.argv[1])
with app.app_context():
    print(delivery.deliver_due(), flush=True)
"""


ONE_BY_ONE_S, TOGETHER_S = 1e-6, 60.0
"""No server is as quick as the first, every one is quicker than the second."""


@contextlib.contextmanager
def worker(
    environment: dict[str, str], sink: Sink, *, together_s: float = ONE_BY_ONE_S
) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that delivers what is due, one after the other."""
    settings = {**environment, "SMTP_URL": sink.url, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", DELIVER, str(together_s)]
    process = subprocess.Popen(
        command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def let_the_lease_end(app: Flask, *messages: Message) -> None:
    """Two minutes later."""
    for message in messages:
        make_due(app, message)
    run_task(app, "sweep_messages")


@pytest.fixture
def pending(mail_app: Flask) -> list[Message]:
    """Three messages that one worker takes at once."""
    return [ask(mail_app) for _ in range(3)]


def results(app: Flask, message: Message) -> list[str | None]:
    return [attempt.result for attempt in fresh(app, message).attempts]


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_worker_killed_when_the_server_has_the_mail_repeats_that_one_mail_once(
    mail_app: Flask, sink: Sink, environment: dict[str, str], pending: list[Message], killed_at: int
) -> None:
    with worker(environment, sink) as process:
        dead = threading.Event()

        def strike(_: Received) -> None:
            # The mail is kept, and its 250 comes to nobody.
            if len(sink.mails) == killed_at:
                kill(process)
                dead.set()

        sink.before_answer = strike
        assert dead.wait(30)
    sink.before_answer = None
    struck, untouched = pending[killed_at - 1], pending[killed_at:]
    assert [fresh(mail_app, message).state for message in pending] == [
        *["sent"] * (killed_at - 1),
        *["sending"] * (1 + len(untouched)),
    ]
    deliver(mail_app, struck)
    assert len(sink.mails) == killed_at, "the lease of the dead worker still holds"

    let_the_lease_end(mail_app, struck, *untouched)
    work(mail_app)
    assert results(mail_app, struck) == ["lost", "sent"]
    assert all(results(mail_app, message) == ["sent"] for message in untouched), "they were not begun"
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    for message in pending:
        mails = sink.to(message.recipient)
        assert len(mails) == (2 if message is struck else 1)
        assert {mail.message_id for mail in mails} == {message.header_id}


def test_of_mails_that_a_quick_server_takes_together_no_more_are_repeated(
    mail_app: Flask, sink: Sink, environment: dict[str, str]
) -> None:
    """The first shows how quick the server is; the next five are a group; the last has not begun."""
    pending = [ask(mail_app) for _ in range(2 + delivery.MOST_TOGETHER)]
    with worker(environment, sink, together_s=TOGETHER_S) as process:
        dead = threading.Event()

        def strike(_: Received) -> None:
            if len(sink.mails) == 4:
                kill(process)
                dead.set()

        sink.before_answer = strike
        assert dead.wait(30)
    sink.before_answer = None
    assert [fresh(mail_app, message).state for message in pending] == ["sent", *["sending"] * 6]
    let_the_lease_end(mail_app, *pending[1:])
    work(mail_app)
    group = pending[1:-1]
    assert [results(mail_app, message) for message in group] == [["lost", "sent"]] * delivery.MOST_TOGETHER
    assert results(mail_app, pending[-1]) == ["sent"]
    mails = [sink.to(message.recipient) for message in pending]
    assert [len(received) for received in mails] == [1, 2, 2, 2, 1, 1, 1]
    for message, received in zip(pending, mails, strict=True):
        assert {mail.message_id for mail in received} == {message.header_id}


def test_a_worker_killed_after_it_was_written_down_repeats_nothing(
    mail_app: Flask, sink: Sink, environment: dict[str, str], pending: list[Message]
) -> None:
    engine = sa.create_engine(parts_of(mail_app).settings.sqlalchemy_url)
    first = pending[0]
    with engine.connect() as holder, worker(environment, sink) as process:
        locked = threading.Event()

        def lock_the_row(_: Received) -> None:
            # The worker hears its 250, says so to the database, and waits for this lock.
            if not locked.is_set():
                holder.execute(sa.text("SELECT 1 FROM messages WHERE id = :id FOR UPDATE"), {"id": first.id})
                locked.set()

        sink.before_answer = lock_the_row
        assert locked.wait(30)
        with engine.connect() as observer:

            def waits_for_the_lock() -> bool:
                observer.rollback()
                query = (
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = :name"
                )
                return observer.execute(sa.text(query), {"name": engine.url.database}).scalar_one() > 0

            wait_until(waits_for_the_lock, "the worker never wrote it down")
        kill(process)
        holder.rollback()
    engine.dispose()
    sink.before_answer = None
    wait_until(lambda: fresh(mail_app, first).state == "sent", "the database has heard it")
    let_the_lease_end(mail_app, *pending[1:])
    work(mail_app)
    assert [len(sink.to(message.recipient)) for message in pending] == [1, 1, 1]
    assert results(mail_app, pending[1]) == ["lost", "sent"], "begun with the same statement"
    assert results(mail_app, pending[2]) == ["sent"]


def test_a_worker_killed_while_the_server_is_silent_loses_nothing(
    mail_app: Flask, sink: Sink, environment: dict[str, str], pending: list[Message]
) -> None:
    sink.tell(hang="greeting")
    with worker(environment, sink) as process:
        wait_until(lambda: sink.connections == 1, "the worker never called the server")
        kill(process)
    sink.accept()
    let_the_lease_end(mail_app, *pending)
    work(mail_app)
    assert [results(mail_app, message) for message in pending] == [["lost", "sent"], ["sent"], ["sent"]]
    assert all(len(sink.to(message.recipient)) == 1 for message in pending)


def test_a_worker_killed_before_it_called_the_server_loses_nothing(mail_app: Flask, sink: Sink) -> None:
    from services.notification.flows.delivery import claiming

    message = ask(mail_app)
    with mail_app.app_context():
        claiming.begin(claiming.take(message.id))  # and then nothing
    let_the_lease_end(mail_app, message)
    work(mail_app)
    assert len(sink.to(message.recipient)) == 1


@pytest.mark.parametrize(("together_s", "place"), [(ONE_BY_ONE_S, 0), (TOGETHER_S, 2)])
def test_a_message_that_kills_every_worker_is_parked_and_blocks_nobody(
    mail_app: Flask,
    sink: Sink,
    environment: dict[str, str],
    pending: list[Message],
    together_s: float,
    place: int,
) -> None:
    poison = pending.pop(place)
    for _ in range(lifecycle.MOST_LOST):
        make_due(mail_app, poison)
        with worker(environment, sink, together_s=together_s) as process:
            dead = threading.Event()

            def strike(mail: Received) -> None:
                if poison.recipient in mail.recipients:
                    kill(process)
                    dead.set()  # noqa: B023

            sink.before_answer = strike
            assert dead.wait(30)
        sink.before_answer = None
        let_the_lease_end(mail_app, poison, *pending)
    parked = fresh(mail_app, poison)
    assert (parked.state, parked.reason) == ("parked", "lost")
    work(mail_app)
    for message in pending:
        assert results(mail_app, message) in (["sent"], ["lost", "sent"]), "at most once its companion"
        assert 1 <= len(sink.to(message.recipient)) <= 2
