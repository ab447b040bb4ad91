"""The script by which Redis counts a request: all of its limits, or none when one of them is met."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import redis

SCRIPT = """
-- KEYS: the enhanced mode, the limits, the denials. ARGV: of each limit its allowance, the one in enhanced mode, and
-- its window in ms, as one text; how many requests are to be counted. Answers: how long to wait in ms (0: counted,
-- -1: could not be counted), the end of the enhanced mode, how many were counted, the denials.
local numbers = {}
for number in string.gmatch(ARGV[1], '%d+') do numbers[#numbers + 1] = tonumber(number) end
local count = #numbers / 3
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local enhanced = redis.call('GET', KEYS[1])
local wait, names, wanted = 0, {}, tonumber(ARGV[2])
for i = 1, count do
  local allowance, window = numbers[3 * i - 2], numbers[3 * i]
  if enhanced then allowance = numbers[3 * i - 1] end
  local number = math.floor(now / window)
  local left = window - (now - number * window)
  local prefix = KEYS[1 + i]
  names[i] = prefix .. string.format('%d', number)
  local present = tonumber(redis.call('GET', names[i]) or 0)
  local before = tonumber(redis.call('GET', prefix .. string.format('%d', number - 1)) or 0)
  local room = allowance - present - before * left / window
  if room >= 1 then
    wanted = math.min(wanted, math.floor(room))
  else
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
    local total = redis.pcall('INCRBY', names[i], wanted)
    if type(total) == 'table' then
      wait = -1
      break
    end
    if total == wanted then redis.call('PEXPIRE', names[i], 2 * numbers[3 * i]) end
  end
end
local answer = {wait, enhanced, wanted}
for i = 2 + count, #KEYS do answer[#answer + 1] = redis.call('GET', KEYS[i]) end
return answer
"""
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""By which Redis knows the script."""


class Question:
    """The script, sent when this is made and answered once: between the two there is time for other work.

    It goes over connections of its own, made by the client's pool. What the pool does before each command (it looks
    whether the connection is still good, three calls of the system) is done here when one turns out not to be.
    """

    def __init__(self, client: Any, keys: Sequence[str], numbers: str, wanted: int):
        """Raises redis.RedisError."""
        self._client, self._keys, self._numbers, self._wanted = client, keys, numbers, str(wanted)
        self._connection: Any = _take(client)
        try:
            self._connection.send_packed_command((_packed(keys, numbers, self._wanted),))
        except redis.ConnectionError:
            self._let_go()
        except BaseException:
            self._let_go()
            raise

    def answer(self) -> list[Any]:
        """In one round trip; a Redis that does not know the script yet is told. Raises redis.RedisError."""
        answer: list[Any]
        connection = self._connection
        if connection is not None:
            try:
                answer = connection.read_response()
            except redis.exceptions.NoScriptError:
                _idle[self._client].append(connection)
            except redis.ConnectionError:
                self._let_go()  # it lay idle while its server was started anew
            except BaseException:
                # Whatever was still to come must not be read as the answer to somebody else.
                self._let_go()
                raise
            else:
                _idle[self._client].append(connection)
                return answer
        answer = self._client.eval(SCRIPT, len(self._keys), *self._keys, self._numbers, self._wanted)
        return answer

    def _let_go(self) -> None:
        self._connection.disconnect()
        self._connection = None


_idle: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()
"""By client: connections on which nobody waits for an answer."""


def forget() -> None:
    """Close the connections that lie idle; for tests."""
    for connections in list(_idle.values()):
        while connections:
            connections.pop().disconnect()


def _take(client: Any) -> Any:
    idle = _idle.setdefault(client, [])
    while idle:
        try:
            connection = idle.pop()
        except IndexError:  # another thread was faster
            break
        if connection.pid == os.getpid():  # a forked child must not speak on its parent's
            return connection
    return client.connection_pool.make_connection()


def _packed(keys: Sequence[str], numbers: str, wanted: str) -> bytes:
    """The command in Redis' protocol; lengths count bytes, not characters."""
    words = [word.encode() for word in ("EVALSHA", SHA, str(len(keys)), *keys, numbers, wanted)]
    packed = [b"*%d\r\n" % len(words)]
    packed += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(packed)
