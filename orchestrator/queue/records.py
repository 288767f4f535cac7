"""What the store takes and gives: frozen values, no SQL and no logic.

Times are seconds since the epoch (UTC) by the writer's wall clock: for people, never to judge a lease.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from hlbgpt_core.points import Phase, Point, SavedCheckpoint
from orchestrator.queue.code import CodePart
from orchestrator.queue.states import Limits, NoticeKind, Reason, Spent, State


@dataclass(frozen=True, kw_only=True)
class Bookkeeping:
    """What a run needs in addition to its settings; fixed at submit, one JSON column of the run."""

    checkpoint_every_seconds: float = 60.0
    keep_checkpoints: bool = False
    keep_best: bool = False
    stall_timeout_seconds: float = 600.0
    resume_across_code: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class NewArm:
    """One combination of resolved settings, with the sizes that follow from it."""

    key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """One arm (by its place in the sweep's list) with one seed. `run_num` counts from 1."""

    arm: int
    run_num: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class EverySeed(Sequence[NewRun]):
    """The runs of `arms` arms with each of `num_runs` seeds, seed by seed, without an object in memory for each.

    Run k (from 1) of every arm has seed `first_seed + k - 1`.
    """

    arms: int
    first_seed: int
    num_runs: int

    def __len__(self) -> int:
        return self.arms * self.num_runs

    @overload
    def __getitem__(self, place: int) -> NewRun: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[NewRun]: ...

    def __getitem__(self, place: int | slice) -> NewRun | Sequence[NewRun]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        seed, arm = divmod(range(len(self))[place], self.arms)
        return NewRun(arm=arm, run_num=seed + 1, seed=self.first_seed + seed)


@dataclass(frozen=True, kw_only=True)
class CsvTarget:
    """The CSV that a `-c` sweep keeps up to date, by the host that submitted it."""

    path: str
    append: bool
    host: str


@dataclass(frozen=True, kw_only=True)
class CsvState:
    """How the CSV of a `-c` sweep stands. `ended` names its ended runs, `written` those that the file was last given;
    both are empty for none.

    `taken_by` is the later sweep that the file belongs to, None while this one may write. `later` are the numbers of
    all later sweeps on the file.
    """

    sweep_id: int
    target: CsvTarget
    ended: str
    written: str
    taken_by: int | None = None
    later: Sequence[int] = ()

    @property
    def behind(self) -> bool:
        """Whether the file lacks rows that it should hold."""
        return self.taken_by is None and self.ended not in ("", self.written)


@dataclass(frozen=True, kw_only=True)
class NotifyMark:
    """Says that a sweep's user wants notices. The command itself stays in the user's own folder, under `token`.

    `by` names user and host, for people.
    """

    token: str
    by: str


# The kinds of policies.
DECIDE = "decide"
SEARCH = "search"
# Why a policy ended that was replaced by another.
AGAIN = "declared again"


@dataclass(frozen=True, kw_only=True)
class NewPolicy:
    """How a sweep is to grow by itself: what kind of policy, and what is declared (JSON)."""

    kind: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NewSweep:
    """What one submit makes. `runs` are in the order of their future numbers; `members` are the numbers of runs of
    other sweeps that stand for runs left out."""

    name: str = ""
    note: str = ""
    argv: Sequence[str] = ()
    arms: Sequence[NewArm] = ()
    runs: Sequence[NewRun] = ()
    members: Sequence[int] = ()
    priority: int = 0
    bookkeeping: Bookkeeping = field(default_factory=Bookkeeping)
    csv: CsvTarget | None = None
    wandb_project: str = ""
    definition: Mapping[str, Any] = field(default_factory=dict)
    notify: NotifyMark | None = None
    policy: NewPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """A sweep as stored, with its runs counted by state."""

    id: int
    uid: str
    name: str
    note: str
    created_at: float
    argv: Sequence[str]
    csv: CsvTarget | None
    wandb_project: str
    definition: Mapping[str, Any]
    counts: Mapping[State, int]
    notify_by: str = ""
    tags: Sequence[str] = ()

    @property
    def is_open(self) -> bool:
        """Whether runs are pending or running."""
        return bool(self.counts[State.PENDING] + self.counts[State.RUNNING])


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRecord:
    """An arm as stored: `number` counts from 1 within its sweep."""

    id: int
    number: int
    key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A run as stored, its arm's settings and its newest attempt's progress with it. `tags` are its own and its
    sweep's.

    Readers hold a hundred thousand of them: the runs of an arm share their settings, and equal facts, bookkeeping and
    code are one object too.
    """

    id: int
    uid: str
    sweep_id: int
    arm_id: int
    arm_number: int
    arm_key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int
    run_num: int
    seed: int
    state: State
    reason: Reason | None
    priority: int
    paused: bool
    alone: bool
    backoff_until: float | None
    fence: int
    spent: Spent
    bookkeeping: Bookkeeping
    facts: Mapping[str, Any]
    checkpoint: SavedCheckpoint | None
    previous_checkpoint: SavedCheckpoint | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    worker_id: int | None
    step: int
    last_train_loss: float | None
    last_val_loss: float | None
    tokens_per_second: float
    fraction: float
    phase: Phase | None
    error_type: str
    error_message: str
    tokens_seen: int = 0
    memory_bytes: int = 0
    code: Sequence[CodePart] = ()
    held: str = ""
    across_code: bool = False
    note: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One try at a run."""

    id: int
    run_id: int
    fence: int
    worker_id: int
    started_at: float
    ended_at: float | None
    reason: Reason | None
    start_step: int
    step: int
    shared_slots: int
    provenance: Mapping[str, Any]
    error_type: str
    error_message: str
    error_traceback: str
    log_path: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is recorded of where and with what attempts ran, and of how many runs these are the newest."""

    provenance: Mapping[str, Any]
    shared_slots: int
    runs: int


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """Who a worker is. `host` is boot id and pid namespace: pids are unique only within it.

    `start_ticks` is the process's start time from the kernel, so a reused pid is recognised.
    """

    host: str
    hostname: str
    pid: int
    start_ticks: int
    device: str
    device_name: str = ""
    slot: int = 0
    slots: int = 1
    program_version: str = ""
    job: str = ""


@dataclass(frozen=True, kw_only=True)
class DeviceReading:
    """What a device's driver reports; None if it reports nothing."""

    temperature_celsius: float | None = None
    use_percent: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceSample:
    """How a device was at a moment (seconds since the epoch), as a worker on it saw it."""

    hostname: str
    device: str
    device_name: str
    at: float
    reading: DeviceReading


@dataclass(frozen=True, kw_only=True)
class DeviceHours:
    """What attempts took of devices, in hours; of a device with several slots, each has its part. `other`: no GPUs."""

    gpu: float = 0.0
    other: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker as stored. `ended_at` is None while it lives; `beat` only ever grows."""

    id: int
    identity: WorkerIdentity
    started_at: float
    beat: int
    beat_at: float
    lease_seconds: float
    ended_at: float | None
    ended_why: str
    run_id: int | None
    reading: DeviceReading = field(default_factory=DeviceReading)

    def silent(self, now: float) -> bool:
        """Whether its last beat is older than its lease, by the clock that says `now`: for people, never to judge."""
        return self.ended_at is None and now - self.beat_at > self.lease_seconds


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Which of the live workers one of them looks after: all of its `host`, and a `share` (0 to 1) of the others.

    Workers lie on a circle by a hash of their number; the share is the arc that begins at `start` (0 to 1).
    """

    host: str
    share: float
    start: float


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write for a run: it holds while the run of this number and uid is running under this fence."""

    run_id: int
    run_uid: str
    fence: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A run taken by a worker, with all that the trainer needs."""

    lease: Lease
    run: RunRecord
    log_path: str


@dataclass(frozen=True, kw_only=True)
class Live:
    """What a flush says of the attempt, apart from its points; the newest replaces the last."""

    phase: Phase
    step: int
    fraction: float = 0.0
    tokens_per_second: float = 0.0
    tokens_seen: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended, and its last points, written in one transaction.

    `permanent` says that another try would end the same way, so an error is not retried.
    """

    reason: Reason
    permanent: bool = False
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""
    points: Sequence[Point] = ()
    live: Live | None = None


@dataclass(frozen=True, kw_only=True)
class ReceivedPoint(Point):
    """A point with the time at which the supervisor received it."""

    recorded_at: float


@dataclass(frozen=True, kw_only=True)
class StoredPoint:
    """A point with the run and the attempt's fence that it belongs to."""

    run_id: int
    fence: int
    point: Point


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Who moved what, when and why."""

    id: int
    at: float
    actor: str
    action: str
    sweep_id: int | None
    run_id: int | None
    worker_id: int | None
    why: str


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs a command means. Empty fields do not restrict; all that are set must hold. Of several `tags` one is
    enough, on the run or on its sweep.

    `with_members`, which readers set, takes the members of `sweep_ids` for runs of theirs: runs of other sweeps that
    --skip_existing left out.
    """

    sweep_ids: tuple[int, ...] = ()
    run_ids: tuple[int, ...] = ()
    states: tuple[State, ...] = ()
    reasons: tuple[Reason, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    with_members: bool = False

    @property
    def takes_whole_sweeps(self) -> bool:
        """Whether nothing but `sweep_ids` restricts it."""
        return not (self.run_ids or self.states or self.reasons or self.where or self.tags)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What `delete` removes, or removed. `sweeps` are those that go with their last run; `on_wandb` counts the runs of
    which W&B holds points."""

    run_ids: Sequence[int]
    sweeps: Sequence[int]
    points: int
    on_wandb: int


@dataclass(frozen=True, kw_only=True)
class CompletedRun:
    """What makes a completed run the same as another. Texts are empty where nothing is known."""

    arm_key: str
    seed: int
    data_fingerprint: str
    code: tuple[CodePart, ...]


@dataclass(frozen=True, kw_only=True)
class CodeRecord:
    """The core of one digest, as kept. `sources` is empty where they were too large."""

    digest: str
    first_at: float
    git_commit: str
    num_files: int
    num_bytes: int
    sources: str


@dataclass(frozen=True, kw_only=True)
class DeviceEnding:
    """How one attempt on a device ended, for judging the device."""

    run_id: int
    arm_id: int
    reason: Reason
    error_type: str = ""
    error_message: str = ""


@dataclass(frozen=True, kw_only=True)
class ArmMemory:
    """An arm that waits, and the most memory that a run of it held; 0 where nobody measured."""

    settings: Mapping[str, Any]
    num_params: int
    measured_bytes: int


@dataclass(frozen=True, kw_only=True)
class DatabaseInfo:
    """What `hlbq db info` shows of a database. `size_bytes` counts SQLite's log too."""

    location: str
    dialect: str
    engine_version: str
    schema_version: str
    size_bytes: int
    rows: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class SyncMark:
    """How far a run was sent to W&B. Points are counted in rows: by step, `train` before `val`.

    `planned_step` and `planned_fence` name the last point that was ever about to be sent, and the attempt that wrote
    it; `told` is what W&B knows of the run's end. A change of `leased_at` shows that the holder lives.
    """

    generation: int = 0
    rows_sent: int = 0
    last_step: int = 0
    planned_step: int = 0
    planned_fence: int = 0
    told: str = ""
    lease_owner: str = ""
    leased_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sendable:
    """A run and its final points, by step and split. `ending` is empty until it has ended."""

    run: RunRecord
    points: Sequence[StoredPoint]
    ending: str


# How often a notice's command is tried automatically; after that a person has to retry it.
NOTICE_TRIES = 3
# Its actor in the events.
NOTIFIER = "notify"
# The action in the events that outlive what was deleted.
DELETE = "delete"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to report to a sweep's user.

    `counts` are the sweep's runs by state when it happened. A notice belongs to its `holder` (a host) while `tries`
    keeps changing; `token` names the command.
    """

    id: int
    sweep_id: int
    run_id: int | None
    fence: int | None
    kind: NoticeKind
    at: float
    counts: Mapping[State, int]
    holder: str
    tries: int
    error: str
    token: str
    by: str

    @property
    def given_up(self) -> bool:
        """Whether it is only tried again on request."""
        return not self.holder and self.tries >= NOTICE_TRIES


@dataclass(frozen=True, kw_only=True)
class PolicyRecord:
    """How a sweep grows, as stored: what was declared, what its steps wrote, and whether one is due.

    `version` counts steps; `results` counts endings of the sweep's runs and what people did to them. `ended_why` is
    empty while the policy may still add runs.
    """

    id: int
    sweep_id: int
    kind: str
    definition: Mapping[str, Any]
    version: int
    state: Mapping[str, Any]
    results: int
    is_due: bool
    ended_at: float | None
    ended_why: str


@dataclass(frozen=True, kw_only=True)
class PolicyStep:
    """What one step of a policy writes, if the policy still is at `version`.

    `results` is the policy's number when the results were read. `runs` are arm keys and seeds that the sweep should
    have; `arms` are those that it may lack, and `members` are completed runs of other sweeps that it takes as they are.
    `events` are sentences for people. `ended_why` ends the policy, and `successor` is declared in its place.
    """

    policy_id: int
    version: int
    results: int
    state: Mapping[str, Any]
    arms: Sequence[NewArm] = ()
    runs: Sequence[tuple[str, int]] = ()
    members: Sequence[int] = ()
    events: Sequence[str] = ()
    ended_why: str = ""
    successor: NewPolicy | None = None
