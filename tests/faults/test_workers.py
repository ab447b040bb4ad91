"""Workers and relays killed and hung for real: what was recorded takes effect once, and its producer hears of it."""

import json
import signal
import time

import pytest
import sqlalchemy as sa

from tests.faults import POISON
from tests.faults.conftest import Messenger
from tests.libs import sample
from tests.running import wait_until

pytestmark = pytest.mark.soak


def all_confirmed(messenger: Messenger) -> None:
    wait_until(lambda: set(messenger.states()) == {"confirmed"}, 30)


def test_a_worker_killed_in_the_middle_of_a_transaction_leaves_nothing_of_it_and_another_does_it(
    messenger: Messenger,
) -> None:
    worker = messenger.worker()
    messenger.want("in-transaction")
    key = messenger.record()
    messenger.send()
    messenger.wait_for("in-transaction")
    worker.kill()
    messenger.let_go("in-transaction")
    assert messenger.effects(key) == 0
    messenger.worker()
    messenger.come_due()
    messenger.send()
    all_confirmed(messenger)
    assert messenger.effects(key) == 1
    assert "mingle" not in messenger.log.read_text(), "workers do not look for one another"


def test_a_worker_killed_between_its_commit_and_its_confirmation_does_nothing_twice(
    messenger: Messenger,
) -> None:
    worker = messenger.worker()
    messenger.want("before-confirmation")
    key = messenger.record()
    messenger.send()
    messenger.wait_for("before-confirmation")
    worker.kill()
    messenger.let_go("before-confirmation")
    assert (messenger.effects(key), messenger.states()) == (1, ["sent"]), "its producer does not know yet"
    messenger.worker()
    messenger.come_due()
    messenger.send()
    all_confirmed(messenger)
    assert messenger.effects(key) == 1


def test_the_same_message_twice_and_ten_times_side_by_side_takes_effect_once(messenger: Messenger) -> None:
    """Copies in the queue itself, as a broker makes them that takes messages back; two workers share them."""
    keys = [messenger.record() for _ in range(5)]
    messenger.send()
    messages = messenger.client.lrange("notification", 0, -1)
    assert len(messages) == 5
    for message in messages:
        messenger.client.lpush("notification", *[_copy(message, number) for number in range(9)])
    messenger.worker()
    messenger.worker()
    all_confirmed(messenger)
    wait_until(lambda: messenger.client.llen("notification") == 0)
    time.sleep(1)
    assert [messenger.effects(key) for key in keys] == [1] * 5


def _copy(message: str, number: int) -> str:
    """The same task again; the broker knows a message by its tag."""
    content = json.loads(message)
    content["properties"]["delivery_tag"] += f"-{number}"
    return json.dumps(content)


def test_an_event_that_kills_its_workers_is_parked_and_holds_up_nobody(messenger: Messenger) -> None:
    poison = messenger.record(POISON)
    worker = messenger.worker()
    messenger.send()
    wait_until(lambda: not worker.is_alive)
    messenger.come_due()
    other = messenger.record()
    worker = messenger.worker()
    messenger.send()
    wait_until(lambda: not worker.is_alive)
    # Six deaths later:
    with messenger.app.app_context(), sample.db.transaction() as session:
        table = sample.inbox.table
        counted = table.update().where(table.c.state == "received", table.c.attempts == 1).values(attempts=8)
        assert session.execute(counted.returning(table.c.name)).all(), "its second try was counted beforehand"
    worker = messenger.worker()
    messenger.come_due()
    messenger.send()
    wait_until(lambda: sorted(messenger.states()) == ["confirmed", "parked"])
    assert worker.is_alive
    [row] = messenger.parked()
    assert (row.name, row.last_error) == ("notification.mail_requested.v1", "NoEnd")
    assert (messenger.effects(poison), messenger.effects(other)) == (0, 1)


def test_what_a_hung_worker_holds_is_taken_over_and_it_changes_nothing_when_it_wakes(
    messenger: Messenger,
) -> None:
    """Stopped in the middle of its transaction: PostgreSQL ends that after a minute, which is ended here at once."""
    hung = messenger.worker()
    messenger.want("in-transaction")
    key = messenger.record()
    messenger.send()
    messenger.wait_for("in-transaction")
    hung.signal(signal.SIGSTOP)
    messenger.let_go("in-transaction")
    with messenger.app.app_context(), sample.db.transaction() as session:
        ended = session.scalars(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
            )
        ).all()
        assert ended == [True]
    messenger.worker()
    messenger.come_due()
    messenger.send()
    all_confirmed(messenger)
    assert messenger.effects(key) == 1
    hung.signal(signal.SIGCONT)
    later = messenger.record()
    messenger.send()
    all_confirmed(messenger)
    time.sleep(0.5)
    assert (messenger.effects(key), messenger.effects(later), hung.is_alive) == (1, 1, True)
    assert not messenger.parked()


def test_the_broker_takes_back_what_a_worker_keeps_too_long(messenger: Messenger) -> None:
    """The visibility time-out, moved: its clock is the score of an index in Redis."""
    hung = messenger.worker()
    messenger.want("before-confirmation")
    key = messenger.record()
    messenger.send()
    messenger.wait_for("before-confirmation")
    hung.signal(signal.SIGSTOP)
    messenger.let_go("before-confirmation")
    assert messenger.client.zcard("unacked_index") >= 1
    for tag in messenger.client.zrange("unacked_index", 0, -1):
        messenger.client.zadd("unacked_index", {str(tag): 1})
    messenger.worker()
    all_confirmed(messenger)
    hung.signal(signal.SIGCONT)
    time.sleep(1)
    assert (messenger.effects(key), messenger.states()) == (1, ["confirmed"])


def test_a_relay_killed_between_sending_and_its_commit_sends_again_and_nothing_happens_twice(
    messenger: Messenger,
) -> None:
    messenger.want("before-note")
    key = messenger.record()
    relay = messenger.relay()
    messenger.relays_may_begin()
    messenger.wait_for("before-note")
    assert messenger.client.llen("notification") == 1
    assert messenger.send() == 0, "nobody else sends what one holds"
    relay.kill()
    messenger.let_go("before-note")
    assert messenger.states() == ["pending"]
    wait_until(lambda: messenger.send() == 1)
    assert messenger.client.llen("notification") == 2
    messenger.worker()
    all_confirmed(messenger)
    wait_until(lambda: messenger.client.llen("notification") == 0)
    assert messenger.effects(key) == 1


def test_two_relays_in_two_processes_send_no_event_twice(messenger: Messenger) -> None:
    keys = [messenger.record() for _ in range(400)]
    relays = [messenger.relay() for _ in range(2)]
    messenger.relays_may_begin()
    wait_until(lambda: not any(relay.is_alive for relay in relays))
    assert [relay.process.returncode for relay in relays] == [0, 0]
    queued = messenger.client.lrange("notification", 0, -1)
    assert len(queued) == len(keys)
    assert len({json.loads(message)["headers"]["id"] for message in queued}) == len(keys)
    assert set(messenger.states()) == {"sent"}
