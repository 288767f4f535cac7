"""A sweep remembers the runs of other sweeps that it left out because they were completed before.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and its index; nothing is known of the sweeps that there are."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "members",
        sa.Column("sweep_id", big, sa.ForeignKey("sweeps.id"), primary_key=True, autoincrement=False),
        sa.Column("run_id", big, sa.ForeignKey("runs.id"), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_index("members_by_run", "members", ["run_id"])
