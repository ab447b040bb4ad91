"""Messages with their attempts, the members' languages, the mailbox; audit, outbox and inbox.

Locks: none that anybody waits for, the tables are new. No previous release runs beside it.
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
    op.create_table('messages',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('deduplication_key', sa.Text(), nullable=False),
    sa.Column('header_id', sa.Text(), nullable=False),
    sa.Column('template', sa.Text(), nullable=False),
    sa.Column('recipient', sa.Text(), nullable=False),
    sa.Column('locale', sa.Text(), nullable=False),
    sa.Column('sealed_context', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('last_attempt', sa.Integer(), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('correlation_id', sa.Text(), nullable=True),
    sa.CheckConstraint("state IN ('queued', 'sending', 'sent', 'failed')", name=op.f('ck_messages_state')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_messages')),
    sa.UniqueConstraint('deduplication_key', name=op.f('uq_messages_deduplication_key'))
    )
    op.create_index('ix_messages_due', 'messages', ['due_at'], unique=False, postgresql_where=sa.text("state IN ('queued', 'sending')"))
    op.create_index('ix_messages_state_id', 'messages', ['state', 'id'], unique=False)
    op.create_table('outbox_events',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('correlation_id', sa.Text(), nullable=True),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox_events'))
    )
    op.create_table('recipients',
    sa.Column('sub', sa.Text(), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('locale', sa.Text(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('sub', name=op.f('pk_recipients'))
    )
    op.create_index(op.f('ix_recipients_email'), 'recipients', ['email'], unique=False)
    op.create_table('attempts',
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('duration_ms', sa.Integer(), nullable=True),
    sa.Column('result', sa.Text(), nullable=True),
    sa.Column('answer', sa.Text(), nullable=True),
    sa.CheckConstraint("result IN ('sent', 'deferred', 'unreachable', 'refused', 'unwritable', 'lost')", name=op.f('ck_attempts_result')),
    sa.ForeignKeyConstraint(['message_id'], ['messages.id'], name=op.f('fk_attempts_message_id_messages'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('message_id', 'number', name=op.f('pk_attempts'))
    )
    op.create_index(op.f('ix_attempts_started_at'), 'attempts', ['started_at'], unique=False)
    op.create_table('mailbox',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('recipient', sa.Text(), nullable=False),
    sa.Column('sealed_content', sa.Text(), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['message_id'], ['messages.id'], name=op.f('fk_mailbox_message_id_messages'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mailbox')),
    sa.UniqueConstraint('message_id', name=op.f('uq_mailbox_message_id'))
    )
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


def downgrade() -> None:
    op.drop_index('ix_outbox_deliveries_due', table_name='outbox_deliveries', postgresql_where=sa.text("state IN ('pending', 'sent')"))
    op.drop_table('outbox_deliveries')
    op.drop_table('mailbox')
    op.drop_index(op.f('ix_attempts_started_at'), table_name='attempts')
    op.drop_table('attempts')
    op.drop_index(op.f('ix_recipients_email'), table_name='recipients')
    op.drop_table('recipients')
    op.drop_table('outbox_events')
    op.drop_index('ix_messages_state_id', table_name='messages')
    op.drop_index('ix_messages_due', table_name='messages', postgresql_where=sa.text("state IN ('queued', 'sending')"))
    op.drop_table('messages')
    op.drop_index(op.f('ix_inbox_events_received_at'), table_name='inbox_events')
    op.drop_index('ix_inbox_events_open', table_name='inbox_events', postgresql_where=sa.text("state <> 'handled'"))
    op.drop_table('inbox_events')
    op.drop_index(op.f('ix_audit_entries_target'), table_name='audit_entries')
    op.drop_index(op.f('ix_audit_entries_created_at'), table_name='audit_entries')
    op.drop_table('audit_entries')
