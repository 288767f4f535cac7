"""Sweeps: what a submit makes, what is stored of it, and the CSV that a sweep keeps up to date."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.queue.arms import NewArm, NewRun
from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.policies import NewPolicy
from orchestrator.queue.runs import Bookkeeping
from orchestrator.queue.states import State


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
