"""Policies: how a sweep grows by itself, as declared, as stored, and what one step writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.queue.arms import NewArm

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
