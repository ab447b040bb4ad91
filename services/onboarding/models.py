"""onboarding's tables: applications, the links mailed for them, and a copy of who people are."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.onboarding.extensions import db

STATES = ("submitted", "confirmed", "approved", "rejected", "activated")
UNDECIDED = ("submitted", "confirmed")
OPEN = (*UNDECIDED, "approved")
"""An address has at most one application in these states."""
IS_OPEN = sa.text("state IN ('submitted', 'confirmed', 'approved')")


class Application(db.Model):  # type: ignore[name-defined]
    """A person's request to join. Only flows/states.py changes `state`."""

    __tablename__ = "applications"
    __table_args__ = (
        sa.CheckConstraint(
            "state IN ('submitted', 'confirmed', 'approved', 'rejected', 'activated')", name="state"
        ),
        sa.Index(
            "uq_applications_open_email",
            "email_folded",
            unique=True,
            postgresql_where=IS_OPEN,
        ),
        sa.Index("ix_applications_email_folded_id", "email_folded", "id"),
        sa.Index("ix_applications_state_id", "state", "id"),
        # Whoever asks for their data, or goes, is known by the account that the application became.
        sa.Index("ix_applications_sub", "sub", postgresql_where=sa.text("sub IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(sa.Text)
    """As its owner writes it; mail goes there."""
    email_folded: Mapped[str] = mapped_column(sa.Text)
    """What makes two spellings one address."""
    name: Mapped[str] = mapped_column(sa.Text)
    why: Mapped[str] = mapped_column(sa.Text)
    """The applicant's own words about why they want to join."""
    locale: Mapped[str] = mapped_column(sa.Text)
    """The language that the applicant reads."""
    continue_to: Mapped[str | None] = mapped_column(sa.Text)
    """The path of ours where the person first wanted to go."""
    state: Mapped[str] = mapped_column(sa.Text, default="submitted")
    submitted_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the applicant proved the address; before or after the decision."""
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)
    decided_by: Mapped[str | None] = mapped_column(sa.Text)
    """The actor as the audit names it: `user:SUB` or `command:LOGIN`."""
    reason: Mapped[str | None] = mapped_column(sa.Text)
    """Why it was rejected, in words that the applicant is shown."""
    activated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    sub: Mapped[str | None] = mapped_column(sa.Text)
    """The account that this application became."""
    mailed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the applicant was last sent a mail; asking again sooner than a minute sends none."""


class Link(db.Model):  # type: ignore[name-defined]
    """A single-use link of an application. At most one of a purpose is alive."""

    __tablename__ = "links"
    __table_args__ = (
        sa.CheckConstraint("purpose IN ('confirm_address', 'activate')", name="purpose"),
        sa.Index(
            "uq_links_alive",
            "application_id",
            "purpose",
            unique=True,
            postgresql_where=sa.text("used_at IS NULL AND superseded_at IS NULL"),
        ),
        sa.Index("ix_links_application_id", "application_id"),
        sa.Index("ix_links_expires_at", "expires_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    application_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("applications.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(sa.Text)
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    superseded_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When a newer link, or a decision, ended it."""


class Person(db.Model):  # type: ignore[name-defined]
    """What account last said about a person; here it shows who reviewed what."""

    __tablename__ = "people"

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    version: Mapped[int]
    name: Mapped[str] = mapped_column(sa.Text)
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    status: Mapped[str] = mapped_column(sa.Text)
    locale: Mapped[str] = mapped_column(sa.Text)
