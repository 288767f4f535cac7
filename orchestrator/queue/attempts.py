"""Attempts at runs: the claim, the right to write, what a flush and an ending tell, and what is stored.

Times are seconds since the epoch (UTC) by the writer's wall clock: for people, never to judge a lease.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason


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
class Ending:
    """How an attempt ended.

    `permanent` says that another try would end the same way, so an error is not retried.
    """

    reason: Reason
    permanent: bool = False
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""


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
