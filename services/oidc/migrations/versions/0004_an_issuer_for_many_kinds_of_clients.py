"""An issuer for many kinds of clients: their metadata, resources, tokens with rows of their own, logouts, refusals.

Locks: new tables lock nothing that is used, but for a moment `clients` and `grants`, which they refer to. The new
columns have constant defaults or none, so that PostgreSQL rewrites no table. The constraints of `clients` are checked
in one scan of a small table; the three indexes of `grants` keep its writers waiting for a scan each. The previous
release still runs: it reads and writes none of this, every new column fills itself, and what it does not know it
does not offer.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('initial_access_tokens',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('uses_left', sa.Integer(), nullable=True),
    sa.Column('created_by', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_initial_access_tokens')),
    sa.UniqueConstraint('digest', name=op.f('uq_initial_access_tokens_digest'))
    )
    op.create_table('issuer_secrets',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('value_sealed', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_issuer_secrets'))
    )
    op.create_table('refusals',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=True),
    sa.Column('endpoint', sa.Text(), nullable=False),
    sa.Column('error', sa.Text(), nullable=False),
    sa.Column('description', sa.Text(), nullable=True),
    sa.Column('detail', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_refusals'))
    )
    op.create_index('ix_refusals_client_id_id', 'refusals', ['client_id', 'id'], unique=False)
    op.create_index(op.f('ix_refusals_request_id'), 'refusals', ['request_id'], unique=False)
    op.create_table('logout_deliveries',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('sid', sa.Text(), nullable=True),
    sa.Column('cause', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('holds_client', sa.Boolean(), nullable=False),
    sa.Column('give_up_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.Column('correlation_id', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("state IN ('queued', 'sending', 'delivered', 'parked')", name=op.f('ck_logout_deliveries_state')),
    sa.ForeignKeyConstraint(['client_id'], ['clients.client_id'], name=op.f('fk_logout_deliveries_client_id_clients'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_logout_deliveries'))
    )
    op.create_index('ix_logout_deliveries_client_id_id', 'logout_deliveries', ['client_id', 'id'], unique=False)
    op.create_index('ix_logout_deliveries_due', 'logout_deliveries', ['client_id', 'next_attempt_at'], unique=False, postgresql_where=sa.text("state IN ('queued', 'sending')"))
    op.create_index('ix_logout_deliveries_parked', 'logout_deliveries', ['id'], unique=False, postgresql_where=sa.text("state = 'parked'"))
    op.create_table('resources',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('identifier', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('scopes', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('client_id', sa.Text(), nullable=True),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['client_id'], ['clients.client_id'], name=op.f('fk_resources_client_id_clients'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_resources')),
    sa.UniqueConstraint('identifier', name=op.f('uq_resources_identifier'))
    )
    op.create_index(op.f('ix_resources_client_id'), 'resources', ['client_id'], unique=False)
    op.create_table('access_tokens',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=True),
    sa.Column('grant_id', sa.Uuid(), nullable=True),
    sa.Column('client_id', sa.Text(), nullable=False),
    sa.Column('scope', sa.Text(), nullable=False),
    sa.Column('audience', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['grant_id'], ['grants.id'], name=op.f('fk_access_tokens_grant_id_grants'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_access_tokens')),
    sa.UniqueConstraint('digest', name=op.f('uq_access_tokens_digest'))
    )
    op.create_index('ix_access_tokens_expires_at', 'access_tokens', ['expires_at'], unique=False)
    op.create_index('ix_access_tokens_grant_id', 'access_tokens', ['grant_id'], unique=False, postgresql_where=sa.text('grant_id IS NOT NULL'))
    op.add_column('client_secrets', sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('signing_keys', sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('signing_keys', sa.Column('is_imported', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('client_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('logo_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('policy_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('tos_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('contacts', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('clients', sa.Column('software_id', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('software_version', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('jwks', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column('clients', sa.Column('jwks_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('token_endpoint_auth_signing_alg', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('request_object_signing_alg', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('request_uris', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('clients', sa.Column('require_pushed_authorization_requests', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('require_signed_request_object', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('subject_type', sa.Text(), server_default='public', nullable=False))
    op.add_column('clients', sa.Column('sector_identifier_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('id_token_signed_response_alg', sa.Text(), server_default='RS256', nullable=False))
    op.add_column('clients', sa.Column('userinfo_signed_response_alg', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('access_token_format', sa.Text(), server_default='jwt', nullable=False))
    op.add_column('clients', sa.Column('access_token_signing_alg', sa.Text(), server_default='ES256', nullable=False))
    op.add_column('clients', sa.Column('claims_mapping', postgresql.JSONB(astext_type=sa.Text()), server_default='{}', nullable=False))
    op.add_column('clients', sa.Column('allowed_roles', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('clients', sa.Column('initiate_login_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('default_max_age', sa.Integer(), nullable=True))
    op.add_column('clients', sa.Column('require_auth_time', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('default_acr_values', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('clients', sa.Column('backchannel_logout_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('backchannel_logout_session_required', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('frontchannel_logout_uri', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('frontchannel_logout_session_required', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('clients', sa.Column('registration_token_digest', sa.Text(), nullable=True))
    op.add_column('clients', sa.Column('registered_with', sa.Uuid(), nullable=True))
    op.add_column('clients', sa.Column('version', sa.Integer(), server_default='1', nullable=False))
    op.create_unique_constraint(op.f('uq_clients_registration_token_digest'), 'clients', ['registration_token_digest'])
    op.create_index('ix_clients_created_at_client_id', 'clients', ['created_at', 'client_id'], unique=False)
    op.drop_constraint(op.f('ck_clients_auth_method'), 'clients', type_='check')
    op.create_check_constraint(op.f('ck_clients_auth_method'), 'clients', "auth_method IN ('client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none')")
    op.create_check_constraint(op.f('ck_clients_subject_type'), 'clients', "subject_type IN ('public', 'pairwise')")
    op.create_check_constraint(op.f('ck_clients_access_token_format'), 'clients', "access_token_format IN ('jwt', 'opaque')")
    op.add_column('grants', sa.Column('kind', sa.Text(), server_default='authorization_code', nullable=False))
    op.add_column('grants', sa.Column('resources', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('grants', sa.Column('claims_request', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column('grants', sa.Column('told_at', sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f('ck_grants_kind'), 'grants', "kind IN ('authorization_code', 'device_code')")
    op.create_index('ix_grants_ended_at', 'grants', ['ended_at'], unique=False, postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.create_index('ix_grants_expires_at', 'grants', ['expires_at'], unique=False)
    op.create_index('ix_grants_unredeemed', 'grants', ['code_expires_at'], unique=False, postgresql_where=sa.text('code_used_at IS NULL'))


def downgrade() -> None:
    op.drop_index('ix_grants_unredeemed', table_name='grants', postgresql_where=sa.text('code_used_at IS NULL'))
    op.drop_index('ix_grants_expires_at', table_name='grants')
    op.drop_index('ix_grants_ended_at', table_name='grants', postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.drop_constraint(op.f('ck_grants_kind'), 'grants', type_='check')
    op.drop_column('grants', 'told_at')
    op.drop_column('grants', 'claims_request')
    op.drop_column('grants', 'resources')
    op.drop_column('grants', 'kind')
    op.drop_index('ix_clients_created_at_client_id', table_name='clients')
    op.drop_constraint(op.f('uq_clients_registration_token_digest'), 'clients', type_='unique')
    op.drop_constraint(op.f('ck_clients_access_token_format'), 'clients', type_='check')
    op.drop_constraint(op.f('ck_clients_subject_type'), 'clients', type_='check')
    op.execute("DELETE FROM clients WHERE auth_method = 'private_key_jwt'")
    op.drop_constraint(op.f('ck_clients_auth_method'), 'clients', type_='check')
    op.create_check_constraint(op.f('ck_clients_auth_method'), 'clients', "auth_method IN ('client_secret_basic', 'client_secret_post', 'none')")
    op.drop_column('clients', 'version')
    op.drop_column('clients', 'registered_with')
    op.drop_column('clients', 'registration_token_digest')
    op.drop_column('clients', 'frontchannel_logout_session_required')
    op.drop_column('clients', 'frontchannel_logout_uri')
    op.drop_column('clients', 'backchannel_logout_session_required')
    op.drop_column('clients', 'backchannel_logout_uri')
    op.drop_column('clients', 'default_acr_values')
    op.drop_column('clients', 'require_auth_time')
    op.drop_column('clients', 'default_max_age')
    op.drop_column('clients', 'initiate_login_uri')
    op.drop_column('clients', 'allowed_roles')
    op.drop_column('clients', 'claims_mapping')
    op.drop_column('clients', 'access_token_signing_alg')
    op.drop_column('clients', 'access_token_format')
    op.drop_column('clients', 'userinfo_signed_response_alg')
    op.drop_column('clients', 'id_token_signed_response_alg')
    op.drop_column('clients', 'sector_identifier_uri')
    op.drop_column('clients', 'subject_type')
    op.drop_column('clients', 'require_signed_request_object')
    op.drop_column('clients', 'require_pushed_authorization_requests')
    op.drop_column('clients', 'request_uris')
    op.drop_column('clients', 'request_object_signing_alg')
    op.drop_column('clients', 'token_endpoint_auth_signing_alg')
    op.drop_column('clients', 'jwks_uri')
    op.drop_column('clients', 'jwks')
    op.drop_column('clients', 'software_version')
    op.drop_column('clients', 'software_id')
    op.drop_column('clients', 'contacts')
    op.drop_column('clients', 'tos_uri')
    op.drop_column('clients', 'policy_uri')
    op.drop_column('clients', 'logo_uri')
    op.drop_column('clients', 'client_uri')
    # The release before reads no others.
    op.execute("DELETE FROM signing_keys WHERE alg NOT IN ('RS256', 'ES256')")
    op.drop_column('signing_keys', 'is_imported')
    op.drop_column('signing_keys', 'withdrawn_at')
    op.drop_column('client_secrets', 'last_used_at')
    op.drop_index('ix_access_tokens_grant_id', table_name='access_tokens', postgresql_where=sa.text('grant_id IS NOT NULL'))
    op.drop_index('ix_access_tokens_expires_at', table_name='access_tokens')
    op.drop_table('access_tokens')
    op.drop_index(op.f('ix_resources_client_id'), table_name='resources')
    op.drop_table('resources')
    op.drop_index('ix_logout_deliveries_parked', table_name='logout_deliveries', postgresql_where=sa.text("state = 'parked'"))
    op.drop_index('ix_logout_deliveries_due', table_name='logout_deliveries', postgresql_where=sa.text("state IN ('queued', 'sending')"))
    op.drop_index('ix_logout_deliveries_client_id_id', table_name='logout_deliveries')
    op.drop_table('logout_deliveries')
    op.drop_index(op.f('ix_refusals_request_id'), table_name='refusals')
    op.drop_index('ix_refusals_client_id_id', table_name='refusals')
    op.drop_table('refusals')
    op.drop_table('issuer_secrets')
    op.drop_table('initial_access_tokens')
