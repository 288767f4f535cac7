"""Runs of a sweep in the order of their numbers: every page of them sorted the whole sweep.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the index by state end with the number, and add one of sweep and number alone."""
    op.drop_index("runs_by_state", "runs")
    op.create_index("runs_by_state", "runs", ["sweep_id", "state", "id"])
    op.create_index("runs_by_sweep", "runs", ["sweep_id", "id"])
