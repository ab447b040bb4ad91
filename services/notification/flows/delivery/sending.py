"""Making the mail of a message and handing it to the server, behind the breaker `smtp`."""

import contextlib
import time
from collections.abc import Callable

from flask import current_app

from libs.guard.breakers import Breaker, BreakerOpen, Down
from libs.guard.keyring import CannotOpen
from libs.service import parts_of
from libs.web.languages import DEFAULT, supported
from services.notification import transport
from services.notification.envelope import envelope
from services.notification.flows import mailbox, messages
from services.notification.flows.delivery.claiming import Held
from services.notification.letters import UnknownTemplate, letter_of
from services.notification.letters.letter import UnusableContext
from services.notification.transport import Outcome
from services.notification.writing import Mail, write

BREAKER = "smtp"
TRUST_S = 1.0
"""So long after the server took a mail the breaker is not asked: two questions take as long as writing the mail."""


class Unwritable(Exception):
    """No mail can be made of this message, however often we try."""


class LeftAlone(Exception):
    """The breaker is open: nobody was spoken to."""


class _Away(Down):
    """The server could not be used; the outcome says how."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.answer)
        self.outcome = outcome


def breaker() -> Breaker:
    return parts_of(current_app).breakers.declare(BREAKER)


def is_left_alone() -> bool:
    """Whether a mail would not be tried now; the mailbox always takes it."""
    return not mailbox.is_in_use() and breaker().is_refusing()


def send(message: Held) -> Outcome:
    """Raises Unwritable, LeftAlone."""
    settings = parts_of(current_app).settings
    mail = _write(message)
    try:
        sealed = envelope(
            mail,
            sender=str(settings.sender),
            recipient=message.recipient,
            header_id=message.header_id,
            date=message.created_at,
        )
    except ValueError as error:
        raise Unwritable("This is not an address that mail can go to.") from error
    size = len(sealed.content)
    if size > settings.MAIL_SIZE_LIMIT:
        raise Unwritable(f"The mail has {size} bytes: more than MAIL_SIZE_LIMIT.")
    server = settings.smtp_server
    if server is None:
        mailbox.keep(mail, message_id=message.id, recipient=message.recipient)
        return Outcome("sent", "In the mailbox.")
    return _guarded(
        lambda: transport.hand_over(
            sealed,
            server=server,
            sender=settings.sender.addr_spec,
            timeout_s=settings.SMTP_TIMEOUT_S,
            our_name=settings.host,
        )
    )


_trusted_until = 0.0
"""Of this process, monotonic: the server has just taken a mail."""


def _guarded(hand_over: Callable[[], Outcome]) -> Outcome:
    """Behind the breaker, which counts how often in a row the server could not be used. Raises LeftAlone."""
    global _trusted_until
    if time.monotonic() < _trusted_until:
        outcome = hand_over()
        if outcome.result == "unreachable":
            _trusted_until = 0.0
            # Counted afterwards. What the breaker says of the next call does not undo this one.
            with contextlib.suppress(Down, BreakerOpen):
                breaker().call(lambda: _answered(outcome))
        return outcome
    try:
        outcome = breaker().call(lambda: _answered(hand_over()))
    except _Away as away:
        return away.outcome
    except BreakerOpen:
        raise LeftAlone from None
    _trusted_until = time.monotonic() + TRUST_S
    return outcome


def _answered(outcome: Outcome) -> Outcome:
    """Raises what the breaker counts. A server that refuses an address, or wants a mail later, works."""
    if outcome.result == "unreachable":
        raise _Away(outcome)
    return outcome


def _write(message: Held) -> Mail:
    try:
        context = messages.read_context(message.id, message.sealed_context)
        public_url = parts_of(current_app).settings.PUBLIC_URL
        letter = letter_of(message.template).read(context, public_url=public_url)
    except CannotOpen as error:
        raise Unwritable("Its content cannot be opened: DATA_ENCRYPTION_KEYS lacks the key.") from error
    except (UnknownTemplate, UnusableContext) as error:
        raise Unwritable("This release has no mail that fits it.") from error
    language = supported(message.member_locale) or supported(message.locale) or DEFAULT
    return write(letter, language=language)
