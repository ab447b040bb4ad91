"""The relay looks at parked deliveries too: it asks about them until they could be handled after all.

Locks: building the index keeps writers of deliveries waiting for one scan of a week of them; dropping the old one
takes a moment.
The previous release still runs: the new index serves its queries as well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OPEN = sa.text("state <> 'confirmed'")
DUE = sa.text("state IN ('pending', 'sent')")


def upgrade() -> None:
    op.create_index(
        "ix_outbox_deliveries_open", "outbox_deliveries", ["next_attempt_at"], unique=False, postgresql_where=OPEN
    )
    op.drop_index("ix_outbox_deliveries_due", table_name="outbox_deliveries", postgresql_where=DUE)


def downgrade() -> None:
    op.create_index(
        "ix_outbox_deliveries_due", "outbox_deliveries", ["next_attempt_at"], unique=False, postgresql_where=DUE
    )
    op.drop_index("ix_outbox_deliveries_open", table_name="outbox_deliveries", postgresql_where=OPEN)
