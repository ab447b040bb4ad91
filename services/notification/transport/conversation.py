"""One mail and the server: said over a connection that is open already, or over a new one."""

import contextlib
import re
import smtplib
import ssl
import time

from services.notification.envelope import Envelope
from services.notification.settings import SMTPServer
from services.notification.transport.answers import Outcome, said, to_content, to_recipient
from services.notification.transport.connections import Connection, Connections

LONGEST_CONVERSATION_S = 50
"""However slowly the server drips: a task may run a minute."""
NOT_AVAILABLE = 421
"""The server closes the connection, whatever it was asked (RFC 5321 §4.2.1)."""
TOO_LARGE = 552
GO_AHEAD = 354
UNSAID = (0, b"")
_AT_LINE_START = re.compile(rb"^\.", re.MULTILINE)
"""Where a dot would end the mail (RFC 5321 §4.5.2)."""
connections = Connections()


class Unusable(Exception):
    """The server answered, and the answer is about us or this moment, not about the message."""


class _Stale(Exception):
    """A connection that was kept open is dead, and nothing of the mail was said on it."""


def hand_over(
    envelope: Envelope, *, server: SMTPServer, sender: str, timeout_s: float, our_name: str
) -> Outcome:
    """Give the mail to the server and say what it answered; never raises for what a server can do.

    Only an answer to the recipient or to the content can refuse a message for good. Greeting, TLS, sign-in
    and sender are between the server and us: repaired there, the message can still go.
    """
    cut_at = time.monotonic() + LONGEST_CONVERSATION_S
    kept = connections.take(server, cut_at=cut_at)
    if kept is not None:
        # It had idled, or had had enough of us: that is no try.
        with contextlib.suppress(_Stale):
            return _converse(kept, envelope, sender=sender)
    connection = Connection(server, timeout_s=timeout_s, our_name=our_name)
    connections.add(connection, cut_at=cut_at)
    return _converse(connection, envelope, sender=sender)


def _converse(connection: Connection, envelope: Envelope, *, sender: str) -> Outcome:
    """Raises _Stale for a connection that had been used before."""
    is_new, is_good = connection.mails == 0, False
    try:
        if is_new:
            greet(connection)
        connection.mails += 1
        outcome = _transfer(connection, envelope, sender=sender)
        # What was begun must not lie in the way of the next mail.
        is_good = outcome.result == "sent" or (not connection.is_spoiled and _is_reset(connection.smtp))
        return outcome
    except (Unusable, OSError, smtplib.SMTPException) as error:
        if not is_new and not connection.has_content:
            raise _Stale from error
        return Outcome("unreachable", _words(error, connection))
    finally:
        if is_good:
            connections.give_back(connection)
        else:
            connections.drop(connection)


def greet(connection: Connection) -> None:
    """From the connection to the sign-in; raises where the server does not take us."""
    server, smtp = connection.server, connection.smtp
    # Certificates are checked against the name that smtplib finds here; its constructor would connect at once.
    smtp._host = server.host  # type: ignore[attr-defined]
    code, text = smtp.connect(server.host, server.port)
    if code != 220:
        raise Unusable(said(code, text))
    if server.scheme == "smtp+starttls":
        smtp.starttls(context=ssl.create_default_context())
    smtp.ehlo_or_helo_if_needed()
    if server.user:
        smtp.login(server.user, server.password)


def _transfer(connection: Connection, envelope: Envelope, *, sender: str) -> Outcome:
    """MAIL, RCPT, DATA. What smtplib's own mail() and rcpt() add, reading addresses anew, takes as long as the rest."""
    smtp, connection.has_content = connection.smtp, False
    options = ""
    if not envelope.is_ascii:
        if not smtp.has_extn("smtputf8"):
            return Outcome("refused", "The server cannot write to addresses beyond ASCII.")
        options = " SMTPUTF8"
    if smtp.has_extn("size"):
        size, most = len(envelope.content), smtp.esmtp_features["size"]
        if most.isdecimal() and 0 < int(most) < size:
            return Outcome("unwritable", f"The mail has {size} bytes, and the server takes {most} at most.")
        options += f" SIZE={size}"
    smtp.command_encoding = "ascii" if envelope.is_ascii else "utf-8"
    (mail, mail_words), (rcpt, rcpt_words), (data, data_words) = _ask(
        smtp, f"MAIL FROM:<{sender}>{options}", f"RCPT TO:<{envelope.recipient}>", "DATA"
    )
    # Where it says go ahead all the same, it waits for a mail to nobody.
    connection.is_spoiled = data == GO_AHEAD
    if mail == TOO_LARGE:
        return Outcome("unwritable", said(mail, mail_words))
    if mail != 250:
        raise Unusable(said(mail, mail_words))
    if rcpt not in (250, 251):
        return to_recipient(rcpt, rcpt_words)
    if data != GO_AHEAD:
        if not 400 <= data < 600:
            # A yes to something else: its answers and our questions are apart.
            raise Unusable(said(data, data_words))
        return to_content(data, data_words)
    connection.has_content, connection.is_spoiled = True, False
    smtp.send(_AT_LINE_START.sub(b"..", envelope.content) + b".\r\n")
    code, text = smtp.getreply()
    if code == NOT_AVAILABLE:
        raise Unusable(said(code, text))
    return to_content(code, text)


def _ask(smtp: smtplib.SMTP, *commands: str) -> list[tuple[int, bytes]]:
    """The answers: all commands go in one piece to a server that can take it (RFC 2920), which costs one round trip.

    To another they go one by one, until one is not accepted; what was not said then has no answer.
    """
    goes_at_once = smtp.has_extn("pipelining")
    if goes_at_once:
        smtp.send("".join(f"{command}\r\n" for command in commands))
    answers: list[tuple[int, bytes]] = []
    for command in commands:
        if not goes_at_once:
            smtp.putcmd(command)
        code, text = smtp.getreply()
        if code == NOT_AVAILABLE:
            raise Unusable(said(code, text))
        answers.append((code, text))
        if not goes_at_once and not 200 <= code < 400:
            break
    return answers + [UNSAID] * (len(commands) - len(answers))


def _is_reset(smtp: smtplib.SMTP) -> bool:
    try:
        return smtp.rset()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


def _words(error: Exception, connection: Connection) -> str:
    """What kept us from handing the mail over, as it may be kept."""
    if isinstance(error, smtplib.SMTPResponseException):
        return said(error.smtp_code, error.smtp_error)
    if isinstance(error, (smtplib.SMTPServerDisconnected, TimeoutError)):
        # smtplib tells of both in one way.
        is_silent = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
        if is_silent:
            return f"No answer within {connection.smtp.timeout:g} s."
        return "The connection was dropped."
    if isinstance(error, ConnectionRefusedError):
        return "The connection was refused."
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}."
    return (
        str(error) if isinstance(error, Unusable) else f"The server cannot be used: {type(error).__name__}."
    )
