"""The development mailbox: where mail ends while no SMTP server is named."""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from typing import NamedTuple

import sqlalchemy as sa
from flask import current_app
from flask_babel import lazy_gettext
from sqlalchemy.dialects.postgresql import insert

from libs.database import utcnow, uuid7
from libs.service import parts_of
from libs.web.problems import Problem
from services.notification.extensions import db
from services.notification.flows.recipients import folded
from services.notification.models import MailboxEntry
from services.notification.writing import Mail

SHOWN = 200
# As letter.html writes them.
_BUTTON = re.compile(r'<a class="button( danger)?" href="([^"]+)">([^<]+)</a>')


class UnknownMail(Problem):
    status, slug, title = 404, "unknown-mail", lazy_gettext("There is no such mail in the mailbox")


@dataclass(frozen=True)
class KeptMail:
    """A mail of the mailbox, opened."""

    id: uuid.UUID
    to: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    sent_at: datetime

    @property
    def first_lines(self) -> str:
        """How it begins after its greeting."""
        paragraphs = self.text.split("\n\n")
        return paragraphs[1].replace("\n", " ") if len(paragraphs) > 1 else ""

    @property
    def buttons(self) -> list["MailButton"]:
        """What its buttons say and where they lead."""
        return [
            MailButton(label=unescape(label), link=unescape(link), is_primary=not kind)
            for kind, link, label in _BUTTON.findall(self.html)
        ]


class MailButton(NamedTuple):
    label: str
    link: str
    is_primary: bool


def keep(mail: Mail, *, message_id: uuid.UUID, recipient: str) -> None:
    """Put a mail into the mailbox; a message that is there already stays there once."""
    entry_id = uuid7()
    content = json.dumps({"subject": mail.subject, "text": mail.text, "html": mail.html}).encode()
    with db.transaction() as session:
        session.execute(
            insert(MailboxEntry)
            .values(
                id=entry_id,
                message_id=message_id,
                recipient=recipient,
                sealed_content=parts_of(current_app).data_keys.seal(content, content_place(entry_id)),
                sent_at=utcnow(),
            )
            .on_conflict_do_nothing(index_elements=[MailboxEntry.message_id])
        )


def is_in_use() -> bool:
    """Whether mail ends here, and not at a server."""
    return parts_of(current_app).settings.smtp_server is None


def newest(*, to: str | None = None) -> list[KeptMail]:
    """The newest mails first, at most SHOWN: all, those to one address, or to those that hold a part of one."""
    query = sa.select(MailboxEntry).order_by(MailboxEntry.id.desc()).limit(SHOWN)
    if to:
        wanted, address = folded(to.replace("\0", "")), sa.func.lower(MailboxEntry.recipient)
        is_part = "@" not in wanted
        query = query.where(address.contains(wanted, autoescape=True) if is_part else address == wanted)
    return _opened(db.session.scalars(query).all())


def get_mail(entry_id: uuid.UUID) -> KeptMail:
    """One mail. Raises UnknownMail."""
    entry = db.session.get(MailboxEntry, entry_id)
    if entry is None:
        raise UnknownMail
    return _opened([entry])[0]


def _opened(entries: Sequence[MailboxEntry]) -> list[KeptMail]:
    keys = parts_of(current_app).data_keys
    return [
        KeptMail(
            id=entry.id,
            to=entry.recipient,
            sent_at=entry.sent_at,
            **json.loads(keys.open(entry.sealed_content, content_place(entry.id))),
        )
        for entry in entries
    ]


def content_place(entry_id: uuid.UUID) -> str:
    """Where a mail belongs, for the key ring."""
    return f"mailbox.content:{entry_id}"
