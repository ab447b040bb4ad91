"""Grants are found by person, ended ones too: for their own data, and for erasing it.

Locks: building the index keeps writers of grants waiting for one scan of that table; dropping the old one takes a
moment. The previous release still runs: the new index serves its queries as well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_grants_sub"), "grants", ["sub"], unique=False)
    op.drop_index("ix_grants_sub_live", table_name="grants", postgresql_where=sa.text("ended_at IS NULL"))


def downgrade() -> None:
    op.create_index(
        "ix_grants_sub_live", "grants", ["sub"], unique=False, postgresql_where=sa.text("ended_at IS NULL")
    )
    op.drop_index(op.f("ix_grants_sub"), table_name="grants")
