"""Circuit breakers: what does not answer is left alone for a while, by all processes together.

pybreaker gives the words (its states, CircuitBreaker, CircuitBreakerError). Its own call() is not used: it holds a
lock while the guarded call runs, so that one hung provider would hang every thread behind it, and it lets each
process send a probe of its own (docs/decisions/0007). Here a call is three steps: ask to enter, run with no lock
held, tell how it ended. Each step reads the circuit, decides, and writes only if nobody else did meanwhile.
"""

import dataclasses
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pybreaker
import redis
from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN

from libs.observe.logs import get_logger
from libs.observe.metrics import BREAKER_STATE, BREAKER_STATE_HELP, GaugeSamples

log = get_logger("libs.breakers")

Result = TypeVar("Result")
KEY = "breakers"
"""The Redis hash that holds every circuit, by its breaker's name; one that is closed and counts nothing has no row."""
FAILURES_TO_OPEN = 5
OPEN_INTERVAL = timedelta(seconds=60)
PROBE_LIFETIME = timedelta(seconds=30)
"""How long a probe may take before another may be sent; longer than any call, so only for a process that died."""
LONGEST_OPEN = timedelta(hours=1)
"""The most that a Retry-After is believed."""
MOST_TRIES = 50
LEVELS = {STATE_CLOSED: 0, STATE_HALF_OPEN: 1, STATE_OPEN: 2}
"""What `id_breaker_state` shows."""

# Writes the new row (or deletes it) when the row is still the one that the decision was made on.
_SWAP = """
local row = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if row ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


class Down(Exception):
    """The other side does not answer, or answers that it cannot: the one kind of error that a breaker counts.

    `retry_after` is how long it asked to be left alone, seconds.
    """

    def __init__(self, message: str = "", *, retry_after: int | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class BreakerOpen(pybreaker.CircuitBreakerError):
    """Not tried: the breaker is open, or somebody else's probe is on its way."""


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """What is known of one breaker. Times are epoch seconds."""

    state: str = STATE_CLOSED
    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    """Open: when a probe may be sent. Half-open: when its probe is given up."""
    asked_until: float = 0.0
    """Until when the other side asked, while it was failing, to be left alone."""
    probe: str = ""
    """Half-open: the probe that is on its way."""

    def is_refusing(self, now: float) -> bool:
        """Whether a call would not be tried."""
        return self.state != STATE_CLOSED and now < self.retry_at

    @classmethod
    def read(cls, row: str) -> "Circuit":
        """From its row; one that nobody can read counts for nothing."""
        try:
            return cls(**json.loads(row)) if row else cls()
        except (ValueError, TypeError):
            return cls()

    def row(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True) if self != Circuit() else ""


# -- what each step makes of a circuit -------------------------------------------------------------------------


def entered(circuit: Circuit, now: float, probe: str) -> Circuit:
    """Somebody wants to call: past its time an open circuit lets this one probe through."""
    if circuit.state == STATE_CLOSED or circuit.is_refusing(now):
        return circuit
    return dataclasses.replace(
        circuit, state=STATE_HALF_OPEN, probe=probe, retry_at=now + PROBE_LIFETIME.total_seconds()
    )


def answered(circuit: Circuit, probe: str) -> Circuit:
    """A call was answered. One that began before the circuit opened says nothing about now."""
    return Circuit() if circuit.state == STATE_CLOSED or circuit.probe == probe else circuit


def failed(circuit: Circuit, now: float, probe: str, retry_after: int | None) -> Circuit:
    """A call failed: the fifth in a row opens the circuit, and so does the probe."""
    if circuit.state != STATE_CLOSED and circuit.probe != probe:
        return circuit
    wait = min(retry_after or 0, int(LONGEST_OPEN.total_seconds()))
    failures, asked_until = circuit.failures + 1, max(circuit.asked_until, now + wait if wait else 0.0)
    if circuit.state == STATE_CLOSED and failures < FAILURES_TO_OPEN:
        return dataclasses.replace(circuit, failures=failures, asked_until=asked_until)
    retry_at = max(now + OPEN_INTERVAL.total_seconds(), asked_until)
    return Circuit(state=STATE_OPEN, failures=failures, retry_at=retry_at)


# -- where circuits are kept -----------------------------------------------------------------------------------


class _Shared(pybreaker.CircuitBreakerStorage):
    """A circuit in Redis, for all processes; while Redis is away, in this process alone."""

    def __init__(self, name: str, client: Callable[[], redis.Redis]):
        super().__init__(name)
        self._client = client
        self._alone = Circuit()
        self._lock = threading.Lock()

    def look(self) -> Circuit:
        try:
            return self.look_together()
        except redis.RedisError:
            return self._alone

    def look_together(self) -> Circuit:
        """Raises redis.RedisError."""
        return Circuit.read(self._row())

    def change(self, step: Callable[[Circuit], Circuit]) -> tuple[Circuit, Circuit]:
        """Take one step; the circuit before and after it.

        What this process learned while it was alone counts where the others know nothing.
        """
        alone = self._alone
        try:
            before, after = self.change_together(lambda known: step(alone if known == Circuit() else known))
        except redis.RedisError:
            with self._lock:
                before, self._alone = self._alone, step(self._alone)
                return before, self._alone
        self._alone = Circuit()
        return (alone if before == Circuit() else before), after

    def change_together(self, step: Callable[[Circuit], Circuit]) -> tuple[Circuit, Circuit]:
        """Raises redis.RedisError."""
        client: Any = self._client()
        for _ in range(MOST_TRIES):
            row = self._row()
            before = Circuit.read(row)
            after = step(before)
            if after == before:
                return before, after
            if client.register_script(_SWAP)(keys=[KEY], args=[self.name, row, after.row()], client=client):
                return before, after
        raise redis.RedisError("too many others change this circuit")

    def _row(self) -> str:
        client: Any = self._client()
        return client.hget(KEY, self.name) or ""

    # What pybreaker asks for when somebody reads current_state or fail_counter.

    @property  # type: ignore[misc]
    def state(self) -> str:
        return self.look().state

    @property
    def counter(self) -> int:
        return self.look().failures

    @property
    def success_counter(self) -> int:
        return 0  # one answer closes

    @property  # type: ignore[misc]
    def opened_at(self) -> datetime | None:
        return None  # retry_at says more


