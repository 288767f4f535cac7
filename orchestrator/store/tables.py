"""The database's tables, for SQLite and PostgreSQL alike.

    sweeps 1 ── n arms 1 ── n runs 1 ── n attempts        workers 1 ── n attempts
                              runs 1 ── n points           sync_marks 1 ── 1 runs (by uid)
    sweeps 1 ── n notices          sweeps n ── n runs (members)          sweeps 1 ── n policies, one of them open
    code and same_code name digests, as runs do
    events name sweeps, runs and workers, and hold none of them back: they outlive deleted ones, and keep their numbers
    from being given again (see store/events.py). database_identity has one row.

Times are seconds since the epoch. JSON is kept as compact text: SQLite has no JSON type, and nothing is
searched in it. Any change here needs a migration in migrations/versions; a test holds the two equal.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex

from orchestrator.queue.notices import NoticeKind
from orchestrator.queue.states import Reason, State

metadata = MetaData()

# SQLite numbers rows by itself only where the type is exactly INTEGER, which is 64 bits wide there.
BIG = BigInteger().with_variant(Integer, "sqlite")

# What a claim may take. The same words stand in the claim's WHERE, so that both engines use the index.
CLAIMABLE = text("state = 'pending' AND NOT paused AND backoff_until IS NULL")
RUNNING = text("state = 'running'")
BACKING_OFF = text("backoff_until IS NOT NULL")
LIVE = text("ended_at IS NULL")
UNDELIVERED = text("delivered_at IS NULL")
OTHER_CODE = text("held <> ''")
OPEN_POLICY = text("ended_at IS NULL")


def _partial_index(name: str, where: TextClause, *columns: Any) -> Index:
    # Not postgresql_where: it loads all of SQLAlchemy's PostgreSQL for whoever only reads an SQLite file.
    return Index(name, *columns, sqlite_where=where, info={"where": where.text})


@compiles(CreateIndex, "postgresql")
def _create_partial_index(create: CreateIndex, compiler: Any, **options: Any) -> str:
    statement = str(compiler.visit_create_index(create, **options))
    where = create.element.info.get("where")
    return f"{statement} WHERE {where}" if where else statement


def _one_of(column: str, values: type[State] | type[Reason] | type[NoticeKind]) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


database_identity = Table(
    "database_identity",
    metadata,
    Column("uid", Text, primary_key=True, doc="random, made with the database: its one row"),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("argv", Text, nullable=False, doc="JSON list"),
    Column("priority", Integer, nullable=False, doc="what runs added later start with"),
    Column("bookkeeping", Text, nullable=False, doc="JSON of queue.runs.Bookkeeping, fixed at submit for all runs"),
    Column("csv_path", Text),
    Column("csv_append", Boolean),
    Column("csv_host", Text),
    Column("wandb_project", Text, nullable=False),
    Column("definition", Text, nullable=False, doc="JSON: how the sweep was asked for"),
    Column("notify_token", Text, nullable=False, server_default="", doc="names the command in its user's own folder"),
    Column("notify_by", Text, nullable=False, server_default="", doc="that user and host, for people"),
    Column("tags", Text, nullable=False, server_default="", doc="with a space before and after each"),
    Column("csv_written", Text, nullable=False, server_default="", doc="the ended runs that the CSV was last given"),
)

arms = Table(
    "arms",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("sweep_id", BIG, ForeignKey("sweeps.id"), nullable=False),
    Column("number", Integer, nullable=False, doc="from 1 within the sweep"),
    Column("key", Text, nullable=False, doc="digest of the settings that are not at their default"),
    Column("settings", Text, nullable=False, doc="JSON of all resolved settings"),
    Column("num_params", BigInteger, nullable=False),
    Column("num_non_embedding_params", BigInteger, nullable=False),
    UniqueConstraint("sweep_id", "number"),
    UniqueConstraint("sweep_id", "key"),
)
Index("arms_by_key", arms.c.key)

workers = Table(
    "workers",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("host", Text, nullable=False, doc="boot id and pid namespace"),
    Column("hostname", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("start_ticks", BigInteger, nullable=False, doc="the process's start time, from the kernel"),
    Column("device", Text, nullable=False),
    Column("device_name", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("program_version", Text, nullable=False),
    Column("job", Text, nullable=False, doc="the cluster's name for it"),
    Column("lease_seconds", Float(53), nullable=False),
    Column("started_at", Float(53), nullable=False),
    Column("beat", BigInteger, nullable=False, doc="only ever grows; judged by change, never by time"),
    Column("beat_at", Float(53), nullable=False, doc="by a server's clock, or a file's host's, for people"),
    Column("ended_at", Float(53)),
    Column("ended_why", Text, nullable=False, server_default=""),
    Column("temperature_celsius", Float(53), doc="of the device at the last beat, where its driver tells"),
    Column("use_percent", Float(53), doc="likewise"),
    Column("memory_bytes", BigInteger, doc="likewise"),
)
_partial_index("workers_live", LIVE, workers.c.host, workers.c.device)

# How devices were over time. A sample takes the place of an older one: see store/working/devices.py.
device_samples = Table(
    "device_samples",
    metadata,
    Column("worker_id", BIG, ForeignKey("workers.id"), primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("at", Float(53), nullable=False),
    Column("temperature_celsius", Float(53)),
    Column("use_percent", Float(53)),
    Column("memory_bytes", BigInteger),
    sqlite_with_rowid=False,
)

runs = Table(
    "runs",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("uid", Text, nullable=False, unique=True, doc="random: survives copies"),
    Column("sweep_id", BIG, ForeignKey("sweeps.id"), nullable=False),
    Column("arm_id", BIG, ForeignKey("arms.id"), nullable=False),
    Column("run_num", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default=State.PENDING.value),
    Column("reason", Text, doc="why the newest attempt ended"),
    Column("priority", Integer, nullable=False, doc="greater is sooner"),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("alone", Boolean, nullable=False, server_default=text("false"), doc="only on a device not shared"),
    Column("backoff_from", Float(53)),
    Column("backoff_until", Float(53)),
    Column("fence", Integer, nullable=False, server_default="0", doc="claims so far"),
    Column("worker_id", BIG, ForeignKey("workers.id"), doc="who holds it; none unless it runs"),
    Column("errors", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("facts", Text, doc="JSON of points.Facts, from the first claim on"),
    Column("checkpoint_path", Text),
    Column("checkpoint_sha256", Text),
    Column("checkpoint_step", BigInteger),
    Column("previous_path", Text),
    Column("previous_sha256", Text),
    Column("previous_step", BigInteger),
    Column("created_at", Float(53), nullable=False),
    Column("started_at", Float(53), doc="first claim"),
    Column("ended_at", Float(53)),
    Column("code", Text, doc="JSON: [digest, step after which its points come, git commit] of each code"),
    Column("held", Text, nullable=False, server_default="", doc="the digest under which it would have gone on"),
    Column("across_code", Boolean, nullable=False, server_default=text("false"), doc="it may go on under any code"),
    Column("note", Text, nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default="", doc="its own, not its sweep's"),
    UniqueConstraint("arm_id", "seed"),
    _one_of("state", State),
    _one_of("reason", Reason),
    CheckConstraint("(state = 'running') = (worker_id IS NOT NULL)", name="held_while_running"),
)
# Counting by sweep and state reads this index alone; id stands last so that pages of one state come in order.
Index("runs_by_state", runs.c.sweep_id, runs.c.state, runs.c.id)
Index("runs_by_sweep", runs.c.sweep_id, runs.c.id)
# sweep_id and alone stand last so that a claim that asks for them still reads only the index.
_partial_index("runs_claimable", CLAIMABLE, runs.c.priority.desc(), runs.c.id, runs.c.sweep_id, runs.c.alone)
_partial_index("runs_held", RUNNING, runs.c.worker_id)
_partial_index("runs_backing_off", BACKING_OFF, runs.c.backoff_until)
_partial_index("runs_of_other_code", OTHER_CODE, runs.c.sweep_id)

# Runs that a sweep left out because another one had completed them. Readers count them in; nothing else does.
members = Table(
    "members",
    metadata,
    Column("sweep_id", BIG, ForeignKey("sweeps.id"), primary_key=True, autoincrement=False),
    Column("run_id", BIG, ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
Index("members_by_run", members.c.run_id)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("run_id", BIG, ForeignKey("runs.id"), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("worker_id", BIG, ForeignKey("workers.id"), nullable=False),
    Column("shared_slots", Integer, nullable=False, doc="workers on the device at the claim, this one counted"),
    Column("started_at", Float(53), nullable=False),
    Column("ended_at", Float(53)),
    Column("reason", Text),
    Column("start_step", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("phase", Text),
    Column("fraction", Float(53), nullable=False, server_default="0"),
    Column("tokens_per_second", Float(53), nullable=False, server_default="0"),
    Column("tokens_seen", BigInteger, nullable=False, server_default="0"),
    Column("memory_bytes", BigInteger, nullable=False, server_default="0"),
    Column("last_train_loss", Text, doc="text, so that nan and inf stay themselves"),
    Column("last_val_loss", Text),
    Column("provenance", Text, nullable=False, server_default="{}", doc="JSON"),
    Column("error_type", Text, nullable=False, server_default=""),
    Column("error_message", Text, nullable=False, server_default=""),
    Column("error_traceback", Text, nullable=False, server_default=""),
    Column("log_path", Text, nullable=False, doc="within the state folder"),
    UniqueConstraint("run_id", "fence"),
    _one_of("reason", Reason),
)
Index("attempts_by_worker", attempts.c.worker_id)
# All that hours are summed from: without reading the rows, which are long.
Index("attempts_spent", *(attempts.c[name] for name in "run_id worker_id started_at ended_at shared_slots".split()))

points = Table(
    "points",
    metadata,
    Column("run_id", BIG, ForeignKey("runs.id"), primary_key=True),
    Column("split", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("fence", Integer, nullable=False, doc="the attempt that wrote it"),
    Column("loss", Float(53)),
    Column("acc", Float(53)),
    Column("pplx", Float(53)),
    Column("cumulative_time", Float(53)),
    Column("tokens_seen", BigInteger, nullable=False),
    Column("epoch", Float(53)),
    Column("batch_size", BigInteger, nullable=False),
    Column("seq_length", Integer, nullable=False),
    Column("lr", Float(53)),
    Column("weight_decay", Float(53)),
    Column("grad_norm", Float(53)),
    Column("microbatches", Integer),
    Column("bits_per_byte", Float(53)),
    Column("extra", Text, doc="JSON: metrics that have no column"),
    Column("nonfinite", Text, doc="JSON: which of the columns are NULL for nan, +inf or -inf"),
    Column("recorded_at", Float(53), doc="when the supervisor received it; NULL before schema 0015"),
    # One tree, in the order in which curves are read.
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("at", Float(53), nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("sweep_id", BIG),
    Column("run_id", BIG),
    Column("worker_id", BIG),
    Column("why", Text, nullable=False, server_default=""),
)
Index("events_by_run", events.c.run_id)
Index("events_by_sweep", events.c.sweep_id)

sync_marks = Table(
    "sync_marks",
    metadata,
    Column("run_uid", Text, ForeignKey("runs.uid"), primary_key=True),
    Column("generation", Integer, nullable=False, server_default="0", doc="grows when a curve is sent anew"),
    Column("last_step", BigInteger, nullable=False, server_default="0", doc="of the last point that W&B took"),
    Column("lease_owner", Text, nullable=False, server_default=""),
    Column("leased_at", Float(53)),
    Column("updated_at", Float(53)),
    Column("rows_sent", BigInteger, nullable=False, server_default="0"),
    Column("planned_step", BigInteger, nullable=False, server_default="0", doc="of the last point about to be sent"),
    Column("planned_fence", Integer, nullable=False, server_default="0", doc="the attempt that wrote that point"),
    Column("told", Text, nullable=False, server_default="", doc="what W&B was told of the run's end"),
)

# The sources of the core, once for each digest that computed something.
code = Table(
    "code",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("first_at", Float(53), nullable=False),
    Column("git_commit", Text, nullable=False, server_default="", doc="with -dirty where the core was edited since"),
    Column("num_files", Integer, nullable=False),
    Column("num_bytes", BigInteger, nullable=False, doc="of all files together"),
    Column("sources", Text, nullable=False, doc="base64 of a compressed tar; empty where they are too large"),
)

same_code = Table(
    "same_code",
    metadata,
    Column("first", Text, primary_key=True),
    Column("second", Text, primary_key=True),
    Column("at", Float(53), nullable=False),
    Column("actor", Text, nullable=False),
    Column("why", Text, nullable=False),
)

# How a sweep grows by itself. Each ending of one of its runs adds to `results`; a step is due while `seen` is another.
policies = Table(
    "policies",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("sweep_id", BIG, ForeignKey("sweeps.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("declared_at", Float(53), nullable=False),
    Column("definition", Text, nullable=False, doc="JSON: what was declared before anything was looked at"),
    Column("version", BigInteger, nullable=False, server_default="0", doc="steps so far"),
    Column("state", Text, nullable=False, server_default="{}", doc="JSON: what the steps wrote"),
    Column("results", BigInteger, nullable=False, server_default="0"),
    Column("seen", BigInteger, nullable=False, server_default="-1", doc="`results` as the last step read it"),
    Column("ended_at", Float(53)),
    Column("ended_why", Text, nullable=False, server_default=""),
)
Index("policies_open", policies.c.sweep_id, unique=True, sqlite_where=OPEN_POLICY, info={"where": OPEN_POLICY.text})

# What `--notify` is to tell, written in the transaction in which it happens.
notices = Table(
    "notices",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("sweep_id", BIG, ForeignKey("sweeps.id"), nullable=False),
    Column("run_id", BIG, ForeignKey("runs.id")),
    Column("fence", Integer, doc="the attempt that failed"),
    Column("happening", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("counts", Text, nullable=False, doc="JSON: the sweep's runs by state at that moment"),
    Column("holder", Text, nullable=False, server_default="", doc="the host that is telling it just now"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default="", doc="of the last try"),
    Column("delivered_at", Float(53)),
    _one_of("happening", NoticeKind),
)
_partial_index("notices_undelivered", UNDELIVERED, notices.c.id)
