"""What the CSV of a `-c` sweep was last given: rows that a killed worker did not write are then known to be missing.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column. Files of before count as up to date: their users may have moved them since."""
    op.add_column("sweeps", sa.Column("csv_written", sa.Text(), nullable=False, server_default=""))
    ended = "runs.sweep_id = sweeps.id AND runs.state IN ('completed', 'failed', 'cancelled')"
    op.execute(
        "UPDATE sweeps SET csv_written = "
        f"(SELECT CAST(count(*) AS TEXT) || ' ' || CAST(sum(fence) AS TEXT) FROM runs WHERE {ended}) "
        "WHERE csv_path IS NOT NULL "
        f"AND EXISTS (SELECT 1 FROM runs JOIN points ON points.run_id = runs.id WHERE {ended})"
    )
