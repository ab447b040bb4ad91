"""Which mail did not reach a person; parked events are asked about.

Locks: the columns are added without a scan; building the index keeps writers of deliveries waiting for one scan of a
week of them; dropping the old one takes a moment.
The previous release still runs: the new index serves its queries as well, and it leaves the new columns to their defaults.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

OPEN = sa.text("state <> 'confirmed'")
DUE = sa.text("state IN ('pending', 'sent')")


def upgrade() -> None:
    op.create_index(
        "ix_outbox_deliveries_open", "outbox_deliveries", ["next_attempt_at"], unique=False, postgresql_where=OPEN
    )
    op.drop_index("ix_outbox_deliveries_due", table_name="outbox_deliveries", postgresql_where=DUE)
    op.add_column("users", sa.Column("mail_trouble", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("mail_trouble_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("password_links", sa.Column("made_anew", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("password_links", "made_anew")
    op.drop_column("users", "mail_trouble_at")
    op.drop_column("users", "mail_trouble")
    op.create_index(
        "ix_outbox_deliveries_due", "outbox_deliveries", ["next_attempt_at"], unique=False, postgresql_where=DUE
    )
    op.drop_index("ix_outbox_deliveries_open", table_name="outbox_deliveries", postgresql_where=OPEN)
