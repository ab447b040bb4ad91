"""Circuit breakers: five failures in a row, one probe a minute, one truth for all processes."""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from flask import Flask

from libs.guard.breakers import KEY, Breaker, BreakerOpen, Breakers, Circuit, Down, gauges
from libs.service import connect_redis, parts_of
from tests.conftest import run_command
from tests.libs.sample import SampleSettings

Client = Callable[[], redis.Redis]


@pytest.fixture
def client(sample_app: Flask) -> Iterator[redis.Redis]:
    found = parts_of(sample_app).redis
    found.delete(KEY)
    yield found
    found.delete(KEY)


@pytest.fixture
def breaker(client: redis.Redis) -> Breaker:
    return Breaker("sample", lambda: client)


def fail(breaker: Breaker, times: int = 1, retry_after: int | None = None) -> None:
    def call() -> None:
        raise Down("no answer", retry_after=retry_after)

    for _ in range(times):
        with pytest.raises(Down):
            breaker.call(call)


def row_of(client: Any, name: str = "sample") -> dict[str, Any]:
    row: dict[str, Any] = json.loads(client.hget(KEY, name) or "{}")
    return row


def let_time_pass(client: Any, seconds: float, name: str = "sample") -> None:
    """Move what the breaker waits for into the past."""
    row = row_of(client, name)
    row["retry_at"] -= seconds
    client.hset(KEY, name, json.dumps(row, sort_keys=True))


def is_refused(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except BreakerOpen:
        return True
    return False


def test_it_opens_after_five_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 4)
    assert breaker.current_state == "closed"
    assert breaker.fail_counter == 4
    fail(breaker)
    assert breaker.current_state == "open"
    assert is_refused(breaker)


