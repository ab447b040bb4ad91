"""account's tables: people, their passwords and links, their sign-in sessions, what Redis has yet to be told."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.account.extensions import db

ROLES = ("admin", "reviewer", "support")


def _new_sub() -> str:
    # Random, where other keys sort by time: a sub must not tell when somebody joined.
    return str(uuid.uuid4())


def _new_id() -> str:
    return str(uuid7())


class User(db.Model):  # type: ignore[name-defined]
    """A person. `version` grows with every change that other services are told of."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status"),
        sa.CheckConstraint("roles <@ ARRAY['admin', 'reviewer', 'support']::text[]", name="roles"),
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
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    status: Mapped[str] = mapped_column(sa.Text, default="active")
    version: Mapped[int] = mapped_column(default=1)
    application_id: Mapped[str | None] = mapped_column(sa.Uuid(as_uuid=False), unique=True)
    """The application that became this account; unique, so that one is enrolled once."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)

    @property
    def is_active(self) -> bool:
        return self.status == "active"


class PasswordCredential(db.Model):  # type: ignore[name-defined]
    """A person's password, as its argon2id hash. A person without one has no row."""

    __tablename__ = "password_credentials"

    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    hash: Mapped[str] = mapped_column(sa.Text)
    changed_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class PasswordLink(db.Model):  # type: ignore[name-defined]
    """A mailed link that sets a first password, once."""

    __tablename__ = "password_links"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was used, or ended by a newer one or by another way of setting the password."""


class SignInSession(db.Model):  # type: ignore[name-defined]
    """A person signed in on one browser: the truth of which Redis holds a copy. Its id is the public sid."""

    __tablename__ = "sign_in_sessions"
    __table_args__ = (
        sa.Index("ix_sign_in_sessions_live", "user_id", postgresql_where=sa.text("ended_at IS NULL")),
        sa.Index(
            "ix_sign_in_sessions_last_seen_at", "last_seen_at", postgresql_where=sa.text("ended_at IS NULL")
        ),
        sa.Index(
            "ix_sign_in_sessions_absolute_end", "absolute_end", postgresql_where=sa.text("ended_at IS NULL")
        ),
        sa.Index(
            "ix_sign_in_sessions_ended_at", "ended_at", postgresql_where=sa.text("ended_at IS NOT NULL")
        ),
    )

    id: Mapped[str] = mapped_column(sa.Uuid(as_uuid=False), primary_key=True, default=_new_id)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    secret_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    """SHA-256 of the secret in the browser's cookie; changes at every sign-in."""
    auth_time: Mapped[datetime] = mapped_column(Timestamp)
    amr: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    acr: Mapped[str] = mapped_column(sa.Text)
    user_agent: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    absolute_end: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    end_cause: Mapped[str | None] = mapped_column(sa.Text)


class RedisDebt(db.Model):  # type: ignore[name-defined]
    """What Redis has yet to be told: written with the change itself, deleted once Redis has said yes."""

    __tablename__ = "redis_debts"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('delete_copy', 'rewrite_copies', 'deny_sub', 'deny_sid')", name="kind"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[str] = mapped_column(sa.Text)
    subject: Mapped[str] = mapped_column(sa.Text)
    """A digest, a user's id, a sub or a sid, as the kind says."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
