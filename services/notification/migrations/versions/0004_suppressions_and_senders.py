"""Addresses that are written to no more, what providers report, who asked for a mail, states between waiting and failed.

Locks: messages exclusively while its check is exchanged and six indexes are made, one scan each. Safe while the
previous release still runs: it leaves the new columns to their defaults; what a new worker deferred is taken up by new
workers, and sooner or later there are only these.
"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

STATES = "state IN ('queued', 'sending', 'sent', 'deferred', 'failed', 'parked', 'suppressed', 'held')"
STATES_BEFORE = "state IN ('queued', 'sending', 'sent', 'failed')"
WAITS = "state IN ('queued', 'sending', 'deferred')"
STANDS = "state IN ('failed', 'parked', 'suppressed')"
WAITS_BEFORE = "state IN ('queued', 'sending')"


def exchange(states: str, waits: str) -> None:
    """The check of the states, and the index of what is due."""
    op.drop_constraint(op.f('ck_messages_state'), 'messages', type_='check')
    op.create_check_constraint(op.f('ck_messages_state'), 'messages', states)
    op.drop_index('ix_messages_due', table_name='messages')
    op.create_index('ix_messages_due', 'messages', ['due_at'], unique=False, postgresql_where=sa.text(waits))


def upgrade() -> None:
    op.create_table('suppressions',
    sa.Column('email', sa.Text(collation='C'), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("reason IN ('refused', 'bounced', 'complained')", name=op.f('ck_suppressions_reason')),
    sa.PrimaryKeyConstraint('email', name=op.f('pk_suppressions'))
    )
    op.create_index(op.f('ix_suppressions_created_at'), 'suppressions', ['created_at'], unique=False)
    op.create_table('reports',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('is_permanent', sa.Boolean(), nullable=False),
    sa.Column('detail', sa.Text(), nullable=True),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("type IN ('bounced', 'complained', 'delivered')", name=op.f('ck_reports_type')),
    sa.ForeignKeyConstraint(['message_id'], ['messages.id'], name=op.f('fk_reports_message_id_messages'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_reports'))
    )
    op.create_index('ix_reports_message_id_id', 'reports', ['message_id', 'id'], unique=False)
    op.create_table('taken_feedback',
    sa.Column('webhook_id', sa.Text(), nullable=False),
    sa.Column('taken_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('webhook_id', name=op.f('pk_taken_feedback'))
    )
    op.create_index(op.f('ix_taken_feedback_taken_at'), 'taken_feedback', ['taken_at'], unique=False)
    op.add_column('messages', sa.Column('asked_by', sa.Text(), server_default='', nullable=False))
    op.create_index('ix_messages_correlation_id', 'messages', ['correlation_id'], unique=False)
    op.create_index('ix_messages_template_id', 'messages', ['template', 'id'], unique=False)
    op.create_index(
        'ix_messages_address', 'messages', [sa.literal_column('lower(recipient) text_pattern_ops'), 'id'], unique=False
    )
    op.drop_index('ix_messages_recipient', table_name='messages')
    op.create_index('ix_messages_recipient', 'messages', [sa.literal_column('lower(recipient)'), 'sent_at'], unique=False)
    exchange(STATES, WAITS)
    op.create_index('ix_messages_standing', 'messages', ['id'], unique=False, postgresql_where=sa.text(STANDS))
    op.create_index('ix_outbox_deliveries_open', 'outbox_deliveries', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state <> 'confirmed'"))
    op.drop_index('ix_outbox_deliveries_due', table_name='outbox_deliveries')


def downgrade() -> None:
    op.create_index('ix_outbox_deliveries_due', 'outbox_deliveries', ['next_attempt_at'], unique=False, postgresql_where=sa.text("state IN ('pending', 'sent')"))
    op.drop_index('ix_outbox_deliveries_open', table_name='outbox_deliveries')
    op.drop_index('ix_messages_standing', table_name='messages')
    op.drop_index('ix_messages_address', table_name='messages')
    op.execute("UPDATE messages SET state = 'queued' WHERE state IN ('deferred', 'held')")
    op.execute("UPDATE messages SET state = 'failed' WHERE state IN ('parked', 'suppressed')")
    exchange(STATES_BEFORE, WAITS_BEFORE)
    op.drop_index('ix_messages_recipient', table_name='messages')
    op.create_index('ix_messages_recipient', 'messages', [sa.literal_column('lower(recipient)')], unique=False)
    op.drop_index('ix_messages_template_id', table_name='messages')
    op.drop_index('ix_messages_correlation_id', table_name='messages')
    op.drop_column('messages', 'asked_by')
    op.drop_table('taken_feedback')
    op.drop_table('reports')
    op.drop_table('suppressions')
