"""Signing in: attempts half done, sessions, devices, the record of every attempt, and who is kept out."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, INET
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from libs.observe.metrics import LOGIN_REASONS
from services.account.extensions import audit, db


def _new_id() -> str:
    return str(uuid7())


class SignInAttempt(db.Model):  # type: ignore[name-defined]
    """A sign-in that passed its first step and waits for the next: `needs` says which. It opens nothing."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (sa.CheckConstraint("needs IN ('second_factor', 'mail_code')", name="needs"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    needs: Mapped[str] = mapped_column(sa.Text)
    amr: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    """What has been proven so far (RFC 8176)."""
    provider: Mapped[str | None] = mapped_column(sa.Text)
    proof: Mapped[str | None] = mapped_column(sa.Text)
    """What the first step rested on (the password's hash): changed meanwhile, the attempt is void."""
    mail_code_digest: Mapped[str | None] = mapped_column(sa.Text)
    failures: Mapped[int] = mapped_column(default=0)
    """Tries of the missing step; counted before they are checked, so that none slips by beside another."""
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SignInSession(db.Model):  # type: ignore[name-defined]
    """A person signed in on one browser: the truth of which Redis holds a copy. Its id is the public sid."""

    __tablename__ = "sign_in_sessions"
    __table_args__ = (
        # Of the ended ones too: a person's data is handed out, and erased, whole.
        sa.Index("ix_sign_in_sessions_user_id", "user_id"),
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
    provider: Mapped[str | None] = mapped_column(sa.Text)
    """Which linked provider signed the person in, when one did."""
    user_agent: Mapped[str] = mapped_column(sa.Text)
    ip: Mapped[str | None] = mapped_column(INET)
    """The address of the last sign-in on it."""
    country: Mapped[str | None] = mapped_column(sa.Text)
    """ISO 3166-1 alpha-2, where GEOIP_DATABASE names a file that knows."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    absolute_end: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    end_cause: Mapped[str | None] = mapped_column(sa.Text)


class KnownDevice(db.Model):  # type: ignore[name-defined]
    """A browser in which a person has signed in before, by the hash of its device cookie."""

    __tablename__ = "known_devices"

    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    device_digest: Mapped[str] = mapped_column(sa.Text, primary_key=True, index=True)
    first_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, index=True)


_REASONS = ", ".join(f"'{reason}'" for reason in LOGIN_REASONS)


class LoginEvent(db.Model):  # type: ignore[name-defined]
    """One attempt to sign in, and how it ended."""

    __tablename__ = "login_events"
    __table_args__ = (
        sa.CheckConstraint(f"failure_reason IN ({_REASONS})", name="failure_reason"),
        sa.CheckConstraint("success = (failure_reason IS NULL)", name="success"),
        # Lists are read newest first, by ids, which sort by time: all by the primary key, and of a person, of an
        # address, of what was typed, of a reason each by an index of its own.
        sa.Index("ix_login_events_user_id_id", "user_id", "id"),
        sa.Index("ix_login_events_ip_id", "ip", "id"),
        sa.Index(
            "ix_login_events_typed_hash_id",
            "typed_hash",
            "id",
            postgresql_where=sa.text("typed_hash IS NOT NULL"),
        ),
        sa.Index(
            "ix_login_events_failures",
            "failure_reason",
            "id",
            postgresql_where=sa.text("NOT success"),
        ),
        sa.Index("ix_login_events_notice_due", "id", postgresql_where=sa.text("notice = 'due'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))
    typed_hash: Mapped[str | None] = mapped_column(sa.Text)
    """Keyed hash of the address that was typed, where it is nobody's."""
    ip: Mapped[str | None] = mapped_column(INET)
    country: Mapped[str | None] = mapped_column(sa.Text)
    user_agent: Mapped[str] = mapped_column(sa.Text)
    method: Mapped[str] = mapped_column(sa.Text)
    """password, passkey, totp, recovery_code, mail_code, link (a mailed one), enrolment, or a provider's name."""
    success: Mapped[bool]
    failure_reason: Mapped[str | None] = mapped_column(sa.Text)
    sid: Mapped[str | None] = mapped_column(sa.Uuid(as_uuid=False))
    notice: Mapped[str | None] = mapped_column(sa.Text)
    """`due` when the person is to be told of a new device, `sent` once they are."""
    correlation_id: Mapped[str | None] = mapped_column(sa.Text)


class SecurityNotice(db.Model):  # type: ignore[name-defined]
    """The link "It wasn't me" of one security mail: its button ends all sessions and starts a reset."""

    __tablename__ = "security_notices"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    """The mail's template."""
    email: Mapped[str] = mapped_column(sa.Text)
    """Where it was mailed: whoever reads there may have lost the account's address to somebody else."""
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Block(db.Model):  # type: ignore[name-defined]
    """An address, a network or a mail domain that may not sign in, until it expires or is lifted."""

    __tablename__ = "blocks"
    __table_args__ = (
        sa.CheckConstraint("(network IS NULL) <> (domain IS NULL)", name="one_thing"),
        sa.Index("ix_blocks_live", "expires_at", postgresql_where=sa.text("lifted_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    network: Mapped[str | None] = mapped_column(CIDR)
    """One address is a network of one."""
    domain: Mapped[str | None] = mapped_column(sa.Text)
    reason: Mapped[str] = mapped_column(sa.Text)
    created_by: Mapped[str] = mapped_column(sa.Text)
    """An actor, as the audit names it."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    lifted_at: Mapped[datetime | None] = mapped_column(Timestamp)


# By whom: the page of a person shows what they did, beside what was done to them.
sa.Index("ix_audit_entries_actor_id", audit.table.c.actor, audit.table.c.id)


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
