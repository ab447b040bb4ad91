"""The script by which Redis counts a request: all of its limits, or none when one of them is met."""

import hashlib
from collections.abc import Sequence
from typing import Any

import redis

SCRIPT = """
-- KEYS: the enhanced mode, the limits, the denials. ARGV: of each limit its allowance, the one in enhanced mode, and
-- its window in ms, as one text. Answers: how long to wait in ms (0: counted, -1: could not be counted), the end of the
-- enhanced mode, the denials.
local numbers = {}
for number in string.gmatch(ARGV[1], '%d+') do numbers[#numbers + 1] = tonumber(number) end
local count = #numbers / 3
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local enhanced = redis.call('GET', KEYS[1])
local wait, names = 0, {}
for i = 1, count do
  local allowance, window = numbers[3 * i - 2], numbers[3 * i]
  if enhanced then allowance = numbers[3 * i - 1] end
  local number = math.floor(now / window)
  local left = window - (now - number * window)
  local prefix = KEYS[1 + i]
  names[i] = prefix .. string.format('%d', number)
  local present = tonumber(redis.call('GET', names[i]) or 0)
  local before = tonumber(redis.call('GET', prefix .. string.format('%d', number - 1)) or 0)
  if present + before * left / window + 1 > allowance then
    local own
    if present + 1 > allowance then
      own = left + window * (1 - (allowance - 1) / present)
    else
      own = left - (allowance - 1 - present) * window / before
    end
    wait = math.max(wait, math.ceil(own), 1)
  end
end
if wait == 0 then
  for i = 1, count do
    local total = redis.pcall('INCR', names[i])
    if type(total) == 'table' then
      wait = -1
      break
    end
    if total == 1 then redis.call('PEXPIRE', names[i], 2 * numbers[3 * i]) end
  end
end
local answer = {wait, enhanced}
for i = 2 + count, #KEYS do answer[#answer + 1] = redis.call('GET', KEYS[i]) end
return answer
"""
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""By which Redis knows the script."""


def run(client: Any, keys: Sequence[str], numbers: str) -> list[Any]:
    """Its answer, in one round trip; a Redis that does not know it yet is told. Raises redis.RedisError."""
    answer: list[Any]
    try:
        answer = client.evalsha(SHA, len(keys), *keys, numbers)
    except redis.exceptions.NoScriptError:
        answer = client.eval(SCRIPT, len(keys), *keys, numbers)
    return answer
