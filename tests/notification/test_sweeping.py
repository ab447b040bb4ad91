"""Leases, workers that do not come back, and the sweep that finds what waits without a task."""

import dataclasses
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from libs.database import utcnow
from libs.service import connect_redis, parts_of
from services.notification.flows import lifecycle
from services.notification.flows.delivery import claiming, sweeping
from services.notification.models import Message
from tests.notification.conftest import (
    SENDER,
    ask,
    deliver,
    fresh,
    make_due,
    queued,
    run_task,
    with_settings,
    work,
)
from tests.sink import Sink


def update(app: Flask, message: Message, **values: object) -> None:
    with app.app_context(), parts_of(app).db.transaction() as session:
        session.execute(sa.update(Message).where(Message.id == message.id).values(**values))


def hold(app: Flask, message: Message) -> int:
    """Begin with a message, and go no further; the attempt's number."""
    with app.app_context():
        [(_, attempt)] = claiming.begin(claiming.take(message.id))
        return attempt


def results(message: Message) -> list[str | None]:
    return [attempt.result for attempt in message.attempts]


# ---- leases ------------------------------------------------------------------------------------------------


def test_a_leased_message_is_left_alone_until_the_lease_is_over(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    hold(mail_app, message)
    assert deliver(mail_app, message).state == "sending"
    assert sink.mails == []
    make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    sent = deliver(mail_app, message)
    assert (sent.state, results(sent)) == ("sent", ["lost", "sent"])


def test_a_worker_that_was_slow_may_still_say_that_the_mail_is_sent(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ask(mail_app)
    arrived, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        arrived.set()
        go_on.wait(5)

    sink.before_answer = wait
    with_slow = threading.Thread(target=run_task, args=(mail_app, "deliver", str(message.id)))
    with_settings(mail_app, monkeypatch, SMTP_TIMEOUT_S=10)
    with_slow.start()
    assert arrived.wait(5)
    make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    assert hold(mail_app, message) == 2
    go_on.set()
    with_slow.join(10)
    sent = fresh(mail_app, message)
    assert sent.state == "sent"
    assert results(sent) == ["sent"], "what was taken for lost is not, and the second has not ended"


def test_nothing_leaves_the_picture_of_a_messages_life() -> None:
    message = Message(state="sent", tries=0, last_attempt=0)
    with pytest.raises(lifecycle.IllegalMove):
        lifecycle.queue_again(message, now=utcnow())
    assert message.state == "sent"


# ---- the sweep ---------------------------------------------------------------------------------------------


def test_the_sweep_queues_what_is_due_and_nothing_else(mail_app: Flask, sink: Sink) -> None:
    due, waiting = ask(mail_app), ask(mail_app)
    update(mail_app, waiting, due_at=utcnow() + timedelta(hours=1))
    parts_of(mail_app).redis.delete("notification")  # what the broker held is lost
    run_task(mail_app, "sweep_messages")
    ids = [arguments[0] for _, arguments in queued(mail_app)]
    assert str(due.id) in ids
    assert str(waiting.id) not in ids
    work(mail_app)
    assert len(sink.to(due.recipient)) == 1


def test_the_sweep_adds_nothing_to_a_long_queue(mail_app: Flask) -> None:
    message = ask(mail_app)
    make_due(mail_app, message)
    redis = parts_of(mail_app).redis
    redis.delete("notification")
    redis.rpush("notification", *["{}"] * sweeping.ENOUGH_QUEUED)
    run_task(mail_app, "sweep_messages")
    assert redis.llen("notification") == sweeping.ENOUGH_QUEUED
    redis.delete("notification")
    deliver(mail_app, message)


def test_a_message_waits_for_the_sweep_while_the_broker_is_away(
    mail_app: Flask, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    from libs.messaging.broker import Broker
    from libs.messaging.worker import bare_celery
    from services.notification.extensions import tasks

    settings = dataclasses.replace(parts_of(mail_app).settings, REDIS_URL="redis://127.0.0.1:1/0")
    away = Broker(bare_celery(settings, only_sends=True), connect_redis(settings))
    monkeypatch.setattr(tasks, "_broker", away)
    message = ask(mail_app)
    assert message.state == "queued"
    monkeypatch.undo()
    with_settings(mail_app, monkeypatch, SMTP_URL=sink.url, MAIL_FROM=SENDER)
    assert queued(mail_app) == []
    run_task(mail_app, "sweep_messages")
    work(mail_app)
    assert len(sink.to(message.recipient)) == 1


def test_a_message_that_its_workers_do_not_survive_is_parked(mail_app: Flask, sink: Sink) -> None:
    message = ask(mail_app)
    for number in range(1, lifecycle.MOST_LOST + 1):
        assert fresh(mail_app, message).state in ("queued", "deferred")
        assert hold(mail_app, message) == number
        make_due(mail_app, message)
        run_task(mail_app, "sweep_messages")
        if number == 1:
            assert fresh(mail_app, message).due_at <= utcnow(), "the first may be an accident"
        elif number < lifecycle.MOST_LOST:
            assert fresh(mail_app, message).due_at > utcnow(), "apart from whatever died with it"
            make_due(mail_app, message)
    parked = fresh(mail_app, message)
    assert (parked.state, parked.reason) == ("parked", "lost")
    assert results(parked) == ["lost"] * lifecycle.MOST_LOST


def test_what_a_dead_worker_had_not_begun_spent_no_try(mail_app: Flask, sink: Sink) -> None:
    messages = [ask(mail_app) for _ in range(3)]
    with mail_app.app_context():
        held = claiming.take_due(20)
        assert held is not None
        assert [message.id for message in held] == [message.id for message in messages]
        assert claiming.begin(held[:1]) == [(held[0], 1)]
    for message in messages:
        make_due(mail_app, message)
    run_task(mail_app, "sweep_messages")
    assert [fresh(mail_app, message).state for message in messages] == ["deferred", "queued", "queued"]
    work(mail_app)
    assert [results(fresh(mail_app, message)) for message in messages] == [
        ["lost", "sent"],
        ["sent"],
        ["sent"],
    ]
