"""The first schema.

This file is history: it is never changed, and imports nothing of the program that may change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables and indexes."""
    _events()
    _sweeps()
    _workers()
    _arms()
    _runs()
    _attempts()
    _points()
    _sync_marks()


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", BIG, nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("sweep_id", BIG, nullable=True),
        sa.Column("run_id", BIG, nullable=True),
        sa.Column("worker_id", BIG, nullable=True),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("events_by_run", "events", ["run_id"], unique=False)
    op.create_index("events_by_sweep", "events", ["sweep_id"], unique=False)


def _sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", BIG, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("argv", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("bookkeeping", sa.Text(), nullable=False),
        sa.Column("csv_path", sa.Text(), nullable=True),
        sa.Column("csv_append", sa.Boolean(), nullable=True),
        sa.Column("csv_host", sa.Text(), nullable=True),
        sa.Column("wandb_project", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", BIG, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("start_ticks", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("device_name", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("program_version", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("lease_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.Float(precision=53), nullable=False),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
        sa.Column("ended_why", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "workers_live",
        "workers",
        ["id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _arms() -> None:
    op.create_table(
        "arms",
        sa.Column("id", BIG, nullable=False),
        sa.Column("sweep_id", BIG, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("num_params", sa.BigInteger(), nullable=False),
        sa.Column("num_non_embedding_params", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sweep_id", "key"),
        sa.UniqueConstraint("sweep_id", "number"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("sweep_id", BIG, nullable=False),
        sa.Column("arm_id", BIG, nullable=False),
        sa.Column("run_num", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("backoff_from", sa.Float(precision=53), nullable=True),
        sa.Column("backoff_until", sa.Float(precision=53), nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker_id", BIG, nullable=True),
        sa.Column("errors", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("checkpoint_path", sa.Text(), nullable=True),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=True),
        sa.Column("checkpoint_step", sa.BigInteger(), nullable=True),
        sa.Column("previous_path", sa.Text(), nullable=True),
        sa.Column("previous_sha256", sa.Text(), nullable=True),
        sa.Column("previous_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
        sa.CheckConstraint("(state = 'running') = (worker_id IS NOT NULL)", name="held_while_running"),
        sa.CheckConstraint(
            "reason IN ('finished', 'error', 'oom', 'diverged', 'timeout', 'lost', 'released', 'cancelled')",
            name="reason_is_known",
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'completed', 'failed', 'cancelled')", name="state_is_known"
        ),
        sa.ForeignKeyConstraint(["arm_id"], ["arms.id"]),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"]),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("arm_id", "seed"),
        sa.UniqueConstraint("uid"),
    )
    op.create_index(
        "runs_backing_off",
        "runs",
        ["backoff_until"],
        unique=False,
        sqlite_where=sa.text("backoff_until IS NOT NULL"),
        postgresql_where=sa.text("backoff_until IS NOT NULL"),
    )
    op.create_index("runs_by_state", "runs", ["sweep_id", "state"], unique=False)
    op.create_index(
        "runs_claimable",
        "runs",
        [sa.literal_column("priority DESC"), "id", "sweep_id", "alone"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND NOT paused AND backoff_until IS NULL"),
        postgresql_where=sa.text("state = 'pending' AND NOT paused AND backoff_until IS NULL"),
    )
    op.create_index(
        "runs_held",
        "runs",
        ["worker_id"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker_id", BIG, nullable=False),
        sa.Column("shared_slots", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=False),
        sa.Column("ended_at", sa.Float(precision=53), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("start_step", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("fraction", sa.Float(precision=53), server_default="0", nullable=False),
        sa.Column("tokens_per_second", sa.Float(precision=53), server_default="0", nullable=False),
        sa.Column("tokens_seen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_train_loss", sa.Text(), nullable=True),
        sa.Column("last_val_loss", sa.Text(), nullable=True),
        sa.Column("provenance", sa.Text(), server_default="{}", nullable=False),
        sa.Column("error_type", sa.Text(), server_default="", nullable=False),
        sa.Column("error_message", sa.Text(), server_default="", nullable=False),
        sa.Column("error_traceback", sa.Text(), server_default="", nullable=False),
        sa.Column("log_path", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('finished', 'error', 'oom', 'diverged', 'timeout', 'lost', 'released', 'cancelled')",
            name="reason_is_known",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.ForeignKeyConstraint(["worker_id"], ["workers.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "fence"),
    )
    op.create_index("attempts_by_worker", "attempts", ["worker_id"], unique=False)


def _points() -> None:
    op.create_table(
        "points",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Float(precision=53), nullable=True),
        sa.Column("acc", sa.Float(precision=53), nullable=True),
        sa.Column("pplx", sa.Float(precision=53), nullable=True),
        sa.Column("cumulative_time", sa.Float(precision=53), nullable=True),
        sa.Column("tokens_seen", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Float(precision=53), nullable=True),
        sa.Column("batch_size", sa.BigInteger(), nullable=False),
        sa.Column("seq_length", sa.Integer(), nullable=False),
        sa.Column("lr", sa.Float(precision=53), nullable=True),
        sa.Column("weight_decay", sa.Float(precision=53), nullable=True),
        sa.Column("grad_norm", sa.Float(precision=53), nullable=True),
        sa.Column("microbatches", sa.Integer(), nullable=True),
        sa.Column("bits_per_byte", sa.Float(precision=53), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("nonfinite", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run_id", "split", "step"),
        sqlite_with_rowid=False,
    )


def _sync_marks() -> None:
    op.create_table(
        "sync_marks",
        sa.Column("run_uid", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), server_default="", nullable=False),
        sa.Column("leased_at", sa.Float(precision=53), nullable=True),
        sa.Column("updated_at", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(["run_uid"], ["runs.uid"]),
        sa.PrimaryKeyConstraint("run_uid"),
    )
