"""One conversation with the SMTP server, and what its end means for the message. No database here."""

import contextlib
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTPUTF8

from libs.observe.logs import redact
from services.notification.settings import SMTPServer

LONGEST_CONVERSATION_S = 50
"""However slowly the server drips: a task may run a minute."""
LONGEST_ANSWER = 300
_LINK = re.compile(r"https?://\S+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True)
class Outcome:
    """How a try ended: a word of models.RESULTS, and what the server said."""

    result: str
    answer: str = ""


class _Unusable(Exception):
    """The server answered, and the answer is about us or this moment, not about the message."""


def hand_over(
    message: EmailMessage, *, server: SMTPServer, sender: str, recipient: str, timeout_s: float, our_name: str
) -> Outcome:
    """Give the mail to the server and say what it answered; never raises for what a server can do.

    Only an answer to the recipient or to the content can refuse a message for good. Greeting, TLS, sign-in
    and sender are between the server and us: repaired there, the message can still go.
    """
    # Without our name smtplib would ask DNS for it, which can take long.
    smtp: smtplib.SMTP
    if server.scheme == "smtps":
        context = ssl.create_default_context()
        smtp = smtplib.SMTP_SSL(timeout=timeout_s, local_hostname=our_name, context=context)
    else:
        smtp = smtplib.SMTP(timeout=timeout_s, local_hostname=our_name)
    with _cut_off_after(LONGEST_CONVERSATION_S, smtp):
        try:
            _greet(smtp, server)
            outcome = _transfer(smtp, message, sender=sender, recipient=recipient)
        except _Unusable as answer:
            outcome = Outcome("unreachable", str(answer))
        except smtplib.SMTPResponseException as error:
            outcome = Outcome("unreachable", _said(error.smtp_code, error.smtp_error))
        except (smtplib.SMTPServerDisconnected, TimeoutError) as error:
            # smtplib tells of both in one way.
            is_silent = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
            words = f"No answer within {timeout_s:g} s." if is_silent else "The connection was dropped."
            outcome = Outcome("unreachable", words)
        except ConnectionRefusedError:
            outcome = Outcome("unreachable", "The connection was refused.")
        except ssl.SSLError as error:
            outcome = Outcome("unreachable", f"TLS failed: {error.reason or type(error).__name__}.")
        except (OSError, smtplib.SMTPException) as error:
            outcome = Outcome("unreachable", f"The server cannot be used: {type(error).__name__}.")
        # The mail is handed over or not; how the connection ends changes nothing about it.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            if outcome.result != "unreachable":
                smtp.quit()
        smtp.close()
    return outcome


def _greet(smtp: smtplib.SMTP, server: SMTPServer) -> None:
    # Certificates are checked against the name that smtplib finds here; its constructor would connect at once.
    smtp._host = server.host  # type: ignore[attr-defined]
    code, text = smtp.connect(server.host, server.port)
    if code != 220:
        raise _Unusable(_said(code, text))
    if server.scheme == "smtp+starttls":
        smtp.starttls(context=ssl.create_default_context())
    smtp.ehlo_or_helo_if_needed()
    if server.user:
        smtp.login(server.user, server.password)


def _transfer(smtp: smtplib.SMTP, message: EmailMessage, *, sender: str, recipient: str) -> Outcome:
    is_ascii = recipient.isascii()
    if not is_ascii and not smtp.has_extn("smtputf8"):
        return Outcome("refused", "The server cannot write to addresses beyond ASCII.")
    options = [] if is_ascii else ["SMTPUTF8"]
    content = message.as_bytes() if is_ascii else message.as_bytes(policy=SMTPUTF8)
    code, text = smtp.mail(sender, options)
    if code != 250:
        raise _Unusable(_said(code, text))
    code, text = smtp.rcpt(recipient)
    if code not in (250, 251):
        return Outcome(_judge(code), _said(code, text))
    try:
        code, text = smtp.data(content)
    except smtplib.SMTPDataError as error:
        code, text = error.smtp_code, error.smtp_error  # type: ignore[assignment]
    return Outcome("sent" if code == 250 else _judge(code), _said(code, text))


def _judge(code: int) -> str:
    return "refused" if 500 <= code < 600 else "deferred"


def _said(code: int, text: bytes | str) -> str:
    """The server's answer as it may be kept: one short line without links and credentials."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    words = _LINK.sub("[link]", _UNSEEN.sub(" ", words))
    return f"{code} {redact(words)}".strip()[:LONGEST_ANSWER]


@contextlib.contextmanager
def _cut_off_after(seconds: float, smtp: smtplib.SMTP) -> Iterator[None]:
    """Shut the connection down when the whole takes too long; each single wait has a time-out of its own."""

    def cut() -> None:
        if smtp.sock is not None:
            with contextlib.suppress(OSError):
                smtp.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
