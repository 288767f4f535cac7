"""What a comparison keeps of a run. A hundred thousand of them are held at once, and whole records are five times as
large."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparison.measuring.measures import Measured, Reached
from orchestrator.queue.code import CodePart
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import State


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRun:
    """Of the fields of a RunRecord those that a comparison reads, of the same names. `seconds` is what a completed run
    took from its first claim to its end; None for any other."""

    id: int
    sweep_id: int
    arm_key: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    code: Sequence[CodePart]
    run_num: int
    seed: int
    state: State
    fence: int
    seconds: float | None

    @classmethod
    def of(cls, run: RunRecord) -> "ComparedRun":
        """What is kept of a record."""
        seconds = None
        if run.state is State.COMPLETED and run.started_at is not None and run.ended_at is not None:
            seconds = max(0.0, run.ended_at - run.started_at)  # a clock may have been set back
        return cls(
            id=run.id,
            sweep_id=run.sweep_id,
            arm_key=sys.intern(run.arm_key),
            settings=run.settings,
            facts=run.facts,
            code=run.code,
            run_num=run.run_num,
            seed=run.seed,
            state=run.state,
            fence=run.fence,
            seconds=seconds,
        )

    @property
    def kind(self) -> tuple[Any, ...]:
        """All that it can be grouped by. Runs of an arm share it, and by far not every run has one of its own."""
        return id(self.settings), id(self.facts), self.sweep_id, self.code


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """A run with the number that is compared, and when it reached the target (None: never, or none was asked)."""

    run: ComparedRun
    measured: Measured
    reached: Reached | None = None
