"""Sweeps: what a submit makes and what is stored of it: arms with their seeds, policies, the CSV kept up to date."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.runs import Bookkeeping
from orchestrator.queue.states import State

# The kinds of policies: how a sweep grows by itself.
DECIDE = "decide"
SEARCH = "search"
# Why a policy ended that was replaced by another.
AGAIN = "declared again"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewArm:
    """One combination of resolved settings, with the sizes that follow from it."""

    key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRecord(NewArm):
    """An arm as stored: `number` counts from 1 within its sweep."""

    id: int
    number: int


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """One arm (by its place in the sweep's list) with one seed. `run_num` counts from 1."""

    arm: int
    run_num: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class EverySeed:
    """The runs of `arms` arms with each of `num_runs` seeds, seed by seed, without an object in memory for each.

    Run k (from 1) of every arm has seed `first_seed + k - 1`.
    """

    arms: int
    first_seed: int
    num_runs: int

    def __len__(self) -> int:
        return self.arms * self.num_runs

    def __iter__(self) -> Iterator[NewRun]:
        for seed, arm in itertools.product(range(self.num_runs), range(self.arms)):
            yield NewRun(arm=arm, run_num=seed + 1, seed=self.first_seed + seed)


@dataclass(frozen=True, kw_only=True)
class NewPolicy:
    """How a sweep is to grow by itself: what kind of policy, and what is declared (JSON)."""

    kind: str
    definition: Mapping[str, Any]


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
    """What one step of a policy writes, if nobody took a step of it since it was `read`, before the results were.

    `runs` are arm keys and seeds that the sweep should have; `arms` are those that it may lack, and `members` are
    completed runs of other sweeps that it takes as they are. `events` are sentences for people. `ended_why` ends the
    policy, and `successor` is declared in its place.
    """

    read: PolicyRecord
    state: Mapping[str, Any]
    arms: Sequence[NewArm] = ()
    runs: Sequence[tuple[str, int]] = ()
    members: Sequence[int] = ()
    events: Sequence[str] = ()
    ended_why: str = ""
    successor: NewPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class CsvTarget:
    """The CSV that a `-c` sweep keeps up to date, by the host that submitted it."""

    path: str
    append: bool
    host: str


@dataclass(frozen=True, kw_only=True)
class NewSweep:
    """What one submit makes. `runs` are in the order of their future numbers; `members` are the numbers of runs of
    other sweeps that stand for runs left out."""

    name: str = ""
    note: str = ""
    argv: Sequence[str] = ()
    arms: Sequence[NewArm] = ()
    runs: Sequence[NewRun] | EverySeed = ()
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
