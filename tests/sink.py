"""A real SMTP server that keeps what it is given, and misbehaves when a test tells it to.

In a test: `with Sink() as sink`, then `sink.tell(hang="data")`. As a process: `python -m tests.sink --port 2525
--folder F`; mails become F/*.eml, on the disk before their 250, from which on a server answers for them (RFC 5321
§4.2.5); instruct(F, hang="data") changes its ways from outside.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import email
import json
import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

BEHAVIOUR = "behaviour.json"
# It notes every command, which would bury what a failing test has to say.
logging.getLogger("mail").setLevel(logging.ERROR)


@dataclass
class Behaviour:
    """How the server answers; the defaults are those of a good one."""

    refuse: bool = False
    """Nobody listens on the port, and who was connected is cut off."""
    hang: str = ""
    """`greeting`: connections are taken and nothing is said; `drip`: a greeting without end; `data`: the mail is
    taken, and nothing is said."""
    recipients: dict[str, str] = field(default_factory=dict)
    """What RCPT answers to an address, such as `550 5.1.1 No such mailbox`; `*` is every address."""
    data: str = ""
    """What the end of DATA answers instead of 250; the mail is not kept."""
    drop: int = 0
    """So many mails are kept, and the connection is cut before the 250."""


@dataclass(frozen=True)
class Received:
    """A mail that the server kept."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        message = email.message_from_bytes(self.raw, policy=default)
        assert isinstance(message, EmailMessage)
        return message

    @property
    def text(self) -> str:
        return self._part("plain")

    @property
    def html(self) -> str:
        return self._part("html")

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")


