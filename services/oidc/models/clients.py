"""Clients: the apps that sign people in, their secrets, what they may call, who may register more of them."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from libs.database import Timestamp, utcnow, uuid7
from services.oidc.extensions import db

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
GRANTS = (
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:device_code",
)
ACCESS_TOKEN_FORMATS = ("jwt", "opaque")


def _new_client_id() -> str:
    return str(uuid7())


def _words() -> Mapped[list[str]]:
    return mapped_column(ARRAY(sa.Text), default=list, server_default="{}")


def _off() -> Mapped[bool]:
    return mapped_column(default=False, server_default=sa.false())


class Client(db.Model):  # type: ignore[name-defined]
    """An app that signs people in. It is `public` when it proves itself by nothing (`auth_method` none).

    Where a column has the name of client metadata (RFC 7591 §2, OpenID Connect Registration §2) it means just that;
    flows/clients/metadata.py says what each may be.
    """

    __tablename__ = "clients"
    __table_args__ = (
        sa.CheckConstraint(
            "auth_method IN ('client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none')",
            name="auth_method",
        ),
        sa.CheckConstraint("application_type IN ('web', 'native')", name="application_type"),
        sa.CheckConstraint("subject_type IN ('public', 'pairwise')", name="subject_type"),
        sa.CheckConstraint("access_token_format IN ('jwt', 'opaque')", name="access_token_format"),
        # RFC 9700 §2.1.1 and §4.14.2: what protects a client that has no secret is not optional.
        sa.CheckConstraint(
            "auth_method <> 'none' OR (require_pkce AND rotate_refresh_tokens)", name="public_client"
        ),
        # For lists, newest first.
        sa.Index("ix_clients_created_at_client_id", "created_at", "client_id"),
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

    # What people are shown, as the client's own claim.
    client_uri: Mapped[str | None] = mapped_column(sa.Text)
    logo_uri: Mapped[str | None] = mapped_column(sa.Text)
    policy_uri: Mapped[str | None] = mapped_column(sa.Text)
    tos_uri: Mapped[str | None] = mapped_column(sa.Text)
    contacts: Mapped[list[str]] = _words()
    software_id: Mapped[str | None] = mapped_column(sa.Text)
    software_version: Mapped[str | None] = mapped_column(sa.Text)

    # Its own keys, and how it signs.
    jwks: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    jwks_uri: Mapped[str | None] = mapped_column(sa.Text)
    token_endpoint_auth_signing_alg: Mapped[str | None] = mapped_column(sa.Text)
    """None: any that we know."""
    request_object_signing_alg: Mapped[str | None] = mapped_column(sa.Text)
    """None: any that we know; `none` lets it send request objects unsigned."""
    request_uris: Mapped[list[str]] = _words()
    """From where we fetch its request objects; no other address is fetched."""
    require_pushed_authorization_requests: Mapped[bool] = _off()
    require_signed_request_object: Mapped[bool] = _off()

    # What it gets.
    subject_type: Mapped[str] = mapped_column(sa.Text, default="public", server_default="public")
    sector_identifier_uri: Mapped[str | None] = mapped_column(sa.Text)
    id_token_signed_response_alg: Mapped[str] = mapped_column(
        sa.Text, default="RS256", server_default="RS256"
    )
    userinfo_signed_response_alg: Mapped[str | None] = mapped_column(sa.Text)
    """None: plain JSON."""
    access_token_format: Mapped[str] = mapped_column(sa.Text, default="jwt", server_default="jwt")
    access_token_signing_alg: Mapped[str] = mapped_column(sa.Text, default="ES256", server_default="ES256")
    claims_mapping: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    """Claims of its own: name → where the value comes from (protocol/claims.py)."""
    allowed_roles: Mapped[list[str]] = _words()
    """Whoever has one of them may use the app; empty: everybody."""

    # How it wants people signed in, and told of the end.
    initiate_login_uri: Mapped[str | None] = mapped_column(sa.Text)
    default_max_age: Mapped[int | None]
    """Seconds."""
    require_auth_time: Mapped[bool] = _off()
    default_acr_values: Mapped[list[str]] = _words()
    backchannel_logout_uri: Mapped[str | None] = mapped_column(sa.Text)
    backchannel_logout_session_required: Mapped[bool] = _off()
    frontchannel_logout_uri: Mapped[str | None] = mapped_column(sa.Text)
    frontchannel_logout_session_required: Mapped[bool] = _off()

    registration_token_digest: Mapped[str | None] = mapped_column(sa.Text, unique=True)
    """Of the registration access token (RFC 7592 §3); None unless it registered itself."""
    registered_with: Mapped[uuid.UUID | None]
    """The initial access token that it registered itself with."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """Grows with each change."""
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
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """To the minute."""

    client: Mapped[Client] = relationship(back_populates="secrets")


class Resource(db.Model):  # type: ignore[name-defined]
    """Somebody else's API that our access tokens are for (RFC 8707); our own is known without a row."""

    __tablename__ = "resources"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    """For addresses of ours: a URI cannot stand in a path."""
    identifier: Mapped[str] = mapped_column(sa.Text, unique=True)
    """Its absolute URI, as clients name it and as tokens are addressed to it."""
    name: Mapped[str] = mapped_column(sa.Text)
    scopes: Mapped[dict[str, str]] = mapped_column(JSONB, default=dict)
    """Each scope of it, in the words of the consent page (`… would like to:`). No two resources share one."""
    client_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("clients.client_id", ondelete="SET NULL"), index=True
    )
    """As whom the API introspects the tokens that are addressed to it."""
    version: Mapped[int] = mapped_column(default=1)
    """Grows with each change."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, onupdate=utcnow)


class InitialAccessToken(db.Model):  # type: ignore[name-defined]
    """What lets somebody register clients by themselves (RFC 7591 §3), as its hash."""

    __tablename__ = "initial_access_tokens"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    digest: Mapped[str] = mapped_column(sa.Text, unique=True)
    note: Mapped[str] = mapped_column(sa.Text)
    """Whom it was given to."""
    uses_left: Mapped[int | None]
    """None: any number."""
    created_by: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
