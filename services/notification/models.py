"""Tables of notification: messages, their attempts and what came back, the members' languages, the mailbox."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from libs.database import Timestamp, utcnow, uuid7
from services.notification.extensions import db

STATES = ("queued", "sending", "sent", "deferred", "failed", "parked", "suppressed", "held")
"""What a message can be; flows/lifecycle.py holds the ways between them."""
WAITING = ("queued", "sending", "deferred")
"""What goes on by itself."""
SUPPRESSION_REASONS = ("refused", "bounced", "complained")
"""The server refused the address for good; a report said that it does not exist; its owner calls our mail unwanted."""
REPORTS = ("bounced", "complained", "delivered")
"""What a mail provider tells of a mail after its server took it."""
RESULTS = ("sent", "deferred", "unreachable", "refused", "unwritable", "lost")
"""How an attempt ended. `deferred`: the server wants it later; `unreachable`: the server could not be used;
`refused` for good; `unwritable`: no mail could be made; `lost`: its worker died, and nobody knows more."""
_WAITS = "state IN ('queued', 'sending', 'deferred')"
_STANDS = "state IN ('failed', 'parked', 'suppressed')"


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


class Message(db.Model):  # type: ignore[name-defined]
    """One mail to one address. Its content is the sealed context until it is delivered, then nothing."""

    __tablename__ = "messages"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    deduplication_key: Mapped[str] = mapped_column(sa.Text, unique=True)
    """One key, one mail: the constraint decides, however often the request arrives."""
    header_id: Mapped[str] = mapped_column(sa.Text)
    """The Message-ID header, the same in every attempt."""
    template: Mapped[str] = mapped_column(sa.Text)
    recipient: Mapped[str] = mapped_column(sa.Text)
    locale: Mapped[str] = mapped_column(sa.Text)
    """The language that was asked for; a member's own goes before it."""
    sealed_context: Mapped[str | None] = mapped_column(sa.Text)
    """JSON for the template, sealed for `messages.context:ID`."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """After this the link in the mail is dead, so the mail is not sent any more."""
    state: Mapped[str] = mapped_column(sa.Text, default="queued")
    reason: Mapped[str | None] = mapped_column(sa.Text)
    """Why it does not leave, or not now: a word of flows/lifecycle.py."""
    due_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    """When a worker may take it: the end of its wait while queued, the end of the lease, its proof, while sending."""
    tries: Mapped[int] = mapped_column(default=0)
    """Attempts since it was queued, or queued again by staff."""
    last_attempt: Mapped[int] = mapped_column(default=0)
    """The number of the newest attempt that was begun; it is written down when it has ended."""
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)
    correlation_id: Mapped[str | None] = mapped_column(sa.Text)
    asked_by: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    """The service that asked for it, and is told when it will not arrive; empty for what an earlier release took."""

    attempts: Mapped[list["Attempt"]] = relationship(
        order_by="Attempt.number", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    reports: Mapped[list["Report"]] = relationship(
        order_by="Report.id", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (
        sa.CheckConstraint(_one_of("state", STATES), name="state"),
        # The sweep looks for what is due among the few rows that still wait.
        sa.Index("ix_messages_due", "due_at", postgresql_where=sa.text(_WAITS)),
        sa.Index("ix_messages_state_id", "state", "id"),
        # What stands may all be old: staff's list of it must not begin at what was sent since.
        sa.Index("ix_messages_standing", "id", postgresql_where=sa.text(_STANDS)),
        # Whoever asks for their data, or goes, is known here by address; so is who had enough mail for now.
        sa.Index("ix_messages_recipient", sa.func.lower(sa.column("recipient")), "sent_at"),
        # Staff may know how an address begins, and see its newest mail first.
        sa.Index(
            "ix_messages_address",
            sa.func.lower(sa.column("recipient")).label("address"),
            "id",
            postgresql_ops={"address": "text_pattern_ops"},
        ),
        # A number from the logs finds the mails that it caused.
        sa.Index("ix_messages_correlation_id", "correlation_id"),
        sa.Index("ix_messages_template_id", "template", "id"),
    )


class Attempt(db.Model):  # type: ignore[name-defined]
    """One try to deliver a message, written down when it has ended, or its worker is known to be dead."""

    __tablename__ = "attempts"

    message_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)
    duration_ms: Mapped[int | None]
    result: Mapped[str | None] = mapped_column(sa.Text)
    answer: Mapped[str | None] = mapped_column(sa.Text)
    """What the server said, shortened, without links; or what kept us from hearing it."""

    __table_args__ = (sa.CheckConstraint(_one_of("result", RESULTS), name="result"),)


class Report(db.Model):  # type: ignore[name-defined]
    """What a mail provider told of a message that had left."""

    __tablename__ = "reports"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    message_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("messages.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(sa.Text)
    is_permanent: Mapped[bool] = mapped_column(default=False)
    """Of a bounce: the address will never take mail."""
    detail: Mapped[str | None] = mapped_column(sa.Text)
    """What the provider said, shortened, without links."""
    received_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    __table_args__ = (
        sa.CheckConstraint(_one_of("type", REPORTS), name="type"),
        sa.Index("ix_reports_message_id_id", "message_id", "id"),
    )


class TakenFeedback(db.Model):  # type: ignore[name-defined]
    """A webhook that was taken: the same one again changes nothing."""

    __tablename__ = "taken_feedback"

    webhook_id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    taken_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)


class Suppression(db.Model):  # type: ignore[name-defined]
    """An address that is written to no more, but for its security; until staff lift it."""

    __tablename__ = "suppressions"

    email: Mapped[str] = mapped_column(sa.Text(collation="C"), primary_key=True)
    """As mailbox_of() of flows/recipients.py has it; in an order by which its beginning is found, too."""
    reason: Mapped[str] = mapped_column(sa.Text)
    detail: Mapped[str] = mapped_column(sa.Text, default="")
    """What the server or the report said, shortened."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)

    __table_args__ = (sa.CheckConstraint(_one_of("reason", SUPPRESSION_REASONS), name="reason"),)


class Recipient(db.Model):  # type: ignore[name-defined]
    """A member's address and language, copied from account so that mail speaks the language of today."""

    __tablename__ = "recipients"

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    email: Mapped[str] = mapped_column(sa.Text, index=True)
    """Folded as flows/recipients.py does it."""
    locale: Mapped[str] = mapped_column(sa.Text)
    version: Mapped[int] = mapped_column(sa.BigInteger)
    """Of the snapshot; it only grows."""


class Erasure(db.Model):  # type: ignore[name-defined]
    """An address that is being forgotten: its messages at once, those still on their way when they have arrived."""

    __tablename__ = "erasures"

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    email: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)


class MailboxEntry(db.Model):  # type: ignore[name-defined]
    """A mail that ended in the development mailbox; subject and bodies sealed for `mailbox.content:ID`."""

    __tablename__ = "mailbox"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    message_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("messages.id", ondelete="CASCADE"), unique=True
    )
    """Unique: a message ends here once, however often it is delivered."""
    recipient: Mapped[str] = mapped_column(sa.Text)
    sealed_content: Mapped[str] = mapped_column(sa.Text)
    sent_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
