"""Addresses that are being forgotten, and messages found by address.

Locks: the new table locks nothing that is used; the index keeps writers of messages waiting while it is built, one
scan of that table. The previous release still runs: it reads and writes neither.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("sub", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sub", "email", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_erased_at"), "erasures", ["erased_at"], unique=False)
    op.create_index(
        "ix_messages_recipient", "messages", [sa.literal_column("lower(recipient)")], unique=False
    )


def downgrade() -> None:
    op.drop_index("ix_messages_recipient", table_name="messages")
    op.drop_index(op.f("ix_erasures_erased_at"), table_name="erasures")
    op.drop_table("erasures")