def test_one_answer_between_failures_begins_the_row_anew(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.call(lambda: "answer")
    fail(breaker, 4)
    assert breaker.current_state == "closed"


def test_an_error_that_is_an_answer_does_not_count(breaker: Breaker) -> None:
    def refuse() -> None:
        raise ValueError("one person's 4xx")

    for _ in range(10):
        with pytest.raises(ValueError, match="4xx"):
            breaker.call(refuse)
    fail(breaker, 4)
    with pytest.raises(ValueError, match="4xx"):
        breaker.call(refuse)
    fail(breaker, 4)
    assert breaker.current_state == "closed"


def test_while_it_is_open_nothing_is_called(breaker: Breaker) -> None:
    fail(breaker, 5)
    called: list[int] = []
    with pytest.raises(BreakerOpen):
        breaker.call(called.append, 1)
    assert not called


def test_after_sixty_seconds_one_probe_closes_it(breaker: Breaker, client: redis.Redis) -> None:
    fail(breaker, 5)
    let_time_pass(client, 58)
    assert is_refused(breaker)
    let_time_pass(client, 3)
    assert breaker.call(lambda: "answer") == "answer"
    assert breaker.current_state == "closed"
    assert not client.hexists(KEY, "sample")


def test_a_probe_that_fails_opens_it_for_another_minute(breaker: Breaker, client: redis.Redis) -> None:
    fail(breaker, 5)
    let_time_pass(client, 61)
    fail(breaker)
    assert breaker.current_state == "open"
    assert 58 < row_of(client)["retry_at"] - time.time() <= 60


def test_only_one_probe_is_sent_however_many_want_to(client: redis.Redis) -> None:
    first = Breaker("sample", lambda: client)
    fail(first, 5)
    let_time_pass(client, 61)
    began, all_asked, calls = threading.Barrier(12), threading.Event(), []
    refused = threading.Semaphore(0)

    def probe() -> str:
        calls.append(1)
        all_asked.wait(10)
        return "answer"

    def attempt(breaker: Breaker) -> str:
        began.wait(10)
        try:
            return breaker.call(probe)
        except BreakerOpen:
            refused.release()
            return "refused"

    with ThreadPoolExecutor(12) as pool:
        # As many breakers as threads: each stands for a process of its own.
        breakers = [Breaker("sample", lambda: client) for _ in range(12)]
        futures = [pool.submit(attempt, breaker) for breaker in breakers]
        assert all(refused.acquire(timeout=10) for _ in range(11))
        all_asked.set()
        results = [future.result(10) for future in futures]
    assert sorted(results) == ["answer", *["refused"] * 11]
    assert len(calls) == 1
    assert first.current_state == "closed"


def test_a_probe_whose_process_died_is_given_up(breaker: Breaker, client: redis.Redis) -> None:
    fail(breaker, 5)
    let_time_pass(client, 61)

    def die() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        breaker.call(die)
    assert breaker.current_state == "half-open"
    assert is_refused(breaker)
    let_time_pass(client, 31)
    assert breaker.call(lambda: "answer") == "answer"
    assert breaker.current_state == "closed"


def test_what_began_before_it_opened_neither_closes_nor_prolongs_it(breaker: Breaker) -> None:
    def answer_late() -> str:
        fail(breaker, 5)  # others fail meanwhile
        return "late"

    assert breaker.call(answer_late) == "late"
    assert breaker.current_state == "open"
    assert breaker.fail_counter == 5


def test_a_slow_call_holds_nobody_up(breaker: Breaker) -> None:
    inside, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        inside.set()
        may_end.wait(10)

    thread = threading.Thread(target=breaker.call, args=(slow,))
    thread.start()
    assert inside.wait(5)
    assert breaker.call(lambda: "answer") == "answer"
    may_end.set()
    thread.join(5)


def test_it_stays_open_as_long_as_the_other_side_asked(breaker: Breaker, client: redis.Redis) -> None:
    fail(breaker, 2, retry_after=300)
    fail(breaker, 3)
    assert 295 < row_of(client)["retry_at"] - time.time() <= 300


def test_a_short_wish_does_not_shorten_the_minute_and_a_long_one_is_an_hour(
    breaker: Breaker, client: redis.Redis
) -> None:
    fail(breaker, 5, retry_after=2)
    assert 58 < row_of(client)["retry_at"] - time.time() <= 60
    let_time_pass(client, 61)
    fail(breaker, retry_after=10_000_000)
    assert 3590 < row_of(client)["retry_at"] - time.time() <= 3600


def test_failures_at_once_from_many_threads_are_all_counted(client: redis.Redis) -> None:
    breakers = [Breaker("sample", lambda: client) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fail, breakers))
    assert row_of(client)["failures"] == 4


def _fail_in_another_process(settings: SampleSettings, times: int) -> None:
    client = connect_redis(settings)
    fail(Breaker("sample", lambda: client), times)


