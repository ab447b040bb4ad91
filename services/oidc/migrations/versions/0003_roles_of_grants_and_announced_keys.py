"""The roles of the sign-in behind a grant, and which set of public keys the other services were told of.

Locks: the new column has a constant default, so that PostgreSQL rewrites no table and holds its lock for a moment;
the new table locks nothing that is used. The previous release still runs: it leaves the roles empty, which opens
less, and reads none of this.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "grants", sa.Column("roles", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)
    )
    op.create_table(
        "announced_keys",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_announced_keys_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announced_keys")),
    )


def downgrade() -> None:
    op.drop_table("announced_keys")
    op.drop_column("grants", "roles")
