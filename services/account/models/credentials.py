"""How people prove who they are: passwords, passkeys, one-time codes, accounts elsewhere, and the ways back."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.account.extensions import db


class PasswordCredential(db.Model):  # type: ignore[name-defined]
    """A person's password, as its argon2id hash. A person without one has no row."""

    __tablename__ = "password_credentials"

    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    hash: Mapped[str] = mapped_column(sa.Text)
    """Empty: the account was secured, and no password opens it until a new one is set by a mailed link."""
    changed_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class PasswordLink(db.Model):  # type: ignore[name-defined]
    """A mailed link that sets a password, once: the `first` one, or a new one after a `reset`."""

    __tablename__ = "password_links"
    __table_args__ = (sa.CheckConstraint("purpose IN ('first', 'reset')", name="purpose"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    purpose: Mapped[str] = mapped_column(sa.Text, default="first", server_default="first")
    token_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was used, or ended by a newer one or by another way of setting the password."""
    made_anew: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many before it in a row died before their mail could leave."""


class PasswordRequest(db.Model):  # type: ignore[name-defined]
    """Somebody typed an address and says that they forgot their password. A task finds out whether anybody has it,

    so that asking costs the same for every address. Deleted once answered.
    """

    __tablename__ = "password_requests"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    sealed_email: Mapped[str] = mapped_column(sa.Text)
    """As typed, sealed for `password_requests.email:ID`: it may be anybody's."""
    locale: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class Passkey(db.Model):  # type: ignore[name-defined]
    """A WebAuthn credential (W3C Web Authentication Level 3)."""

    __tablename__ = "passkeys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    """COSE, as the authenticator gave it."""
    sign_count: Mapped[int] = mapped_column(sa.BigInteger)
    aaguid: Mapped[str | None] = mapped_column(sa.Text)
    """The model of the authenticator, where it says so."""
    transports: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    is_synced: Mapped[bool]
    """Backup eligible: its private key lives in software that copies it (amr `swk`), else in one device (`hwk`)."""
    name: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SpentChallenge(db.Model):  # type: ignore[name-defined]
    """A WebAuthn challenge that was answered: its primary key makes it count once."""

    __tablename__ = "spent_challenges"

    digest: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)


class TOTPCredential(db.Model):  # type: ignore[name-defined]
    """A person's authenticator app (RFC 6238), counted once its first code was entered.

    While one is replaced there are two: the confirmed one works until the new one is confirmed.
    """

    __tablename__ = "totp_credentials"
    __table_args__ = (
        sa.Index(
            "uq_totp_credentials_confirmed",
            "user_id",
            unique=True,
            postgresql_where=sa.text("confirmed_at IS NOT NULL"),
        ),
        sa.Index(
            "uq_totp_credentials_pending",
            "user_id",
            unique=True,
            postgresql_where=sa.text("confirmed_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    seed_sealed: Mapped[str] = mapped_column(sa.Text)
    """Base32, sealed for `totp_credentials.seed:ID`."""
    last_step: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """The newest time step whose code was used: it and all before it are spent (RFC 6238 §5.2)."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class RecoveryCode(db.Model):  # type: ignore[name-defined]
    """One of a person's recovery codes, as its hash; a new set deletes the old one."""

    __tablename__ = "recovery_codes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SecondFactorReset(db.Model):  # type: ignore[name-defined]
    """The way back for a person who lost every second factor: a waiting time, with notices, then a mailed link."""

    __tablename__ = "second_factor_resets"
    __table_args__ = (
        sa.Index(
            "uq_second_factor_resets_open",
            "user_id",
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    available_at: Mapped[datetime] = mapped_column(Timestamp)
    token_digest: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    """Of the link that is mailed once the time has passed."""
    mailed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    end_cause: Mapped[str | None] = mapped_column(sa.Text)
    """`used`, `cancelled` (by its owner, or by a sign-in with a second factor) or `expired`."""


class LinkedIdentity(db.Model):  # type: ignore[name-defined]
    """An account elsewhere that signs this person in. It is (issuer, subject), never an e-mail address."""

    __tablename__ = "linked_identities"
    __table_args__ = (
        sa.UniqueConstraint("issuer", "subject"),
        sa.UniqueConstraint("user_id", "provider"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(sa.Text)
    issuer: Mapped[str] = mapped_column(sa.Text)
    subject: Mapped[str] = mapped_column(sa.Text)
    name: Mapped[str] = mapped_column(sa.Text)
    """What the provider calls the account, so that its owner recognises it."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class ProviderVisit(db.Model):  # type: ignore[name-defined]
    """A browser on its way to a provider and back. Used once; its secrets never leave this row in the clear."""

    __tablename__ = "provider_visits"
    __table_args__ = (sa.CheckConstraint("purpose IN ('sign_in', 'link')", name="purpose"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    provider: Mapped[str] = mapped_column(sa.Text)
    purpose: Mapped[str] = mapped_column(sa.Text)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    """Whose account is linked; empty for a sign-in."""
    state_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    secrets_sealed: Mapped[str] = mapped_column(sa.Text)
    """PKCE verifier and nonce, sealed for `provider_visits.secrets:ID`."""
    continue_to: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
