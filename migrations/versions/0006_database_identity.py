"""A database has a uid of its own, made with it: one that was removed and made again under the same name is another.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of one row."""
    identity = op.create_table("database_identity", sa.Column("uid", sa.Text(), primary_key=True))
    op.bulk_insert(identity, [{"uid": uuid.uuid4().hex}])
