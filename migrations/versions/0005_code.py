"""Code has an identity: the sources of each digest, digests declared the same, and by which code a run's points came.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two tables and three columns to runs; the code of the runs that there are is in their attempts."""
    op.create_table(
        "code",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("first_at", sa.Float(53), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=False, server_default=""),
        sa.Column("num_files", sa.Integer(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
    )
    op.create_table(
        "same_code",
        sa.Column("first", sa.Text(), primary_key=True),
        sa.Column("second", sa.Text(), primary_key=True),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
    )
    op.add_column("runs", sa.Column("code", sa.Text()))
    op.add_column("runs", sa.Column("held", sa.Text(), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("across_code", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    held = sa.text("held <> ''")
    op.create_index("runs_of_other_code", "runs", ["sweep_id"], sqlite_where=held, postgresql_where=held)
    _fill_code(op.get_bind())


def _fill_code(connection: sa.Connection) -> None:
    attempts = connection.execute(
        sa.text("SELECT run_id, start_step, provenance FROM attempts WHERE provenance <> '{}' ORDER BY run_id, fence")
    )
    parts: dict[int, list[list[Any]]] = {}
    for run_id, start_step, text in attempts:
        provenance = json.loads(text)
        digest = provenance.get("core_digest")
        if not digest:
            continue
        kept = [part for part in parts.get(run_id, []) if part[1] < start_step]
        if not kept or kept[-1][0] != digest:
            commit = str(provenance.get("git_commit") or "")
            kept.append([digest, start_step, f"{commit}-dirty" if commit and provenance.get("git_dirty") else commit])
        parts[run_id] = kept
    written = sa.text("UPDATE runs SET code = :code WHERE id = :id")
    for run_id, found in parts.items():
        connection.execute(written, {"id": run_id, "code": json.dumps(found, separators=(",", ":"))})
