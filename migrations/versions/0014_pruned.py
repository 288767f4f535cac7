"""Attempts and runs may end because a search stopped them early: the reason `pruned`.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BEFORE = "'finished', 'error', 'oom', 'diverged', 'timeout', 'lost', 'released', 'cancelled'"
AFTER = f"{BEFORE}, 'pruned'"


def upgrade() -> None:
    """Widen the two checks. No row changes, so SQLite's tables are not copied: only what it keeps as their text."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        for table in ("runs", "attempts"):
            op.drop_constraint("reason_is_known", table)
            op.create_check_constraint("reason_is_known", table, f"reason IN ({AFTER})")
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name IN ('runs', 'attempts')",
        (BEFORE, AFTER),
    )
    # Another version makes every connection read the tables' text again, this one too.
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")
