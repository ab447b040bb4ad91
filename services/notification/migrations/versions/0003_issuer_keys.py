"""The issuer's public keys, as its events bring them; access tokens at our APIs are verified with them.

Locks nothing that is used: the table is new. The previous release still runs: it does not know it, and parks the
event that fills it, which the new release takes up when it is tried again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issuer_keys",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("jwks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_issuer_keys_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer_keys")),
    )


def downgrade() -> None:
    op.drop_table("issuer_keys")