class Breaker(pybreaker.CircuitBreaker):
    """One breaker. `call(function)` runs it, or raises BreakerOpen; Down is what counts as a failure."""

    def __init__(self, name: str, client: Callable[[], redis.Redis]):
        super().__init__(
            fail_max=FAILURES_TO_OPEN,
            reset_timeout=OPEN_INTERVAL.total_seconds(),
            exclude=[lambda error: not isinstance(error, Down)],
            name=name,
        )
        # Not given to __init__, which would read it: an app starts while Redis is away.
        self._state_storage = self.storage = _Shared(name, client)

    def call(self, func: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        probe = uuid.uuid4().hex
        circuit = self._take(lambda circuit: entered(circuit, time.time(), probe))
        if circuit.state != STATE_CLOSED and circuit.probe != probe:
            raise BreakerOpen(f"{self.name} is open")
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            if self.is_system_error(error):
                wait = getattr(error, "retry_after", None)
                self._take(lambda circuit: failed(circuit, time.time(), probe, wait))
            else:
                self._take(lambda circuit: answered(circuit, probe))
            raise
        self._take(lambda circuit: answered(circuit, probe))
        return result

    def _take(self, step: Callable[[Circuit], Circuit]) -> Circuit:
        before, after = self.storage.change(step)
        self._log_change(before, after)
        return after

    def is_refusing(self) -> bool:
        """Whether a call would not be tried now."""
        return self.storage.look().is_refusing(time.time())

    def reset(self) -> Circuit:
        """Close it and forget its failures. Returns what it was. Raises redis.RedisError.

        An operator does this, whose command says so and writes the audit: no log line beside that.
        """
        return self.storage.change_together(lambda _: Circuit())[0]

    def _log_change(self, before: Circuit, after: Circuit) -> None:
        """Whoever made the change says so, and nobody else does."""
        if before.state != after.state or before.probe != after.probe:
            say = log.info if after.state == STATE_CLOSED else log.warning
            retry_at = moment(after)
            say(
                f"circuit breaker {after.state}",
                name=self.name,
                failure_count=max(before.failures, after.failures),
                retry_at=retry_at.isoformat(timespec="seconds") if retry_at else None,
            )


def moment(circuit: Circuit) -> datetime | None:
    """When an open circuit may be tried again; None for a closed one."""
    return datetime.fromtimestamp(circuit.retry_at, UTC) if circuit.state != STATE_CLOSED else None


class Breakers:
    """The breakers of one app: those that it declares, and a view of everybody's."""

    def __init__(self, client: Callable[[], redis.Redis]):
        self._client = client
        self._declared: dict[str, Breaker] = {}

    def declare(self, name: str) -> Breaker:
        """A breaker of this app, closed until failures say otherwise."""
        return self._declared.setdefault(name, Breaker(name, self._client))

    def circuits(self) -> dict[str, Circuit]:
        """This app's circuits by name, in one round trip; what this process knows alone while Redis is away."""
        if not self._declared:
            return {}
        client: Any = self._client()
        try:
            rows = client.hmget(KEY, list(self._declared))
        except redis.RedisError:
            return {name: breaker.storage._alone for name, breaker in self._declared.items()}
        return {name: Circuit.read(row or "") for name, row in zip(self._declared, rows, strict=True)}

    def refusing(self) -> set[str]:
        """The names of this app's breakers that would not try a call now."""
        now = time.time()
        return {name for name, circuit in self.circuits().items() if circuit.is_refusing(now)}

    def everybodys(self) -> dict[str, Circuit]:
        """All circuits that any service declares or counts. Raises redis.RedisError."""
        client: Any = self._client()
        rows: dict[str, str] = client.hgetall(KEY)
        found = {name: Circuit.read(row) for name, row in rows.items()}
        return dict(sorted({**dict.fromkeys(self._declared, Circuit()), **found}.items()))

    def reset(self, name: str) -> Circuit:
        """Close a breaker of whatever service. Returns what it was.

        Raises LookupError when nobody knows it, redis.RedisError.
        """
        if name not in self.everybodys():
            raise LookupError(f"There is no breaker {name}: breakers list names those that there are.")
        return (self._declared.get(name) or Breaker(name, self._client)).reset()


def gauges(breakers: Breakers) -> GaugeSamples:
    """`id_breaker_state` of an app's breakers, for its worker."""
    for name, circuit in breakers.circuits().items():
        yield BREAKER_STATE, BREAKER_STATE_HELP, {"name": name}, LEVELS[circuit.state]
