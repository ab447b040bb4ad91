"""Applications are found by the account that they became: for a person's own data, and for erasing it.

Locks: building the index keeps writers of applications waiting for one scan of that table. The previous release
still runs: it does not notice.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_applications_sub",
        "applications",
        ["sub"],
        unique=False,
        postgresql_where=sa.text("sub IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_applications_sub", table_name="applications", postgresql_where=sa.text("sub IS NOT NULL")
    )
