"""Logout tokens on their way to clients (OpenID Connect Back-Channel Logout §2.5)."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db

PATIENCE = timedelta(days=1)
"""How long a client may be away before a person has to look."""


class LogoutDelivery(db.Model):  # type: ignore[name-defined]
    """One client to be told that a session, or a whole person, is signed out.

    queued → sending (leased) → delivered | queued again with backoff | parked, which staff can send again.
    """

    __tablename__ = "logout_deliveries"
    __table_args__ = (
        sa.CheckConstraint("state IN ('queued', 'sending', 'delivered', 'parked')", name="state"),
        # Of each client the one that is due first; whether the client is busy, or being left alone.
        sa.Index(
            "ix_logout_deliveries_due",
            "client_id",
            "next_attempt_at",
            postgresql_where=sa.text("state IN ('queued', 'sending')"),
        ),
        sa.Index("ix_logout_deliveries_parked", "id", postgresql_where=sa.text("state = 'parked'")),
        sa.Index("ix_logout_deliveries_client_id_id", "client_id", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    """Also the token's `jti`: a delivery that is repeated is the same logout."""
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("clients.client_id", ondelete="CASCADE"))
    sub: Mapped[str] = mapped_column(sa.Text)
    """The person, as the client knows them."""
    sid: Mapped[str | None] = mapped_column(sa.Text)
    """The session, as the client knows it; None for all of the person's."""
    cause: Mapped[str] = mapped_column(sa.Text)
    """A word of docs/architecture.md section 15."""
    state: Mapped[str] = mapped_column(sa.Text, default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    """When it is due; of one that is being sent, when its lease ends."""
    holds_client: Mapped[bool] = mapped_column(default=False)
    """The client gave no answer: until this one is due again, none of the client's others is tried."""
    give_up_at: Mapped[datetime] = mapped_column(Timestamp, default=lambda: utcnow() + PATIENCE)
    """From when a failure parks it."""
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    """In our words, or the error code that the client answered; nothing else of its answer."""
    correlation_id: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    delivered_at: Mapped[datetime | None] = mapped_column(Timestamp)
