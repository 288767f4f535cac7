"""What `--notify` is to tell and whether it was told; temperature and use of the workers' devices.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table for notices, two columns to sweeps and two to workers."""
    op.add_column("sweeps", sa.Column("notify_token", sa.Text(), nullable=False, server_default=""))
    op.add_column("sweeps", sa.Column("notify_by", sa.Text(), nullable=False, server_default=""))
    op.add_column("workers", sa.Column("temperature_celsius", sa.Float(53)))
    op.add_column("workers", sa.Column("use_percent", sa.Float(53)))
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "notices",
        sa.Column("id", big, primary_key=True),
        sa.Column("sweep_id", big, sa.ForeignKey("sweeps.id"), nullable=False),
        sa.Column("run_id", big, sa.ForeignKey("runs.id")),
        sa.Column("fence", sa.Integer()),
        sa.Column("happening", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False, server_default=""),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("error", sa.Text(), nullable=False, server_default=""),
        sa.Column("delivered_at", sa.Float(53)),
        sa.CheckConstraint("happening IN ('sweep_ended', 'run_failed')", name="happening_is_known"),
    )
    undelivered = sa.text("delivered_at IS NULL")
    op.create_index("notices_undelivered", "notices", ["id"], sqlite_where=undelivered, postgresql_where=undelivered)
