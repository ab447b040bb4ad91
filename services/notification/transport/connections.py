"""Connections to the SMTP server that stay open between mails, and a keeper that ends those that last too long.

A thread has a connection for itself while it talks, and leaves it for the next mail of whatever thread: there are never
more than threads that talk at a time.
"""

import atexit
import contextlib
import os
import smtplib
import socket
import ssl
import threading
import time
from datetime import timedelta

from services.notification.settings import SMTPServer

LONGEST_LIFE = timedelta(minutes=5)
LONGEST_IDLE = timedelta(seconds=30)
"""Servers and firewalls forget idle connections after some minutes, some of them without a word."""
MOST_MAILS = 100
"""Over one connection; many servers end it some time later."""
LONGEST_GOODBYE_S = 1.0
TICK_S = 0.25


class Connection:
    """One open connection, and how much it has been used."""

    def __init__(self, server: SMTPServer, *, timeout_s: float, our_name: str):
        # Without our name smtplib would ask DNS for it, which can take long.
        self.smtp: smtplib.SMTP
        if server.scheme == "smtps":
            context = ssl.create_default_context()
            self.smtp = smtplib.SMTP_SSL(timeout=timeout_s, local_hostname=our_name, context=context)
        else:
            self.smtp = smtplib.SMTP(timeout=timeout_s, local_hostname=our_name)
        self.server = server
        self.made_at = self.used_at = time.monotonic()
        self.mails = 0
        self.has_content = False
        """Whether its mail may have been handed over: once it is on its way, only the server's answer tells."""
        self.is_spoiled = False
        """Whether the server waits for something that nobody will say."""
        self.cut_at = float("inf")

    def is_worn(self, now: float) -> bool:
        """Whether it has served long enough."""
        return (
            self.mails >= MOST_MAILS
            or now - self.made_at > LONGEST_LIFE.total_seconds()
            or now - self.used_at > LONGEST_IDLE.total_seconds()
        )

    def cut(self) -> None:
        """Wake whoever waits for the server on it."""
        if self.smtp.sock is not None:
            with contextlib.suppress(OSError):
                # Not its own way, which takes TLS off first: what is being written must not go on in the clear.
                socket.socket.shutdown(self.smtp.sock, socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close it without a word."""
        with contextlib.suppress(OSError):
            self.smtp.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the server goes on talking with the parent.

        The descriptor alone is closed: what reads from it may be locked by a thread that only the parent has.
        """
        if self.smtp.sock is not None:
            with contextlib.suppress(OSError):
                os.close(self.smtp.sock.detach())

    def say_goodbye(self) -> None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if self.smtp.sock is not None:
                self.smtp.sock.settimeout(LONGEST_GOODBYE_S)
                self.smtp.putcmd("quit")
                # One look: whoever answers without end is not listened to.
                self.smtp.sock.recv(1)
        self.drop()


class Connections:
    """Those of this process."""

    def __init__(self) -> None:
        self._parents: list[Connection] = []
        """Kept for good in a forked child: to take one apart would wait for the lock of its reader."""
        self._forget()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._keeper: threading.Thread | None = None

    def take(self, server: SMTPServer, *, cut_at: float) -> Connection | None:
        """An open connection to this server, the one that was used last; None when there is none.

        At `cut_at` (monotonic) it is cut off, whatever it is doing then.
        """
        worn, found = [], None
        now = time.monotonic()
        with self._lock:
            while self._idle and found is None:
                connection = self._idle.pop()
                if connection.server == server and not connection.is_worn(now):
                    found = connection
                else:
                    worn.append(connection)
            if found is not None:
                self._watch(found, cut_at)
        for connection in worn:
            connection.say_goodbye()
        return found

    def add(self, connection: Connection, *, cut_at: float) -> None:
        """A new connection, about to be opened."""
        with self._lock:
            self._watch(connection, cut_at)

    def give_back(self, connection: Connection) -> None:
        """Its conversation went well: it waits for the next one."""
        connection.used_at = time.monotonic()
        with self._lock:
            self._busy.discard(connection)
            if not connection.is_worn(connection.used_at):
                self._idle.append(connection)
                return
        connection.say_goodbye()

    def drop(self, connection: Connection) -> None:
        """Nobody can use it any more."""
        with self._lock:
            self._busy.discard(connection)
        connection.drop()

    def close(self) -> None:
        """Say goodbye on all that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.say_goodbye()

    def _watch(self, connection: Connection, cut_at: float) -> None:
        connection.cut_at = cut_at
        self._busy.add(connection)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="smtp-keeper", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        """Cut off conversations that take too long, close what idles too long; end when nothing is open."""
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            with self._lock:
                late = [connection for connection in self._busy if now > connection.cut_at]
                worn = [connection for connection in self._idle if connection.is_worn(now)]
                self._idle = [connection for connection in self._idle if connection not in worn]
                if not self._busy and not self._idle:
                    self._keeper = None
            for connection in late:
                connection.cut()
            for connection in worn:
                connection.say_goodbye()
            if self._keeper is not threading.current_thread():
                return

    def _leave_to_parent(self) -> None:
        self._parents += [*self._idle, *self._busy]
        for connection in self._parents:
            connection.leave_to_parent()
        self._forget()
