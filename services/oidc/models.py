"""oidc's tables: clients and their secrets, signing keys, subjects, consents, grants, refresh tokens."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
GRANTS = ("authorization_code", "refresh_token")


def _new_client_id() -> str:
    return str(uuid7())


class Client(db.Model):  # type: ignore[name-defined]
    """An app that signs people in. It is `public` when it proves itself by nothing (`auth_method` none)."""

    __tablename__ = "clients"
    __table_args__ = (
        sa.CheckConstraint(
            "auth_method IN ('client_secret_basic', 'client_secret_post', 'none')", name="auth_method"
        ),
        sa.CheckConstraint("application_type IN ('web', 'native')", name="application_type"),
        # RFC 9700 §2.1.1 and §4.14.2: what protects a client that has no secret is not optional.
        sa.CheckConstraint(
            "auth_method <> 'none' OR (require_pkce AND rotate_refresh_tokens)", name="public_client"
        ),
    )

    client_id: Mapped[str] = mapped_column(sa.Text, primary_key=True, default=_new_client_id)
    name: Mapped[str] = mapped_column(sa.Text)
    application_type: Mapped[str] = mapped_column(sa.Text, default="web")
    auth_method: Mapped[str] = mapped_column(sa.Text, default="client_secret_basic")
    redirect_uris: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    grants: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    require_pkce: Mapped[bool] = mapped_column(default=True)
    rotate_refresh_tokens: Mapped[bool] = mapped_column(default=True)
    is_first_party: Mapped[bool] = mapped_column(default=False)
    """Ours: people are not asked for their consent."""
    is_enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, onupdate=utcnow)

    secrets: Mapped[list["ClientSecret"]] = relationship(
        back_populates="client",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="ClientSecret.created_at",
    )


class ClientSecret(db.Model):  # type: ignore[name-defined]
    """The hash of a client's secret. Two may hold at once, so that a secret is changed without a gap."""

    __tablename__ = "client_secrets"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("clients.client_id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)

    client: Mapped[Client] = relationship(back_populates="secrets")


class SigningKey(db.Model):  # type: ignore[name-defined]
    """A key pair: next (published, not signing), current (signing), previous (verifying), retired (gone).

    Without its private half a row only verifies.
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


class AnnouncedKeys(db.Model):  # type: ignore[name-defined]
    """The one row that says which set of public keys the other services were told of last."""

    __tablename__ = "announced_keys"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(sa.Text)


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


class Grant(db.Model):  # type: ignore[name-defined]
    """One answered authorization request and everything that came of it: code, tokens, refresh-token family.

    The code is a column of this row, so that whoever presents a used code can end what its first use produced.
    """

    __tablename__ = "grants"
    __table_args__ = (
        # Of the living and the ended: a person's data is handed out, and erased, whole.
        sa.Index("ix_grants_sub", "sub"),
        sa.Index("ix_grants_sid_live", "sid", postgresql_where=sa.text("ended_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("clients.client_id", ondelete="CASCADE"), index=True)
    sub: Mapped[str] = mapped_column(sa.Text)
    sid: Mapped[str] = mapped_column(sa.Text)
    """The sign-in session it was made in; it ends with that session unless `is_offline`."""
    is_offline: Mapped[bool]
    scope: Mapped[str] = mapped_column(sa.Text)
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
