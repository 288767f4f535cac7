"""Arms by their key: submit asks for those of a plan in every sweep there ever was.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("arms_by_key", "arms", ["key"])
