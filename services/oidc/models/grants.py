"""Grants and what comes of them: codes, refresh tokens, access tokens that need a row."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db


class Grant(db.Model):  # type: ignore[name-defined]
    """One answered authorization request and everything that came of it: code, tokens, refresh-token family.

    The code is a column of this row, so that whoever presents a used code can end what its first use produced.
    """

    __tablename__ = "grants"
    __table_args__ = (
        # Of the living and the ended: a person's data is handed out, and erased, whole.
        sa.Index("ix_grants_sub", "sub"),
        sa.Index("ix_grants_sid_live", "sid", postgresql_where=sa.text("ended_at IS NULL")),
        # For the janitor: what ended, what was never redeemed, what is over.
        sa.Index("ix_grants_ended_at", "ended_at", postgresql_where=sa.text("ended_at IS NOT NULL")),
        sa.Index("ix_grants_unredeemed", "code_expires_at", postgresql_where=sa.text("code_used_at IS NULL")),
        sa.Index("ix_grants_expires_at", "expires_at"),
        sa.CheckConstraint("kind IN ('authorization_code', 'device_code')", name="kind"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[str] = mapped_column(
        sa.Text, default="authorization_code", server_default="authorization_code"
    )
    """How its code came to the client: by the browser, or as a device code that the person confirmed."""
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("clients.client_id", ondelete="CASCADE"), index=True)
    sub: Mapped[str] = mapped_column(sa.Text)
    sid: Mapped[str] = mapped_column(sa.Text)
    """The sign-in session it was made in; it ends with that session unless `is_offline`."""
    is_offline: Mapped[bool]
    scope: Mapped[str] = mapped_column(sa.Text)
    resources: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list, server_default="{}")
    """The resources asked for (RFC 8707); empty: those of the scopes."""
    claims_request: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Claims asked for by name (OpenID Connect Core §5.5): `{"id_token": [...], "userinfo": [...]}`."""
    auth_time: Mapped[int] = mapped_column(sa.BigInteger)
    """Epoch seconds."""
    acr: Mapped[str] = mapped_column(sa.Text)
    amr: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    roles: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list, server_default="{}")
    """What the sign-in carried: fewer than the person's where it had one factor and two are the rule."""
    nonce: Mapped[str | None] = mapped_column(sa.Text)
    redirect_uri: Mapped[str | None] = mapped_column(sa.Text)
    """As sent with the request; None when it was left out, and then it may be left out again."""
    code_challenge: Mapped[str | None] = mapped_column(sa.Text)
    """S256 of the verifier (RFC 7636 §4.2)."""
    code_digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    code_expires_at: Mapped[datetime] = mapped_column(Timestamp)
    code_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    """The absolute end of everything that came of it."""
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    end_cause: Mapped[str | None] = mapped_column(sa.Text)
    told_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When its client was last to be told that the sign-in it came of is over (flows/logouts), if ever."""


class RefreshToken(db.Model):  # type: ignore[name-defined]
    """A refresh token, as its hash. The tokens of one grant are a family and die together."""

    __tablename__ = "refresh_tokens"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    grant_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("grants.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    """Its idle end."""
    used_at: Mapped[datetime | None] = mapped_column(Timestamp, index=True)
    successor_sealed: Mapped[str | None] = mapped_column(sa.Text)
    """The token that followed, sealed under a key derived from this one; forgotten when that one is used."""
    predecessor_id: Mapped[uuid.UUID | None]


class AccessToken(db.Model):  # type: ignore[name-defined]
    """An access token that has a row of its own: each of a client by itself, and each opaque one.

    JWTs of people have none: their grant's row speaks for them.
    """

    __tablename__ = "access_tokens"
    __table_args__ = (
        sa.Index("ix_access_tokens_expires_at", "expires_at"),
        sa.Index("ix_access_tokens_grant_id", "grant_id", postgresql_where=sa.text("grant_id IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    """The `jti` of a JWT."""
    digest: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    """Of an opaque one."""
    grant_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("grants.id", ondelete="CASCADE"))
    """None for a client by itself."""
    client_id: Mapped[str] = mapped_column(sa.Text)
    """No foreign key: a token of a client that is gone is refused for that, and cleared when it has expired."""
    scope: Mapped[str] = mapped_column(sa.Text)
    audience: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
