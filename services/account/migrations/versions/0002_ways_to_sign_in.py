"""Further ways to sign in, the record of every attempt, links of every kind, blocks and rules.

Locks: new tables lock nothing that is used. The new columns have constant defaults or none, so that PostgreSQL
rewrites no table; the indexes on users and audit_entries keep writers of those waiting for a scan each, some
seconds with a million people, the one on sign_in_sessions.user_id writers of sessions, the constraint on
password_links for one of a small one. The previous release still runs: it reads and writes none
of this, and every new column fills itself.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blocks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("network", postgresql.CIDR(), nullable=True),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(network IS NULL) <> (domain IS NULL)", name=op.f("ck_blocks_one_thing")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
    )
    op.create_index(
        "ix_blocks_live",
        "blocks",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "password_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sealed_email", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_requests")),
    )
    op.create_table(
        "rules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rules")),
    )
    op.create_table(
        "spent_challenges",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent_challenges")),
    )
    op.create_index(op.f("ix_spent_challenges_expires_at"), "spent_challenges", ["expires_at"], unique=False)
    op.create_table(
        "data_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mailed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_data_requests_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_requests")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_data_requests_token_digest")),
    )
    op.create_index(op.f("ix_data_requests_expires_at"), "data_requests", ["expires_at"], unique=False)
    op.create_index(op.f("ix_data_requests_user_id"), "data_requests", ["user_id"], unique=False)
    op.create_table(
        "email_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("previous_email", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_email_changes_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_changes")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_email_changes_token_digest")),
    )
    op.create_index(op.f("ix_email_changes_expires_at"), "email_changes", ["expires_at"], unique=False)
    op.create_index(op.f("ix_email_changes_user_id"), "email_changes", ["user_id"], unique=False)
    op.create_table(
        "known_devices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("device_digest", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_known_devices_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "device_digest", name=op.f("pk_known_devices")),
    )
    op.create_index(op.f("ix_known_devices_device_digest"), "known_devices", ["device_digest"], unique=False)
    op.create_index(op.f("ix_known_devices_last_seen_at"), "known_devices", ["last_seen_at"], unique=False)
    op.create_table(
        "linked_identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_linked_identities_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_linked_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_linked_identities_issuer_subject")),
        sa.UniqueConstraint("user_id", "provider", name=op.f("uq_linked_identities_user_id_provider")),
    )
    op.create_table(
        "login_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("typed_hash", sa.Text(), nullable=True),
        sa.Column("ip", postgresql.INET(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("sid", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("notice", sa.Text(), nullable=True),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "failure_reason IN ('unknown_account', 'bad_password', 'bad_second_factor', 'disabled', 'not_activated', 'throttled', 'expired', 'provider_error', 'cancelled')",
            name=op.f("ck_login_events_failure_reason"),
        ),
        sa.CheckConstraint("success = (failure_reason IS NULL)", name=op.f("ck_login_events_success")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_login_events_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_events")),
    )
    op.create_index(
        "ix_login_events_failures",
        "login_events",
        ["failure_reason", "id"],
        unique=False,
        postgresql_where=sa.text("NOT success"),
    )
    op.create_index("ix_login_events_ip_id", "login_events", ["ip", "id"], unique=False)
    op.create_index(
        "ix_login_events_notice_due",
        "login_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("notice = 'due'"),
    )
    op.create_index(
        "ix_login_events_typed_hash_id",
        "login_events",
        ["typed_hash", "id"],
        unique=False,
        postgresql_where=sa.text("typed_hash IS NOT NULL"),
    )
    op.create_index("ix_login_events_user_id_id", "login_events", ["user_id", "id"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("aaguid", sa.Text(), nullable=True),
        sa.Column("transports", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_synced", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_passkeys_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"], unique=False)
    op.create_table(
        "provider_visits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("state_digest", sa.Text(), nullable=False),
        sa.Column("secrets_sealed", sa.Text(), nullable=False),
        sa.Column("continue_to", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("purpose IN ('sign_in', 'link')", name=op.f("ck_provider_visits_purpose")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_provider_visits_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_visits")),
        sa.UniqueConstraint("state_digest", name=op.f("uq_provider_visits_state_digest")),
    )
    op.create_index(op.f("ix_provider_visits_expires_at"), "provider_visits", ["expires_at"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("digest", name=op.f("uq_recovery_codes_digest")),
    )
    op.create_index(op.f("ix_recovery_codes_user_id"), "recovery_codes", ["user_id"], unique=False)
    op.create_table(
        "second_factor_resets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=True),
        sa.Column("mailed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_cause", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_second_factor_resets_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_second_factor_resets")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_second_factor_resets_token_digest")),
    )
    op.create_index(
        "uq_second_factor_resets_open",
        "second_factor_resets",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "security_notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_security_notices_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_security_notices")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_security_notices_token_digest")),
    )
    op.create_index(op.f("ix_security_notices_expires_at"), "security_notices", ["expires_at"], unique=False)
    op.create_index(op.f("ix_security_notices_user_id"), "security_notices", ["user_id"], unique=False)
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("needs", sa.Text(), nullable=False),
        sa.Column("amr", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("mail_code_digest", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("ip", postgresql.INET(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("needs IN ('second_factor', 'mail_code')", name=op.f("ck_sign_in_attempts_needs")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sign_in_attempts_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index(op.f("ix_sign_in_attempts_expires_at"), "sign_in_attempts", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sign_in_attempts_user_id"), "sign_in_attempts", ["user_id"], unique=False)
    op.create_table(
        "totp_credentials",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("seed_sealed", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_totp_credentials_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_totp_credentials")),
    )
    op.create_index(
        "uq_totp_credentials_confirmed",
        "totp_credentials",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("confirmed_at IS NOT NULL"),
    )
    op.create_index(
        "uq_totp_credentials_pending",
        "totp_credentials",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("confirmed_at IS NULL"),
    )
    op.create_table(
        "data_parts",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("sealed_content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["data_requests.id"],
            name=op.f("fk_data_parts_request_id_data_requests"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", "service", name=op.f("pk_data_parts")),
    )
    op.add_column("password_links", sa.Column("purpose", sa.Text(), server_default="first", nullable=False))
    op.create_check_constraint(
        op.f("ck_password_links_purpose"), "password_links", "purpose IN ('first', 'reset')"
    )
    op.create_index(op.f("ix_sign_in_sessions_user_id"), "sign_in_sessions", ["user_id"], unique=False)
    op.add_column("sign_in_sessions", sa.Column("provider", sa.Text(), nullable=True))
    op.add_column("sign_in_sessions", sa.Column("ip", postgresql.INET(), nullable=True))
    op.add_column("sign_in_sessions", sa.Column("country", sa.Text(), nullable=True))
    op.add_column(
        "users",
        sa.Column("profile", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
    )
    op.add_column(
        "users",
        sa.Column("needs_second_factor", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("users", sa.Column("erase_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_users_erase_at"), "users", ["erase_at"], unique=False)
    op.create_index(
        "ix_users_email_prefix",
        "users",
        ["email_normalised"],
        unique=False,
        postgresql_ops={"email_normalised": "text_pattern_ops"},
    )
    for word in (1, 2, 3, 4):
        op.create_index(
            f"ix_users_name_word_{word}",
            "users",
            [sa.literal_column(f"split_part(lower(name), ' ', {word})").label("word")],
            unique=False,
            postgresql_ops={"word": "text_pattern_ops"},
        )
    op.create_index(
        "ix_users_domain_id", "users", [sa.text("split_part(email_normalised, '@', 2)"), "id"], unique=False
    )
    op.create_index(
        "ix_users_staff", "users", ["id"], unique=False, postgresql_where=sa.text("roles <> '{}'::text[]")
    )
    op.create_index(
        "ix_users_disabled", "users", ["id"], unique=False, postgresql_where=sa.text("status = 'disabled'")
    )
    op.create_index("ix_audit_entries_actor_id", "audit_entries", ["actor", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_audit_entries_actor_id", table_name="audit_entries")
    op.drop_index("ix_users_disabled", table_name="users")
    op.drop_index("ix_users_staff", table_name="users")
    op.drop_index("ix_users_domain_id", table_name="users")
    for word in (1, 2, 3, 4):
        op.drop_index(f"ix_users_name_word_{word}", table_name="users")
    op.drop_index("ix_users_email_prefix", table_name="users")
    op.drop_index(op.f("ix_users_erase_at"), table_name="users")
    op.drop_column("users", "erase_at")
    op.drop_column("users", "needs_second_factor")
    op.drop_column("users", "profile")
    op.drop_column("sign_in_sessions", "country")
    op.drop_column("sign_in_sessions", "ip")
    op.drop_column("sign_in_sessions", "provider")
    op.drop_index(op.f("ix_sign_in_sessions_user_id"), table_name="sign_in_sessions")
    op.drop_column("password_links", "purpose")
    op.drop_table("data_parts")
    op.drop_index(
        "uq_totp_credentials_pending",
        table_name="totp_credentials",
        postgresql_where=sa.text("confirmed_at IS NULL"),
    )
    op.drop_index(
        "uq_totp_credentials_confirmed",
        table_name="totp_credentials",
        postgresql_where=sa.text("confirmed_at IS NOT NULL"),
    )
    op.drop_table("totp_credentials")
    op.drop_index(op.f("ix_sign_in_attempts_user_id"), table_name="sign_in_attempts")
    op.drop_index(op.f("ix_sign_in_attempts_expires_at"), table_name="sign_in_attempts")
    op.drop_table("sign_in_attempts")
    op.drop_index(op.f("ix_security_notices_user_id"), table_name="security_notices")
    op.drop_index(op.f("ix_security_notices_expires_at"), table_name="security_notices")
    op.drop_table("security_notices")
    op.drop_index(
        "uq_second_factor_resets_open",
        table_name="second_factor_resets",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_table("second_factor_resets")
    op.drop_index(op.f("ix_recovery_codes_user_id"), table_name="recovery_codes")
    op.drop_table("recovery_codes")
    op.drop_index(op.f("ix_provider_visits_expires_at"), table_name="provider_visits")
    op.drop_table("provider_visits")
    op.drop_index(op.f("ix_passkeys_user_id"), table_name="passkeys")
    op.drop_table("passkeys")
    op.drop_index("ix_login_events_user_id_id", table_name="login_events")
    op.drop_index(
        "ix_login_events_typed_hash_id",
        table_name="login_events",
        postgresql_where=sa.text("typed_hash IS NOT NULL"),
    )
    op.drop_index(
        "ix_login_events_notice_due", table_name="login_events", postgresql_where=sa.text("notice = 'due'")
    )
    op.drop_index("ix_login_events_ip_id", table_name="login_events")
    op.drop_index(
        "ix_login_events_failures", table_name="login_events", postgresql_where=sa.text("NOT success")
    )
    op.drop_table("login_events")
    op.drop_table("linked_identities")
    op.drop_index(op.f("ix_known_devices_last_seen_at"), table_name="known_devices")
    op.drop_index(op.f("ix_known_devices_device_digest"), table_name="known_devices")
    op.drop_table("known_devices")
    op.drop_index(op.f("ix_email_changes_user_id"), table_name="email_changes")
    op.drop_index(op.f("ix_email_changes_expires_at"), table_name="email_changes")
    op.drop_table("email_changes")
    op.drop_index(op.f("ix_data_requests_user_id"), table_name="data_requests")
    op.drop_index(op.f("ix_data_requests_expires_at"), table_name="data_requests")
    op.drop_table("data_requests")
    op.drop_index(op.f("ix_spent_challenges_expires_at"), table_name="spent_challenges")
    op.drop_table("spent_challenges")
    op.drop_table("rules")
    op.drop_table("password_requests")
    op.drop_index("ix_blocks_live", table_name="blocks", postgresql_where=sa.text("lifted_at IS NULL"))
    op.drop_table("blocks")
