"""Counting tries: in Redis by one script, or in this process where Redis is away, full or hung."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from libs.guard.ratelimit import ENHANCED_KEY, EnhancedMode, quarter
from libs.observe.logs import get_logger
from services.account.flows.throttle.scopes import DELAYS_LIFE_S, LONGEST_WAIT_S, WINDOW_S, Buckets

log = get_logger("account.throttle")

AWAY_S = 1.0
"""How long Redis is not asked again once it did not answer: a hung one costs a time-out a second, not one each."""
MOST_KEYS_HERE = 10_000
"""What a process counts at most by itself; the bucket that was used least lately goes first."""
FLOOD = 2
"""Beyond so many times its allowance a bucket's tries are not worth a row each any more."""

ADMIT = """
-- KEYS: enhanced mode, delays, the windows. ARGV: is tightened, free, first wait, longest wait, life of delays, span
-- of windows (milliseconds all), then an allowance per window. Returns: wait (ms, 0 = admitted), flood, enhanced mode.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local enhanced = redis.call('GET', KEYS[1])
local function allowed(number)
  number = tonumber(number)
  if enhanced and ARGV[1] == '1' then return math.max(math.floor(number / 4), 1) end
  return number
end
local wait = 0
local free = tonumber(ARGV[2])
if free > 0 then
  wait = math.max(tonumber(redis.call('HGET', KEYS[2], 'until') or 0) - now, 0)
end
local function count(key, life)
  local seen = redis.call('INCR', key)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, life) end
  return seen
end
local flood = 0
for i = 3, #KEYS do
  local limit = allowed(ARGV[i + 4])
  local seen
  if i == 3 then
    seen = count(KEYS[i], ARGV[6]) - 1
    if seen >= limit * FLOOD then flood = 1 end
  else
    seen = tonumber(redis.call('GET', KEYS[i]) or 0)
  end
  if seen >= limit then wait = math.max(wait, redis.call('PTTL', KEYS[i]), 1) end
end
if wait == 0 then
  for i = 4, #KEYS do count(KEYS[i], ARGV[6]) end
  if free > 0 then
    local tries = redis.call('HINCRBY', KEYS[2], 'tries', 1)
    if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
    local over = tries - allowed(free)
    if over >= 0 then
      local pause = math.min(ARGV[3] * 2 ^ math.min(over, 30), tonumber(ARGV[4]))
      redis.call('HSET', KEYS[2], 'until', string.format('%.0f', now + pause))
    end
  end
end
return {math.ceil(wait), flood, enhanced or ''}
""".replace("FLOOD", str(FLOOD))

GIVE_BACK = """
-- KEYS: delays. ARGV: free. One try less; what others have failed stays.
local tries = tonumber(redis.call('HGET', KEYS[1], 'tries') or 0)
if tries <= 1 then return redis.call('DEL', KEYS[1]) end
redis.call('HINCRBY', KEYS[1], 'tries', -1)
if tries <= tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], 'until') end
return 1
"""


@dataclass(frozen=True)
class Verdict:
    """`wait_s` is 0 for a try that is admitted, and counted."""

    wait_s: int
    is_flood: bool = False
    is_here: bool = False
    """Whether this process counted by itself."""


class Counts:
    """The counts of one app."""

    def __init__(self, client: Callable[[], redis.Redis], enhanced: EnhancedMode):
        self._client = client
        self._enhanced = enhanced
        self._here = CountsHere()
        self._ask_again_at = 0.0
        first = client()
        self._admit, self._give_back = first.register_script(ADMIT), first.register_script(GIVE_BACK)

    def admit(self, buckets: Buckets) -> Verdict:
        """Count a try, or say how long it has to wait. Never raises: no Redis, no wider door."""
        keys = [ENHANCED_KEY, buckets.delays.key if buckets.delays else ENHANCED_KEY]
        delays = buckets.delays
        arguments = [
            int(buckets.is_tightened),
            delays.free if delays else 0,
            delays.first_wait_s * 1000 if delays else 0,
            LONGEST_WAIT_S * 1000,
            DELAYS_LIFE_S * 1000,
            WINDOW_S * 1000,
            *(window.allowance for window in buckets.windows),
        ]
        keys += [window.key for window in buckets.windows]
        answer: Any = self._ask(lambda client: self._admit(keys, arguments, client=client))
        if answer is None:
            return self._here.admit(buckets)
        wait_ms, is_flood, enhanced = answer
        self._enhanced.note(enhanced)
        return Verdict(math.ceil(wait_ms / 1000), bool(is_flood))

    def give_back(self, buckets: Buckets, *, is_here: bool) -> None:
        """A try was no failure: on a person's own device all is forgiven, elsewhere this one."""
        delays = buckets.delays
        if delays is None:
            return
        if is_here:
            self._here.give_back(buckets)
        elif buckets.is_own:
            self._ask(lambda client: client.delete(delays.key))
        else:
            self._ask(lambda client: self._give_back([delays.key], [delays.free], client=client))

    def _ask(self, question: Callable[[redis.Redis], Any]) -> Any:
        """Redis's answer; None where there is none, and it is not asked again for AWAY_S."""
        if time.monotonic() < self._ask_again_at:
            return None
        try:
            return question(self._client())
        except redis.RedisError as error:
            self._ask_again_at = time.monotonic() + AWAY_S
            self._enhanced.note_away()
            log.warning("tries_counted_here", error=type(error).__name__)
            return None


class CountsHere:
    """The same rules at a quarter of every allowance, in the memory of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def admit(self, buckets: Buckets) -> Verdict:
        now = time.monotonic()
        with self._lock:
            first = self._find(buckets.windows[0].key, now, WINDOW_S)
            first.tries += 1
            is_flood = first.tries > FLOOD * quarter(buckets.windows[0].allowance)
            waits = [0.0]
            for window in buckets.windows:
                found = self._find(window.key, now, WINDOW_S)
                # What is found first has counted this try already.
                if found.tries - (found is first) >= quarter(window.allowance):
                    waits.append(found.ends_at - now)
            delays = buckets.delays
            failed = self._find(delays.key, now, DELAYS_LIFE_S) if delays else None
            if failed:
                waits.append(failed.until - now)
            wait = max(waits)
            if wait > 0:
                return Verdict(math.ceil(wait), is_flood, is_here=True)
            for window in buckets.windows[1:]:
                self._find(window.key, now, WINDOW_S).tries += 1
            if delays and failed:
                failed.tries += 1
                failed.until = now + delays.wait_after(failed.tries + delays.free - quarter(delays.free))
            return Verdict(0, is_flood, is_here=True)

    def give_back(self, buckets: Buckets) -> None:
        assert buckets.delays is not None
        with self._lock:
            failed = self._kept.get(buckets.delays.key)
            if failed is None:
                return
            failed.tries -= 1
            if buckets.is_own or failed.tries < 1:
                del self._kept[buckets.delays.key]
            elif failed.tries < quarter(buckets.delays.free):
                failed.until = 0.0

    def _find(self, key: str, now: float, life_s: float) -> "_Kept":
        found = self._kept.get(key)
        if found is None or found.ends_at <= now:
            found = self._kept[key] = _Kept(ends_at=now + life_s)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEYS_HERE:
            self._kept.popitem(last=False)
        return found


@dataclass
class _Kept:
    ends_at: float
    tries: int = 0
    until: float = 0.0
