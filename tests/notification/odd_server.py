"""An SMTP server of a few lines, for what no decent one does: a thread answers each command as a test says."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GOOD = {"EHLO": "250 odd.test", "MAIL": "250 OK", "RCPT": "250 OK", "DATA": "354 Go on", "RSET": "250 OK"}


class OddServer:
    """`answer(connection, verb)` is what it says to a command, or None for what a good server says."""

    def __init__(self, answer: Callable[[int, str], str | None]):
        self.answer = answer
        self.mails: list[bytes] = []
        self.connections = 0
        self.is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while not self.is_over.is_set():
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection, self.connections), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            try:
                stream.write(b"220 odd.test\r\n")
                while line := stream.readline():
                    verb = line[:4].decode().upper()
                    if verb == "QUIT":
                        self._part(stream)
                        return
                    said = self.answer(number, verb) or GOOD[verb]
                    stream.write(f"{said}\r\n".encode())
                    if said.startswith("354"):
                        mail = self._mail(stream)
                        if mail is None:
                            return
                        self.mails.append(mail)
                        stream.write(b"250 Kept\r\n")
            except OSError:
                return

    def _part(self, stream: socket.SocketIO) -> None:
        """Say goodbye, without end where a test wants it."""
        while (said := self.answer(0, "QUIT")) and not self.is_over.wait(0.1):
            stream.write(f"{said}\r\n".encode())
        stream.write(b"221 Bye\r\n")

    def _mail(self, stream: socket.SocketIO) -> bytes | None:
        """A whole mail; None where the other side hung up before its end."""
        lines: list[bytes] = []
        while (line := stream.readline()) != b".\r\n":
            if not line:
                return None
            lines.append(line)
        return b"".join(lines)

    def close(self) -> None:
        self.is_over.set()
        self._listener.close()


@contextmanager
def odd_server(answer: Callable[[int, str], str | None]) -> Iterator[OddServer]:
    server = OddServer(answer)
    try:
        yield server
    finally:
        server.close()