class Sink:
    """The server, in a thread of its own."""

    def __init__(
        self,
        *,
        port: int = 0,
        folder: Path | None = None,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        user: tuple[str, str] | None = None,
        most_bytes: int | None = None,
        pipelining: bool = True,
        syncs: bool = True,
    ):
        self.host, self.port, self.folder = "127.0.0.1", port, folder
        self.tls, self.starttls, self.user, self.most_bytes = tls, starttls, user, most_bytes
        self.pipelining, self.syncs = pipelining, syncs
        self.behaviour = Behaviour()
        self.mails: list[Received] = []
        self.connections = 0
        self.goodbyes = 0
        """How many connections their clients ended with QUIT."""
        self.before_answer: Callable[[Received], None] | None = None
        """Called when a mail is kept and its 250 is not yet said."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp-sink", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.BaseTransport] = set()
        self._stopping = False

    # -- for tests ---------------------------------------------------------------------------------------------

    def __enter__(self) -> "Sink":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its SMTP_URL, without user and password."""
        scheme = "smtps" if self.tls else "smtp+starttls" if self.starttls else "smtp"
        return f"{scheme}://{self.host}:{self.port}"

    def tell(self, **behaviour: Any) -> None:
        """Behave like this from now on; what is not named is good behaviour again."""
        self.behaviour = Behaviour(**behaviour)
        self._run(self._listen())

    def refuse(self) -> None:
        """Close the port."""
        self.tell(refuse=True)

    def cut(self) -> None:
        """End all connections without a word, as a restarted server does."""
        self._run(self._cut())

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def accept(self) -> None:
        """Be a good server again, on the same port."""
        self.tell()

    def to(self, address: str) -> list[Received]:
        """The mails for one address, oldest first."""
        return [mail for mail in self.mails if address in mail.recipients]

    def wait_for(self, address: str, count: int = 1, *, timeout_s: float = 10) -> list[Received]:
        """Wait until so many mails came for the address."""
        deadline = time.monotonic() + timeout_s
        while len(self.to(address)) < count:
            assert time.monotonic() < deadline, f"{len(self.to(address))} of {count} mails to {address} came"
            time.sleep(0.02)
        return self.to(address)

    # -- the server --------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            asyncio.run_coroutine_threadsafe(self._obey_folder(), self._loop)

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _listen(self) -> None:
        """Open or close the port, as the behaviour says."""
        if self.behaviour.refuse and self._server is not None:
            self._server.close()
            self._server = None
            await self._cut()
        elif not self.behaviour.refuse and self._server is None:
            self._server = await self._loop.create_server(
                self._protocol, self.host, self.port, ssl=self.tls, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        for transport in list(self._open):
            transport.close()

    async def _close(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.close()
        await self._cut()
        current = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _obey_folder(self) -> None:
        assert self.folder is not None
        seen = ""
        while not self._stopping:
            with contextlib.suppress(OSError):
                text = (self.folder / BEHAVIOUR).read_text()
                if text != seen:
                    seen = text
                    self.behaviour = Behaviour(**json.loads(text))
                    await self._listen()
            await asyncio.sleep(0.05)

    def _protocol(self) -> asyncio.BaseProtocol:
        self.connections += 1
        if self.behaviour.hang in ("greeting", "drip"):
            return _NoGreeting(self._open, drips=self.behaviour.hang == "drip")
        options: dict[str, Any] = {}
        if self.starttls is not None:
            options = {"tls_context": self.starttls, "require_starttls": True}
        if self.most_bytes is not None:
            options["data_size_limit"] = self.most_bytes
        if self.user is not None:
            options |= {"authenticator": self._authenticate, "auth_required": True}
        conversation = _Conversation(
            self._open, _Handler(self), hostname="sink.test", enable_SMTPUTF8=True, loop=self._loop, **options
        )
        # It knows of STARTTLS alone, and not that the whole connection may be encrypted.
        conversation._auth_require_tls = self.tls is None
        return conversation

    def _authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _method: str, data: Any
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == self.user, handled=False)

    def keep(self, mail: Received) -> None:
        self.mails.append(mail)
        if self.folder is not None:
            head = f"X-MailFrom: {mail.sender}\r\nX-RcptTo: {', '.join(mail.recipients)}\r\n".encode()
            part = self.folder / f"{time.time_ns()}.part"
            with open(part, "wb") as file:
                file.write(head + mail.raw)
                if self.syncs:
                    file.flush()
                    os.fsync(file.fileno())
            part.rename(part.with_suffix(".eml"))


class _NoGreeting(asyncio.Protocol):
    def __init__(self, transports: set[asyncio.BaseTransport], *, drips: bool):
        self.transports, self.drips = transports, drips

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.add(transport)
        if self.drips:
            self._drip(transport)

    def _drip(self, transport: Any) -> None:
        if not transport.is_closing():
            transport.write(b"220-Wait\r\n")
            asyncio.get_running_loop().call_later(0.1, self._drip, transport)


class _Conversation(SMTP):
    def __init__(self, transports: set[asyncio.BaseTransport], *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.transports.discard(self.transport)
        super().connection_lost(error)


class _Handler:
    """What aiosmtpd asks at each step."""

    def __init__(self, sink: Sink):
        self.sink = sink

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        greeting, *features = responses
        return [greeting, *(["250-PIPELINING"] if self.sink.pipelining else []), *features]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answers = self.sink.behaviour.recipients
        answer = answers.get(address) or answers.get("*")
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        behaviour = self.sink.behaviour
        if behaviour.data:
            return behaviour.data
        content = envelope.content
        mail = Received(
            sender=envelope.mail_from or "",
            recipients=list(envelope.rcpt_tos),
            raw=content if isinstance(content, bytes) else (content or "").encode(),
        )
        self.sink.keep(mail)
        if self.sink.before_answer is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.sink.before_answer, mail)
        while self.sink.behaviour.hang == "data":
            await asyncio.sleep(0.02)
        if behaviour.drop > 0:
            behaviour.drop -= 1
            assert server.transport is not None
            server.transport.abort()
            raise ConnectionResetError
        return "250 2.0.0 Kept"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.sink.goodbyes += 1
        return "221 2.0.0 Bye"

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, ConnectionResetError):
            raise error
        return "451 4.0.0 The sink stumbled"


def instruct(folder: Path, **behaviour: Any) -> None:
    """Tell a sink that runs as a process how to behave."""
    part = folder / f".{os.getpid()}.part"
    part.write_text(json.dumps(dataclasses.asdict(Behaviour(**behaviour))))
    part.rename(folder / BEHAVIOUR)


def received(folder: Path) -> list[Received]:
    """The mails that a sink wrote to its folder, oldest first."""
    mails = []
    for file in sorted(folder.glob("*.eml")):
        raw = file.read_bytes()
        message = email.message_from_bytes(raw, policy=default)
        mails.append(Received(str(message["X-MailFrom"]), str(message["X-RcptTo"]).split(", "), raw))
    return mails


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sink", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--unsynced", action="store_true", help="say 250 before the disk has the mail, as no real server may"
    )
    options = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # the thread inherits it, so that only sigwait takes them
    with Sink(port=options.port, folder=options.folder, syncs=not options.unsynced) as sink:
        print(f"{sink.url} keeps mail in {options.folder}", flush=True)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
