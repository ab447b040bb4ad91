"""Clients, keys, subjects, consents, grants and tokens; audit, inbox and outbox.

Locks: none that anybody waits for, the tables are new. Safe while the previous release still runs, because
there is none before this one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('audit_entries',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('target', sa.Text(), nullable=False),
    sa.Column('before', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('after', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('correlation_id', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_entries'))
    )
    op.create_index(op.f('ix_audit_entries_created_at'), 'audit_entries', ['created_at'], unique=False)
    op.create_index(op.f('ix_audit_entries_target'), 'audit_entries', ['target'], unique=False)
    op.create_table('clients',
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('application_type', sa.Text(), nullable=False),
    sa.Column('auth_method', sa.Text(), nullable=False),
    sa.Column('redirect_uris', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('post_logout_redirect_uris', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('grants', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('require_pkce', sa.Boolean(), nullable=False),
    sa.Column('rotate_refresh_tokens', sa.Boolean(), nullable=False),
    sa.Column('is_first_party', sa.Boolean(), nullable=False),
    sa.Column('is_enabled', sa.Boolean(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("application_type IN ('web', 'native')", name=op.f('ck_clients_application_type')),
    sa.CheckConstraint("auth_method <> 'none' OR (require_pkce AND rotate_refresh_tokens)", name=op.f('ck_clients_public_client')),
    sa.CheckConstraint("auth_method IN ('client_secret_basic', 'client_secret_post', 'none')", name=op.f('ck_clients_auth_method')),
    sa.PrimaryKeyConstraint('client_id', name=op.f('pk_clients'))
    )
    op.create_table('inbox_events',
    sa.Column('event_id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('producer', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('envelope', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.CheckConstraint("state IN ('received', 'handled', 'parked')", name=op.f('ck_inbox_events_state')),
    sa.PrimaryKeyConstraint('event_id', name=op.f('pk_inbox_events'))
    )
    op.create_index('ix_inbox_events_open', 'inbox_events', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state <> 'handled'"))
    op.create_index(op.f('ix_inbox_events_received_at'), 'inbox_events', ['received_at'], unique=False)
    op.create_table('outbox_events',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('correlation_id', sa.Text(), nullable=True),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox_events'))
    )
    op.create_table('signing_keys',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('kid', sa.Text(), nullable=False),
    sa.Column('alg', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('public_jwk', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('private_key_sealed', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('activated_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('replaced_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('retired_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('next', 'current', 'previous', 'retired')", name=op.f('ck_signing_keys_state')),
    sa.CheckConstraint("state NOT IN ('next', 'current') OR private_key_sealed IS NOT NULL", name=op.f('ck_signing_keys_can_sign')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_signing_keys')),
    sa.UniqueConstraint('kid', name=op.f('uq_signing_keys_kid'))
    )
    op.create_index('uq_signing_keys_in_turn', 'signing_keys', ['alg', 'state'], unique=True, postgresql_where=sa.text("state IN ('next', 'current')"))
    op.create_table('subjects',
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('roles', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('claims', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('revoked_before', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('sub', name=op.f('pk_subjects'))
    )
    op.create_table('client_secrets',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['client_id'], ['clients.client_id'], name=op.f('fk_client_secrets_client_id_clients'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_client_secrets'))
    )
    op.create_index(op.f('ix_client_secrets_client_id'), 'client_secrets', ['client_id'], unique=False)
    op.create_table('consents',
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['client_id'], ['clients.client_id'], name=op.f('fk_consents_client_id_clients'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('sub', 'client_id', name=op.f('pk_consents'))
    )
    op.create_index(op.f('ix_consents_client_id'), 'consents', ['client_id'], unique=False)
    op.create_table('grants',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('sid', sa.Text(), nullable=False),
    sa.Column('is_offline', sa.Boolean(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('auth_time', sa.BigInteger(), nullable=False),
    sa.Column('acr', sa.Text(), nullable=False),
    sa.Column('amr', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('nonce', sa.Text(), nullable=True),
    sa.Column('redirect_uri', sa.Text(), nullable=True),
    sa.Column('code_challenge', sa.Text(), nullable=True),
    sa.Column('code_digest', sa.Text(), nullable=False),
    sa.Column('code_expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('code_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_cause', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['client_id'], ['clients.client_id'], name=op.f('fk_grants_client_id_clients'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_grants')),
    sa.UniqueConstraint('code_digest', name=op.f('uq_grants_code_digest'))
    )
    op.create_index(op.f('ix_grants_client_id'), 'grants', ['client_id'], unique=False)
    op.create_index('ix_grants_sid_live', 'grants', ['sid'], unique=False, postgresql_where=sa.text('ended_at IS NULL'))
    op.create_index('ix_grants_sub_live', 'grants', ['sub'], unique=False, postgresql_where=sa.text('ended_at IS NULL'))
    op.create_table('outbox_deliveries',
    sa.Column('event_id', sa.Uuid(), nullable=False),
    sa.Column('subscriber', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('confirmed_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('pending', 'sent', 'confirmed', 'parked')", name=op.f('ck_outbox_deliveries_state')),
    sa.ForeignKeyConstraint(['event_id'], ['outbox_events.id'], name=op.f('fk_outbox_deliveries_event_id_outbox_events'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('event_id', 'subscriber', name=op.f('pk_outbox_deliveries'))
    )
    op.create_index('ix_outbox_deliveries_due', 'outbox_deliveries', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state IN ('pending', 'sent')"))
    op.create_table('refresh_tokens',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('grant_id', sa.Uuid(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('successor_sealed', sa.Text(), nullable=True),
    sa.Column('predecessor_id', sa.Uuid(), nullable=True),
    sa.ForeignKeyConstraint(['grant_id'], ['grants.id'], name=op.f('fk_refresh_tokens_grant_id_grants'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_refresh_tokens')),
    sa.UniqueConstraint('digest', name=op.f('uq_refresh_tokens_digest'))
    )
    op.create_index(op.f('ix_refresh_tokens_grant_id'), 'refresh_tokens', ['grant_id'], unique=False)
    op.create_index(op.f('ix_refresh_tokens_used_at'), 'refresh_tokens', ['used_at'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_refresh_tokens_used_at'), table_name='refresh_tokens')
    op.drop_index(op.f('ix_refresh_tokens_grant_id'), table_name='refresh_tokens')
    op.drop_table('refresh_tokens')
    op.drop_index('ix_outbox_deliveries_due', table_name='outbox_deliveries', postgresql_where=sa.text("state IN ('pending', 'sent')"))
    op.drop_table('outbox_deliveries')
    op.drop_index('ix_grants_sub_live', table_name='grants', postgresql_where=sa.text('ended_at IS NULL'))
    op.drop_index('ix_grants_sid_live', table_name='grants', postgresql_where=sa.text('ended_at IS NULL'))
    op.drop_index(op.f('ix_grants_client_id'), table_name='grants')
    op.drop_table('grants')
    op.drop_index(op.f('ix_consents_client_id'), table_name='consents')
    op.drop_table('consents')
    op.drop_index(op.f('ix_client_secrets_client_id'), table_name='client_secrets')
    op.drop_table('client_secrets')
    op.drop_table('subjects')
    op.drop_index('uq_signing_keys_in_turn', table_name='signing_keys', postgresql_where=sa.text("state IN ('next', 'current')"))
    op.drop_table('signing_keys')
    op.drop_table('outbox_events')
    op.drop_index(op.f('ix_inbox_events_received_at'), table_name='inbox_events')
    op.drop_index('ix_inbox_events_open', table_name='inbox_events', postgresql_where=sa.text("state <> 'handled'"))
    op.drop_table('inbox_events')
    op.drop_table('clients')
    op.drop_index(op.f('ix_audit_entries_target'), table_name='audit_entries')
    op.drop_index(op.f('ix_audit_entries_created_at'), table_name='audit_entries')
    op.drop_table('audit_entries')
