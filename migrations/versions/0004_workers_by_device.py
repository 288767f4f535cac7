"""Live workers by host and device: a claim counts its neighbours, and read every live worker for it.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the index of live workers begin with their host and device."""
    op.drop_index("workers_live", "workers")
    live = sa.text("ended_at IS NULL")
    op.create_index("workers_live", "workers", ["host", "device"], sqlite_where=live, postgresql_where=live)
