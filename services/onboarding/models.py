"""onboarding's tables: applications and what hangs on them, invitations, the policy, a copy of who people are."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.onboarding.extensions import db

STATES = (
    "submitted",
    "confirmed",
    "in_review",
    "approved",
    "rejected",
    "expired",
    "withdrawn",
    "activated",
)
UNDECIDED = ("submitted", "confirmed", "in_review")
OPEN = (*UNDECIDED, "approved")
"""An address has at most one application in these states."""
NAME_WORDS = (1, 2, 3, 4)
"""The words of a name by which applications are found, counted from its start."""
IS_OPEN = sa.text("state IN ('submitted', 'confirmed', 'in_review', 'approved')")
IS_UNDECIDED = sa.text("state IN ('submitted', 'confirmed', 'in_review')")
MODES = ("open", "review", "invitation", "closed")
"""How people get in: at once, by a reviewer's yes, by invitation alone, not at all."""
ROLES = ("admin", "reviewer", "support")
"""What an invitation may give beyond membership."""
REVIEWER_MAILS = ("at_once", "digest", "never")
"""When a reviewer is written to about applications that wait."""
IS_REVIEWER = sa.text("status = 'active' AND roles && '{reviewer,admin}'")
"""Of a person: whether they may decide about applications."""


def fold(email: str) -> str:
    """What makes two spellings of a checked address one: its case."""
    return email.lower()


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


class Application(db.Model):  # type: ignore[name-defined]
    """A person's request to join. Only flows/states.py changes `state`."""

    __tablename__ = "applications"
    __table_args__ = (
        sa.CheckConstraint(_one_of("state", STATES), name="state"),
        sa.Index(
            "uq_applications_open_email",
            "email_folded",
            unique=True,
            postgresql_where=IS_OPEN,
        ),
        sa.Index("ix_applications_email_folded_id", "email_folded", "id"),
        sa.Index("ix_applications_state_id", "state", "id"),
        # The queue: few rows of a table that only grows.
        sa.Index("ix_applications_undecided", "id", postgresql_where=IS_UNDECIDED),
        sa.Index(
            "ix_applications_network_id", "network", "id", postgresql_where=sa.text("network IS NOT NULL")
        ),
        sa.Index(
            "ix_applications_invitation_id",
            "invitation_id",
            postgresql_where=sa.text("invitation_id IS NOT NULL"),
        ),
        # Since when the oldest of them waits.
        sa.Index("ix_applications_undecided_since", "confirmed_at", postgresql_where=IS_UNDECIDED),
        # How reviewers find applications (flows/review/search.py), and the same text again (signs.py).
        sa.Index(
            "ix_applications_email_prefix",
            "email_folded",
            postgresql_ops={"email_folded": "text_pattern_ops"},
        ),
        *(
            sa.Index(
                f"ix_applications_name_word_{number}",
                sa.literal_column(f"split_part(lower(name), ' ', {number})").label("word"),
                postgresql_ops={"word": "text_pattern_ops"},
            )
            for number in NAME_WORDS
        ),
        sa.Index("ix_applications_domain_id", sa.text("split_part(email_folded, '@', 2)"), "id"),
        sa.Index("ix_applications_why_id", sa.text("left(lower(why), 30)"), "id"),
        # Whoever asks for their data, or goes, is known by the account that the application became.
        sa.Index("ix_applications_sub", "sub", postgresql_where=sa.text("sub IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    version: Mapped[int] = mapped_column(
        default=1, server_default="1", onupdate=sa.literal_column("applications.version + 1")
    )
    """Grows with each change of the row, whoever makes it: programs know by it what they have seen."""
    email: Mapped[str] = mapped_column(sa.Text)
    """As its owner writes it; mail goes there."""
    email_folded: Mapped[str] = mapped_column(sa.Text)
    """What makes two spellings one address."""
    name: Mapped[str] = mapped_column(sa.Text)
    why: Mapped[str] = mapped_column(sa.Text)
    """The applicant's own words about why they want to join."""
    answers: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    """What they answered to the questions of EXTRA_QUESTIONS, by its name."""
    terms_version: Mapped[str | None] = mapped_column(sa.Text)
    """The version of the terms that they accepted; None where none were shown."""
    locale: Mapped[str] = mapped_column(sa.Text)
    """The language that the applicant reads."""
    continue_to: Mapped[str | None] = mapped_column(sa.Text)
    """The path of ours where the person first wanted to go."""
    network: Mapped[str | None] = mapped_column(sa.Text)
    """Where it was sent from, as libs.guard.ratelimit.neighbourhood() names it; forgotten after NETWORKS_KEPT."""
    invitation_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("invitations.id", ondelete="SET NULL")
    )
    """The invitation that it came by."""
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list, server_default="{}")
    """What the invitation gives the person beyond membership."""
    state: Mapped[str] = mapped_column(sa.Text, default="submitted")
    submitted_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the applicant proved the address; before or after the decision."""
    claimed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    claimed_by: Mapped[str | None] = mapped_column(sa.Text)
    """Who reviews it (`user:SUB`); kept when the decision is made."""
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)
    decided_by: Mapped[str | None] = mapped_column(sa.Text)
    """The actor as the audit names it: `user:SUB`, `command:LOGIN`, `policy:RULE`, `invitation:ID`."""
    reason: Mapped[str | None] = mapped_column(sa.Text)
    """Why it was rejected, in the reviewer's words."""
    reason_is_shown: Mapped[bool] = mapped_column(default=True, server_default=sa.true())
    """Whether the applicant reads the reason, or staff alone."""
    directly_activated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When account was told to open the account without the person's doing: from then on nothing is taken back."""
    expired_at: Mapped[datetime | None] = mapped_column(Timestamp)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)
    activated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    sub: Mapped[str | None] = mapped_column(sa.Text)
    """The account that this application became."""
    mailed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the applicant was last sent a mail; asking again sooner than a minute sends none."""
    mail_trouble: Mapped[str | None] = mapped_column(sa.Text)
    """How the newest mail ended that did not arrive (a word of MailEnded); None once a later one is asked for."""


class Note(db.Model):  # type: ignore[name-defined]
    """What reviewers write to each other about an application. No page shows it to the applicant."""

    __tablename__ = "notes"
    __table_args__ = (sa.Index("ix_notes_application_id", "application_id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    application_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("applications.id", ondelete="CASCADE"))
    written_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    written_by: Mapped[str] = mapped_column(sa.Text)
    text: Mapped[str] = mapped_column(sa.Text)


class Question(db.Model):  # type: ignore[name-defined]
    """What a reviewer asked the applicant, and the answer. At most one of an application is open."""

    __tablename__ = "questions"
    __table_args__ = (
        sa.Index(
            "uq_questions_open",
            "application_id",
            unique=True,
            postgresql_where=sa.text("answered_at IS NULL AND closed_at IS NULL"),
        ),
        sa.Index("ix_questions_application_id", "application_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    application_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("applications.id", ondelete="CASCADE"))
    asked_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    asked_by: Mapped[str] = mapped_column(sa.Text)
    text: Mapped[str] = mapped_column(sa.Text)
    answered_at: Mapped[datetime | None] = mapped_column(Timestamp)
    answer: Mapped[str | None] = mapped_column(sa.Text)
    closed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When a decision, a withdrawal or an end made the answer needless."""


