"""Sweeps that grow by themselves: what was declared, and what the steps wrote.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the type is exactly INTEGER.
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table; no sweep has a policy yet."""
    op.create_table(
        "policies",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("sweep_id", BIG, sa.ForeignKey("sweeps.id"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("declared_at", sa.Float(53), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("state", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("results", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("seen", sa.BigInteger(), nullable=False, server_default="-1"),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("ended_why", sa.Text(), nullable=False, server_default=""),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "policies_open", "policies", ["sweep_id"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
