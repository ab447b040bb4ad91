"""Logout tokens on their way to clients (OpenID Connect Back-Channel Logout §2.5)."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db


class LogoutDelivery(db.Model):  # type: ignore[name-defined]
    """One client to be told that a session, or a whole person, is signed out.

    queued → sending (leased) → delivered | queued again with backoff | parked, which staff can send again.
    """

    __tablename__ = "logout_deliveries"
    __table_args__ = (
        sa.CheckConstraint("state IN ('queued', 'sending', 'delivered', 'parked')", name="state"),
        sa.Index(
            "ix_logout_deliveries_due",
            "next_attempt_at",
            postgresql_where=sa.text("state IN ('queued', 'sending')"),
        ),
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
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    correlation_id: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    delivered_at: Mapped[datetime | None] = mapped_column(Timestamp)
