"""Keys: the pairs that sign, what the other services were told of them, and what must never change."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db


class SigningKey(db.Model):  # type: ignore[name-defined]
    """A key pair: next (published, not signing), current (signing), previous (verifying), retired (listed alone).

    The private half goes when the key signs no more. One that only ever verified was never activated.
    """

    __tablename__ = "signing_keys"
    __table_args__ = (
        sa.CheckConstraint("state IN ('next', 'current', 'previous', 'retired')", name="state"),
        sa.CheckConstraint(
            "state NOT IN ('next', 'current') OR private_key_sealed IS NOT NULL", name="can_sign"
        ),
        sa.Index(
            "uq_signing_keys_in_turn",
            "alg",
            "state",
            unique=True,
            postgresql_where=sa.text("state IN ('next', 'current')"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kid: Mapped[str] = mapped_column(sa.Text, unique=True)
    alg: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[str] = mapped_column(sa.Text)
    public_jwk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    private_key_sealed: Mapped[str | None] = mapped_column(sa.Text)
    """PKCS #8 PEM, sealed under DATA_ENCRYPTION_KEYS."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    """From then on it is published."""
    activated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    replaced_at: Mapped[datetime | None] = mapped_column(Timestamp)
    retired_at: Mapped[datetime | None] = mapped_column(Timestamp)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Since when nothing that it signed is believed, not even as a hint: it was suspect, or retired by hand."""
    is_imported: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """Whether it was brought by an operator, and not made here."""


class AnnouncedKeys(db.Model):  # type: ignore[name-defined]
    """The one row that says which set of public keys the other services were told of last."""

    __tablename__ = "announced_keys"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(sa.Text)


class IssuerSecret(db.Model):  # type: ignore[name-defined]
    """A secret of the issuer that is made once and never changes, because what clients have stored hangs on it."""

    __tablename__ = "issuer_secrets"

    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    value_sealed: Mapped[str] = mapped_column(sa.Text)
    """32 random bytes, sealed under DATA_ENCRYPTION_KEYS."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
