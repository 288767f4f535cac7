"""When a point was received: the wall clock as a place of curves.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of the points that are there, nobody knows."""
    op.add_column("points", sa.Column("recorded_at", sa.Float(53)))
