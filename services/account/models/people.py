"""People: who they are, and what they asked us to change about it or to do with all of it."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.account.extensions import db

ROLES = ("admin", "reviewer", "support")
NAME_WORDS = (1, 2, 3, 4)
"""The words of a name by which people are found, counted from its start."""


def _new_sub() -> str:
    # Random, where other keys sort by time: a sub must not tell when somebody joined.
    return str(uuid.uuid4())


class User(db.Model):  # type: ignore[name-defined]
    """A person. `version` grows with every change that other services are told of."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status"),
        sa.CheckConstraint("roles <@ ARRAY['admin', 'reviewer', 'support']::text[]", name="roles"),
        # How staff find people (flows/search.py): by the start of an address or of a word of the name, by domain.
        sa.Index(
            "ix_users_email_prefix",
            "email_normalised",
            postgresql_ops={"email_normalised": "text_pattern_ops"},
        ),
        *(
            sa.Index(
                f"ix_users_name_word_{number}",
                sa.literal_column(f"split_part(lower(name), ' ', {number})").label("word"),
                postgresql_ops={"word": "text_pattern_ops"},
            )
            for number in NAME_WORDS
        ),
        sa.Index("ix_users_domain_id", sa.text("split_part(email_normalised, '@', 2)"), "id"),
        sa.Index("ix_users_staff", "id", postgresql_where=sa.text("roles <> '{}'::text[]")),
        sa.Index("ix_users_disabled", "id", postgresql_where=sa.text("status = 'disabled'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    sub: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False), unique=True, default=_new_sub)
    email: Mapped[str] = mapped_column(sa.Text)
    """As its owner writes it."""
    email_normalised: Mapped[str] = mapped_column(sa.Text, unique=True)
    """What makes it unique: case and Unicode forms folded."""
    email_verified_at: Mapped[datetime | None] = mapped_column(Timestamp)
    name: Mapped[str] = mapped_column(sa.Text)
    locale: Mapped[str] = mapped_column(sa.Text)
    zoneinfo: Mapped[str | None] = mapped_column(sa.Text)
    profile: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    """The further standard claims that the person has given (OpenID Connect Core §5.1), by their names."""
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    status: Mapped[str] = mapped_column(sa.Text, default="active")
    version: Mapped[int] = mapped_column(default=1)
    application_id: Mapped[str | None] = mapped_column(sa.Uuid(as_uuid=False), unique=True)
    """The application that became this account; unique, so that one is enrolled once."""
    needs_second_factor: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """Staff under the rule: a sign-in with one factor carries none of the roles."""
    erase_at: Mapped[datetime | None] = mapped_column(Timestamp, index=True)
    """When the account is erased, unless its owner thinks better of it."""
    mail_trouble: Mapped[str | None] = mapped_column(sa.Text)
    """How the last mail ended that did not arrive: `failed`, `suppressed` or `too_late`; for staff to see."""
    mail_trouble_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @property
    def is_active(self) -> bool:
        return self.status == "active"


class EmailChange(db.Model):  # type: ignore[name-defined]
    """A new address that somebody asked for; inert until the link mailed to it is used, once."""

    __tablename__ = "email_changes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(sa.Text)
    """The new address, as its owner writes it."""
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was used, or ended by a newer one."""
    previous_email: Mapped[str | None] = mapped_column(sa.Text)
    """The address that it replaced, once it has: so the person's earlier addresses are known."""


class DataRequest(db.Model):  # type: ignore[name-defined]
    """Somebody asked for all that every service holds about them; the parts come by events."""

    __tablename__ = "data_requests"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_digest: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    """Of the mailed link, once there is one."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    mailed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)


class DataPart(db.Model):  # type: ignore[name-defined]
    """What one service holds about the person of a request, sealed for `data_parts.content:ID:SERVICE`."""

    __tablename__ = "data_parts"

    request_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("data_requests.id", ondelete="CASCADE"), primary_key=True
    )
    service: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    sealed_content: Mapped[str] = mapped_column(sa.Text)


class Rule(db.Model):  # type: ignore[name-defined]
    """What an administrator has decided for everybody, by name."""

    __tablename__ = "rules"

    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)
