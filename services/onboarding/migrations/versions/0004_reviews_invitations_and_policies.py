"""Reviews with claims, notes and questions; invitations; the policy; how an application ends otherwise.

Locks: applications exclusively while its check is exchanged and its indexes are made, each in one scan of a table that
holds some thousand rows. Safe while the previous release still runs: it never asks for the new columns, the
new unique index serves its ON CONFLICT too, since its states are among those of the new one, and it makes no row of a
new state; an application in one of these is missing in its queue until its pods are replaced.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

STATES = "state IN ('submitted', 'confirmed', 'in_review', 'approved', 'rejected', 'expired', 'withdrawn', 'activated')"
STATES_BEFORE = "state IN ('submitted', 'confirmed', 'approved', 'rejected', 'activated')"
IS_OPEN = "state IN ('submitted', 'confirmed', 'in_review', 'approved')"
NAME_WORDS = (1, 2, 3, 4)
IS_OPEN_BEFORE = "state IN ('submitted', 'confirmed', 'approved')"


def exchange(states: str, is_open: str) -> None:
    """The check of the states, and the index that holds an address to one open application."""
    op.drop_constraint(op.f('ck_applications_state'), 'applications', type_='check')
    op.create_check_constraint(op.f('ck_applications_state'), 'applications', states)
    op.execute('ALTER INDEX uq_applications_open_email RENAME TO uq_applications_open_email_before')
    op.create_index('uq_applications_open_email', 'applications', ['email_folded'], unique=True, postgresql_where=sa.text(is_open))
    op.drop_index('uq_applications_open_email_before', table_name='applications')


def upgrade() -> None:
    op.create_table('invitations',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('email_folded', sa.Text(), nullable=False),
    sa.Column('token_digest', sa.Text(), nullable=False),
    sa.Column('earlier_digests', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('most_uses', sa.Integer(), nullable=False),
    sa.Column('uses', sa.Integer(), nullable=False),
    sa.Column('roles', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('locale', sa.Text(), nullable=False),
    sa.Column('note', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('created_by', sa.Text(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('mailed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('mail_trouble', sa.Text(), nullable=True),
    sa.CheckConstraint('uses <= most_uses', name=op.f('ck_invitations_uses')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitations')),
    sa.UniqueConstraint('token_digest', name=op.f('uq_invitations_token_digest'))
    )
    op.create_index('ix_invitations_email_folded', 'invitations', ['email_folded'], unique=False, postgresql_where=sa.text("email_folded <> ''"))
    op.create_index('ix_invitations_earlier_digests', 'invitations', ['earlier_digests'], unique=False, postgresql_using='gin')
    op.create_table('idempotency_keys',
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('operation', sa.Text(), nullable=False),
    sa.Column('fingerprint', sa.Text(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=False),
    sa.Column('headers', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('digest', name=op.f('pk_idempotency_keys'))
    )
    op.create_index('ix_idempotency_keys_created_at', 'idempotency_keys', ['created_at'], unique=False)
    op.create_table('policies',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('mode', sa.Text(), nullable=False),
    sa.Column('trusted_domains', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('refused_domains', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('most_per_address', sa.Integer(), nullable=False),
    sa.Column('most_per_network', sa.Integer(), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('changed_by', sa.Text(), nullable=False),
    sa.CheckConstraint("mode IN ('open', 'review', 'invitation', 'closed')", name=op.f('ck_policies_mode')),
    sa.CheckConstraint('id = 1', name=op.f('ck_policies_one_row')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_policies'))
    )
    op.create_table('reviewer_choices',
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('mail', sa.Text(), nullable=False),
    sa.Column('last_digest_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("mail IN ('at_once', 'digest', 'never')", name=op.f('ck_reviewer_choices_mail')),
    sa.PrimaryKeyConstraint('sub', name=op.f('pk_reviewer_choices'))
    )
    op.create_table('notes',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('application_id', sa.Uuid(), nullable=False),
    sa.Column('written_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('written_by', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['application_id'], ['applications.id'], name=op.f('fk_notes_application_id_applications'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_notes'))
    )
    op.create_index('ix_notes_application_id', 'notes', ['application_id'], unique=False)
    op.create_table('questions',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('application_id', sa.Uuid(), nullable=False),
    sa.Column('asked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('asked_by', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('answered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('answer', sa.Text(), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['application_id'], ['applications.id'], name=op.f('fk_questions_application_id_applications'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_questions'))
    )
    op.create_index('ix_questions_application_id', 'questions', ['application_id'], unique=False)
    op.create_index('uq_questions_open', 'questions', ['application_id'], unique=True, postgresql_where=sa.text('answered_at IS NULL AND closed_at IS NULL'))
    op.add_column('applications', sa.Column('version', sa.Integer(), server_default='1', nullable=False))
    op.add_column('applications', sa.Column('answers', postgresql.JSONB(astext_type=sa.Text()), server_default='{}', nullable=False))
    op.add_column('applications', sa.Column('terms_version', sa.Text(), nullable=True))
    op.add_column('applications', sa.Column('network', sa.Text(), nullable=True))
    op.add_column('applications', sa.Column('invitation_id', sa.Uuid(), nullable=True))
    op.add_column('applications', sa.Column('roles', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False))
    op.add_column('applications', sa.Column('claimed_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('applications', sa.Column('claimed_by', sa.Text(), nullable=True))
    op.add_column('applications', sa.Column('reason_is_shown', sa.Boolean(), server_default=sa.text('true'), nullable=False))
    op.add_column('applications', sa.Column('directly_activated_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('applications', sa.Column('expired_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('applications', sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('applications', sa.Column('mail_trouble', sa.Text(), nullable=True))
    op.create_index('ix_applications_invitation_id', 'applications', ['invitation_id'], unique=False, postgresql_where=sa.text('invitation_id IS NOT NULL'))
    op.create_index('ix_applications_network_id', 'applications', ['network', 'id'], unique=False, postgresql_where=sa.text('network IS NOT NULL'))
    op.create_index('ix_applications_undecided', 'applications', ['id'], unique=False, postgresql_where=sa.text("state IN ('submitted', 'confirmed', 'in_review')"))
    op.create_index('ix_applications_undecided_since', 'applications', ['confirmed_at'], unique=False, postgresql_where=sa.text("state IN ('submitted', 'confirmed', 'in_review')"))
    op.create_index('ix_applications_email_prefix', 'applications', ['email_folded'], unique=False, postgresql_ops={'email_folded': 'text_pattern_ops'})
    for number in NAME_WORDS:
        op.create_index(f'ix_applications_name_word_{number}', 'applications', [sa.literal_column(f"split_part(lower(name), ' ', {number})").label('word')], unique=False, postgresql_ops={'word': 'text_pattern_ops'})
    op.create_index('ix_applications_domain_id', 'applications', [sa.text("split_part(email_folded, '@', 2)"), 'id'], unique=False)
    op.create_index('ix_applications_why_id', 'applications', [sa.text('left(lower(why), 30)'), 'id'], unique=False)
    op.create_foreign_key(op.f('fk_applications_invitation_id_invitations'), 'applications', 'invitations', ['invitation_id'], ['id'], ondelete='SET NULL')
    op.add_column('people', sa.Column('email', sa.Text(), server_default='', nullable=False))
    op.create_index('ix_people_reviewers', 'people', ['sub'], unique=False, postgresql_where=sa.text("status = 'active' AND roles && '{reviewer,admin}'"))
    exchange(STATES, IS_OPEN)
    op.execute(
        "INSERT INTO policies (id, version, mode, trusted_domains, refused_domains, most_per_address, most_per_network,"
        " changed_at, changed_by) VALUES (1, 1, 'review', '{}', '{}', 5, 50, now(), '')"
    )
    op.create_index('ix_outbox_deliveries_open', 'outbox_deliveries', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state <> 'confirmed'"))
    op.drop_index('ix_outbox_deliveries_due', table_name='outbox_deliveries')


def downgrade() -> None:
    op.create_index('ix_outbox_deliveries_due', 'outbox_deliveries', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state IN ('pending', 'sent')"))
    op.drop_index('ix_outbox_deliveries_open', table_name='outbox_deliveries')
    op.execute("UPDATE applications SET state = CASE WHEN confirmed_at IS NULL THEN 'submitted' ELSE 'confirmed' END WHERE state = 'in_review'")
    op.execute("UPDATE applications SET state = 'rejected' WHERE state IN ('expired', 'withdrawn')")
    exchange(STATES_BEFORE, IS_OPEN_BEFORE)
    op.drop_index('ix_people_reviewers', table_name='people', postgresql_where=sa.text("status = 'active' AND roles && '{reviewer,admin}'"))
    op.drop_index('ix_applications_why_id', table_name='applications')
    op.drop_index('ix_applications_domain_id', table_name='applications')
    for number in NAME_WORDS:
        op.drop_index(f'ix_applications_name_word_{number}', table_name='applications', postgresql_ops={'word': 'text_pattern_ops'})
    op.drop_index('ix_applications_email_prefix', table_name='applications', postgresql_ops={'email_folded': 'text_pattern_ops'})
    op.drop_index('ix_applications_undecided_since', table_name='applications', postgresql_where=sa.text("state IN ('submitted', 'confirmed', 'in_review')"))
    op.drop_column('people', 'email')
    op.drop_constraint(op.f('fk_applications_invitation_id_invitations'), 'applications', type_='foreignkey')
    op.drop_index('ix_applications_undecided', table_name='applications', postgresql_where=sa.text("state IN ('submitted', 'confirmed', 'in_review')"))
    op.drop_index('ix_applications_network_id', table_name='applications', postgresql_where=sa.text('network IS NOT NULL'))
    op.drop_index('ix_applications_invitation_id', table_name='applications', postgresql_where=sa.text('invitation_id IS NOT NULL'))
    op.drop_column('applications', 'mail_trouble')
    op.drop_column('applications', 'withdrawn_at')
    op.drop_column('applications', 'expired_at')
    op.drop_column('applications', 'directly_activated_at')
    op.drop_column('applications', 'reason_is_shown')
    op.drop_column('applications', 'claimed_by')
    op.drop_column('applications', 'claimed_at')
    op.drop_column('applications', 'roles')
    op.drop_column('applications', 'invitation_id')
    op.drop_column('applications', 'network')
    op.drop_column('applications', 'terms_version')
    op.drop_column('applications', 'answers')
    op.drop_column('applications', 'version')
    op.drop_index('uq_questions_open', table_name='questions', postgresql_where=sa.text('answered_at IS NULL AND closed_at IS NULL'))
    op.drop_index('ix_questions_application_id', table_name='questions')
    op.drop_table('questions')
    op.drop_index('ix_notes_application_id', table_name='notes')
    op.drop_table('notes')
    op.drop_table('reviewer_choices')
    op.drop_table('policies')
    op.drop_index('ix_idempotency_keys_created_at', table_name='idempotency_keys')
    op.drop_table('idempotency_keys')
    op.drop_index('ix_invitations_earlier_digests', table_name='invitations', postgresql_using='gin')
    op.drop_index('ix_invitations_email_folded', table_name='invitations', postgresql_where=sa.text("email_folded <> ''"))
    op.drop_table('invitations')