def test_processes_count_together_and_a_restarted_one_remembers(
    sample_settings: SampleSettings, client: redis.Redis
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_fail_in_another_process, args=(sample_settings, 3)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
    fail(Breaker("sample", lambda: client), 2)
    assert is_refused(Breaker("sample", lambda: client))


def _nowhere() -> redis.Redis:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return redis.Redis(port=listener.getsockname()[1], decode_responses=True, retry=None)


def test_with_redis_away_the_process_counts_alone(client: redis.Redis) -> None:
    where = [_nowhere()]
    breaker = Breaker("sample", lambda: where[0])
    assert breaker.call(lambda: "answer") == "answer"
    fail(breaker, 5)
    assert is_refused(breaker)
    breakers = Breakers(lambda: where[0])
    breakers._declared["sample"] = breaker
    assert breakers.refusing() == {"sample"}
    # Back again, it tells the others, who know nothing.
    where[0] = client
    assert is_refused(breaker)


def test_what_was_learned_alone_is_told_to_the_others(client: redis.Redis) -> None:
    where = [_nowhere()]
    breaker = Breaker("sample", lambda: where[0])
    fail(breaker, 3)
    where[0] = client
    fail(breaker)
    assert row_of(client)["failures"] == 4
    breaker.call(lambda: "answer")
    assert row_of(client) == {}


def test_a_full_redis_is_as_good_as_none(client: Any) -> None:
    """Reading still works there; what it does not take is counted here."""

    class Full(redis.Redis):
        def execute_command(self, *arguments: Any, **options: Any) -> Any:
            if arguments[0] in ("EVALSHA", "EVAL"):
                raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
            return super().execute_command(*arguments, **options)

    full = Full(connection_pool=client.connection_pool)
    breaker = Breaker("sample", lambda: full)
    fail(breaker, 5)
    assert is_refused(breaker)


def test_a_row_that_nobody_can_read_counts_for_nothing(breaker: Breaker, client: redis.Redis) -> None:
    for row in ("garbage", "[]", '{"state": "open", "colour": "red"}'):
        client.hset(KEY, "sample", row)
        assert breaker.call(lambda: "answer") == "answer"
    fail(breaker, 5)
    assert breaker.current_state == "open"


def test_each_change_is_logged_once(client: redis.Redis, log_text: Callable[[], str]) -> None:
    one, other = Breaker("sample", lambda: client), Breaker("sample", lambda: client)
    fail(one, 3)
    fail(other, 2)
    assert is_refused(one) and is_refused(other)
    let_time_pass(client, 61)
    one.call(lambda: "answer")
    other.call(lambda: "answer")
    lines = [json.loads(line) for line in log_text().splitlines() if "circuit breaker" in line]
    assert [line["event"] for line in lines] == [
        "circuit breaker open",
        "circuit breaker half-open",
        "circuit breaker closed",
    ]
    assert all(line["name"] == "sample" for line in lines)
    assert [line["failure_count"] for line in lines] == [5, 5, 5]
    assert lines[0]["retry_at"].startswith("20") and lines[2]["retry_at"] is None


def test_the_gauge_shows_the_state(client: redis.Redis) -> None:
    breakers = Breakers(lambda: client)
    breaker = breakers.declare("sample")

    def level() -> float:
        ((name, _, labels, value),) = gauges(breakers)
        assert (name, labels) == ("id_breaker_state", {"name": "sample"})
        return value

    assert level() == 0
    fail(breaker, 5)
    assert level() == 2
    let_time_pass(client, 61)
    breaker.call(lambda: client.set("breaker-test-level", level(), ex=5))
    assert client.get("breaker-test-level") == "1"
    assert level() == 0


def test_every_service_lists_and_resets_them(sample_app: Flask, client: redis.Redis) -> None:
    listed = run_command(sample_app, "breakers", "list")
    assert "No breaker" in listed.output
    fail(Breaker("elsewhere", lambda: client), 5)
    rows = json.loads(run_command(sample_app, "breakers", "list", "--json").output)
    assert [(row["name"], row["state"], row["failure_count"]) for row in rows] == [("elsewhere", "open", 5)]
    assert rows[0]["retry_at"].startswith("20")

    done = run_command(sample_app, "breakers", "reset", "elsewhere")
    assert done.exit_code == 0
    assert "elsewhere is closed; it was open." in done.output
    assert not is_refused(Breaker("elsewhere", lambda: client))
    (entry, *_) = json.loads(run_command(sample_app, "audit", "list", "--json").output)
    assert (entry["action"], entry["target"]) == ("breaker.reset", "breaker:elsewhere")
    assert entry["before"] == {"state": "open", "failure_count": 5}

    unknown = run_command(sample_app, "breakers", "reset", "nobody")
    assert unknown.exit_code == 1
    assert "There is no breaker nobody" in unknown.output


def test_circuits_survive_their_row() -> None:
    circuit = Circuit(state="open", failures=7, retry_at=12.5)
    assert Circuit.read(circuit.row()) == circuit
    assert Circuit().row() == ""
