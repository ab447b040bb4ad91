"""A load generator: conversations on kept-alive connections, driven by one loop that does next to nothing itself."""

import itertools
import re
import select
import socket
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r", re.IGNORECASE)


class Answer(NamedTuple):
    """One HTTP answer; `head` still holds its headers as they came."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n" + name.encode() + rb": *([^\r]*)", self.head, re.IGNORECASE)
        assert found, f"{name} is missing in {self.head!r}"
        return found[1].decode()


Got = TypeVar("Got")
Steps = Generator[bytes, Answer, Got]
"""Yields requests and is sent their answers; returns what they came to."""
Conversation = Steps[None]
"""Ends when its one piece of work is done."""
Work = Callable[[], Conversation]


@dataclass(frozen=True)
class Result:
    """What came of a round: pieces of work, how many a second, and how long one took in the middle."""

    count: int
    rate: float
    p50_ms: float
    lasted_s: float = 0.0


def request_bytes(method: str, path: str, *, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request of a program, prepared once."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: */*", "User-Agent: bench"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, **headers: str) -> bytes:
    return request_bytes("GET", path, headers=headers)


def post(path: str, form: dict[str, str], **headers: str) -> bytes:
    """A form as clients send it to the issuer's endpoints."""
    headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return request_bytes("POST", path, headers=headers, body=urlencode(form).encode())


def repeated(*requests: bytes) -> Work:
    """The work of one request, each time the next of these; all are answered with 200."""
    in_turn = itertools.cycle(requests)

    def converse() -> Conversation:
        answer = yield next(in_turn)
        assert answer.status == 200, answer

    return converse


class _Connection:
    """One kept-alive connection and the conversation over it, which goes on over a new one when the server ends it."""

    def __init__(self, port: int, work: Work):
        self.port = port
        self.work = work
        self.took: list[float] = []
        self.received = b""
        self.is_done = False
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> None:
        self.conversation = self.work()
        self.began = time.perf_counter()
        self.socket.sendall(next(self.conversation))

    def hear(self, until: float) -> None:
        """Take what has come; when the answer is whole, go on, or begin again while there is time.

        `socket` is another one afterwards where the server closes this one, as nginx does after a thousand.
        """
        part = self.socket.recv(65536)
        assert part, f"the server hung up: {self.received!r}"
        self.received += part
        answer = self._whole()
        if answer is None:
            return
        self.received = b""
        if _CLOSES.search(answer.head + b"\r"):
            self.socket.close()
            self.connect()
        try:
            self.socket.sendall(self.conversation.send(answer))
        except StopIteration:
            now = time.perf_counter()
            self.took.append(now - self.began)
            if now < until:
                self.begin()
            else:
                self.is_done = True

    def _whole(self) -> Answer | None:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head, body = self.received[:end], self.received[end + 4 :]
        length = _LENGTH.search(head)
        assert length, f"an answer without Content-Length: {head!r}"
        if len(body) < int(length[1]):
            return None
        return Answer(int(head[9:12]), head, body)


def run(port: int, works: Sequence[Work], *, seconds: float) -> Result:
    """Do each work over and over on a connection of its own, side by side, as fast as it is answered."""
    poll = select.epoll()
    all_of_them = [_Connection(port, work) for work in works]
    by_number = {one.socket.fileno(): one for one in all_of_them}
    began = time.perf_counter()
    until = began + seconds
    for number, one in by_number.items():
        poll.register(number, select.EPOLLIN)
        one.begin()
    running = len(all_of_them)
    while running:
        ready = poll.poll(30)
        assert ready, "no answer within half a minute"
        for number, _ in ready:
            one = by_number[number]
            before = one.socket
            one.hear(until)
            if one.socket is not before:
                by_number[one.socket.fileno()] = one
                poll.register(one.socket.fileno(), select.EPOLLIN)
            if one.is_done:
                poll.unregister(one.socket.fileno())
                running -= 1
    lasted = time.perf_counter() - began
    for one in all_of_them:
        one.socket.close()
    poll.close()
    took = [moment for one in all_of_them for moment in one.took]
    return Result(len(took), len(took) / lasted, statistics.median(took) * 1000, lasted)
