"""Why requests of clients were refused, for staff who are asked about one."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db


class Refusal(db.Model):  # type: ignore[name-defined]
    """One refused request: what the client was told, and the exact reason, which it was not."""

    __tablename__ = "refusals"
    __table_args__ = (sa.Index("ix_refusals_client_id_id", "client_id", "id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    request_id: Mapped[str] = mapped_column(sa.Text, index=True)
    """The correlation id that the answer carried."""
    client_id: Mapped[str | None] = mapped_column(sa.Text)
    """Whom the request came from or claimed to; None when nobody of that id exists."""
    endpoint: Mapped[str] = mapped_column(sa.Text)
    error: Mapped[str] = mapped_column(sa.Text)
    description: Mapped[str | None] = mapped_column(sa.Text)
    detail: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
