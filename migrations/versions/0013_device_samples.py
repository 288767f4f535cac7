"""How devices were over time: use, memory and temperature.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the type is exactly INTEGER.
BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the table and the memory of a worker's device; nothing is known of the past."""
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger()))
    op.create_table(
        "device_samples",
        sa.Column("worker_id", BIG, sa.ForeignKey("workers.id"), primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("temperature_celsius", sa.Float(53)),
        sa.Column("use_percent", sa.Float(53)),
        sa.Column("memory_bytes", sa.BigInteger()),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_spent", "attempts", ["run_id", "worker_id", "started_at", "ended_at", "shared_slots"])