class Invitation(db.Model):  # type: ignore[name-defined]
    """A way in that skips the review: for one address by mail, or a link for a number of people."""

    __tablename__ = "invitations"
    __table_args__ = (
        sa.CheckConstraint("uses <= most_uses", name="uses"),
        sa.Index(
            "ix_invitations_email_folded", "email_folded", postgresql_where=sa.text("email_folded <> ''")
        ),
        sa.Index("ix_invitations_earlier_digests", "earlier_digests", postgresql_using="gin"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    version: Mapped[int] = mapped_column(default=1, onupdate=sa.literal_column("invitations.version + 1"))
    """As an application's."""
    email: Mapped[str] = mapped_column(sa.Text, default="")
    """Whom it was mailed to; empty for a link that staff hand out."""
    email_folded: Mapped[str] = mapped_column(sa.Text, default="")
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    earlier_digests: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    """Of the links that newer ones replaced, the newest last: their pages say so."""
    most_uses: Mapped[int] = mapped_column(default=1)
    uses: Mapped[int] = mapped_column(default=0)
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    """What it gives beyond membership."""
    locale: Mapped[str] = mapped_column(sa.Text, default="en")
    note: Mapped[str] = mapped_column(sa.Text, default="")
    """What staff wrote about it, for staff."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    created_by: Mapped[str] = mapped_column(sa.Text)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)
    mailed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    mail_trouble: Mapped[str | None] = mapped_column(sa.Text)
    """How the newest mail ended that did not arrive, as an application's."""


class Policy(db.Model):  # type: ignore[name-defined]
    """Who gets in how: one row, made by the migration; flows/policies reads and changes it."""

    __tablename__ = "policies"
    __table_args__ = (
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.CheckConstraint(_one_of("mode", MODES), name="mode"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(default=1)
    """Grows with each change: a page that was opened before somebody else's change is told."""
    mode: Mapped[str] = mapped_column(sa.Text, default="review")
    trusted_domains: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    """Whoever proves an address there needs no review."""
    refused_domains: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    most_per_address: Mapped[int] = mapped_column(default=5)
    """Applications of one address in 30 days."""
    most_per_network: Mapped[int] = mapped_column(default=50)
    """Applications from one network in a day."""
    changed_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    changed_by: Mapped[str] = mapped_column(sa.Text, default="")


class ReviewerChoice(db.Model):  # type: ignore[name-defined]
    """When a reviewer wants mail about applications that wait; whoever chose nothing gets a digest."""

    __tablename__ = "reviewer_choices"
    __table_args__ = (sa.CheckConstraint(_one_of("mail", REVIEWER_MAILS), name="mail"),)

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    mail: Mapped[str] = mapped_column(sa.Text)
    last_digest_at: Mapped[datetime | None] = mapped_column(Timestamp)


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
    # Reviewers are few among all.
    __table_args__ = (sa.Index("ix_people_reviewers", "sub", postgresql_where=IS_REVIEWER),)

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    version: Mapped[int]
    name: Mapped[str] = mapped_column(sa.Text)
    email: Mapped[str] = mapped_column(sa.Text, server_default="")
    """Where reviewers are written to."""
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    status: Mapped[str] = mapped_column(sa.Text)
    locale: Mapped[str] = mapped_column(sa.Text)
