"""Staff look for messages: by address, template, state, number in the logs, Message-ID; newest first."""

import re
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from flask_babel import lazy_gettext
from sqlalchemy.orm import Session

from libs.lists import Filter, Page, read_page
from libs.web.problems import Problem
from services.notification.extensions import db
from services.notification.flows.recipients import folded
from services.notification.models import STATES, Message

PAGE = 50
UNDELIVERED = ("failed", "parked")
"""What waits for staff."""
MOST_ADDRESSES = 20
"""That one beginning may stand for."""
LONGEST = 320
"""Of what is looked for: an address is no longer (RFC 5321 §4.5.3.1)."""
_MESSAGE_ID = re.compile(r"<?([0-9a-f]{32})@([^<>@\s]{1,255})>?")
# Each step of the recursion is one look into the index, however many messages an address has.
_ADDRESSES = sa.text(
    """
    WITH RECURSIVE found(address) AS (
      (SELECT lower(recipient) FROM messages WHERE lower(recipient) LIKE lower(:beginning)
       ORDER BY lower(recipient) USING ~<~ LIMIT 1)
      UNION ALL
      SELECT (SELECT lower(recipient) FROM messages
              WHERE lower(recipient) LIKE lower(:beginning) AND lower(recipient) ~>~ found.address
              ORDER BY lower(recipient) USING ~<~ LIMIT 1)
      FROM found WHERE found.address IS NOT NULL
    )
    SELECT address FROM found WHERE address IS NOT NULL LIMIT :most
    """
)


class TooManyAddresses(Problem):
    """The beginning of an address stands for more of them than one page can be about."""

    status, slug = 422, "too-many-addresses"
    title = lazy_gettext("Many addresses begin like this: write more of it")

    def __init__(self) -> None:
        super().__init__(errors={"to": self.title})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which messages: all that meet everything that is named."""

    to: str = ""
    """An address in any spelling, or the beginning of one: without an @, or with a * at its end."""
    template: str = ""
    states: tuple[str, ...] = ()
    """One of these; all when none is named."""
    correlation_id: str = ""
    header_id: str = ""
    """A Message-ID, with its angle brackets or without."""


def search_messages(wanted: Wanted, *, before: uuid.UUID | None = None, limit: int = PAGE) -> Page[Message]:
    """Messages, newest first, older than `before`.

    Of a Message-ID, a number, an address, states, a template or of all by an index; what else is wanted is tried row by
    row, and the page is cut where too many rows had to be. Raises TooManyAddresses.
    """
    with db.single_statements() as session:
        sources, filters = _conditions(session, wanted)
        return read_page(session, Message, sources=sources, filters=filters, before=before, limit=limit)


def _conditions(session: Session, wanted: Wanted) -> tuple[list[sa.ColumnElement[bool]], list[Filter]]:
    """What the index to read by is, the most particular of what is wanted; and what is tried on each row."""
    filters: list[Filter] = []
    found: list[sa.ColumnElement[bool]] | None = None
    if wanted.header_id:
        found = [_has_header_id(wanted.header_id)]
    if wanted.correlation_id:
        number = _clean(wanted.correlation_id)
        if found is None:
            found = [Message.correlation_id == number]
        else:
            filters.append(lambda row: row.correlation_id == number)
    if wanted.to:
        addresses = _addresses(session, wanted.to)
        if found is None:
            found = [_went_to(Message, address) for address in addresses] or [sa.false()]
        else:
            filters.append(lambda row: sa.or_(sa.false(), *(_went_to(row, each) for each in addresses)))
    states = [state for state in STATES if state in wanted.states]
    # Of what was sent there is most, so the template says more.
    if states and found is None and not (wanted.template and "sent" in states):
        found = [Message.state == state for state in states]
    elif states:
        filters.append(lambda row: row.state.in_(states))
    if wanted.template:
        template = _clean(wanted.template)
        if found is None:
            found = [Message.template == template]
        else:
            filters.append(lambda row: row.template == template)
    return found or [], filters


def _addresses(session: Session, text: str) -> list[str]:
    """The addresses that are meant, as the index has them. Raises TooManyAddresses."""
    text = _clean(text)
    if "@" in folded(text) and not text.endswith("*"):
        return sorted({text.lower(), folded(text)})
    beginning = text.rstrip("*")
    escaped = re.sub(r"([\\%_])", r"\\\1", beginning)
    values = {"beginning": f"{escaped}%", "most": MOST_ADDRESSES + 1}
    found = list(session.scalars(_ADDRESSES, values))
    if len(found) > MOST_ADDRESSES:
        raise TooManyAddresses
    return found


def _went_to(row: type[Message], address: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(row.recipient) == sa.func.lower(sa.literal(address))


def _has_header_id(text: str) -> sa.ColumnElement[bool]:
    """The id of a message is the left half of its Message-ID: the primary key finds it."""
    match = _MESSAGE_ID.fullmatch(_clean(text).lower())
    if match is None:
        return sa.false()
    own = sa.func.lower(Message.header_id) == f"<{match[1]}@{match[2]}>"
    return sa.and_(Message.id == uuid.UUID(match[1]), own)


def id_of(header_id: str) -> uuid.UUID | None:
    """The id of the message that we gave this Message-ID; None for what cannot be ours."""
    match = _MESSAGE_ID.fullmatch(header_id.strip().lower())
    return uuid.UUID(match[1]) if match else None


def _clean(text: str) -> str:
    return text.replace("\0", "").strip()[:LONGEST]
