"""People as the issuer knows them: what account told, and what they have allowed."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow
from services.oidc.extensions import db


class Subject(db.Model):  # type: ignore[name-defined]
    """The issuer's copy of a person, as account last told it; `version` only grows."""

    __tablename__ = "subjects"

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    version: Mapped[int]
    status: Mapped[str] = mapped_column(sa.Text)
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    claims: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    revoked_before: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    """Epoch seconds: every sign-in before then is over, so that no grant may come of one any more."""
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)


class Consent(db.Model):  # type: ignore[name-defined]
    """What a person has allowed an app, so that they are asked once per scope."""

    __tablename__ = "consents"

    sub: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    client_id: Mapped[str] = mapped_column(
        sa.ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True, index=True
    )
    scopes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
