"""What a sync to W&B needs to know besides the last step sent.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add four columns to sync_marks."""
    op.add_column("sync_marks", sa.Column("rows_sent", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("sync_marks", sa.Column("planned_step", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("sync_marks", sa.Column("planned_fence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("sync_marks", sa.Column("told", sa.Text(), nullable=False, server_default=""))
