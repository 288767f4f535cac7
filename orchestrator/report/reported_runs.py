"""What a report says of a sweep's runs, gathered in one reading."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import State


@dataclass(frozen=True, kw_only=True)
class ReportedRuns:
    """What a page says of the runs, gathered as they are read: their records are not held.

    `listed` are the first ones, `kinds` one of each arm, `ids` the numbers of all by their arm's key, `states` counts,
    `facts` what is recorded of devices and data, once for all that share it.
    """

    listed: Sequence[RunRecord]
    kinds: Collection[RunRecord]
    ids: Mapping[str, Sequence[int]]
    states: Mapping[State, int]
    facts: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, runs: Iterable[RunRecord], *, listed: int) -> "ReportedRuns":
        """What is kept of these; `listed` of them are whole."""
        first: list[RunRecord] = []
        kinds: dict[int, RunRecord] = {}
        ids: dict[str, list[int]] = {}
        states: Counter[State] = Counter()
        facts: dict[int, Mapping[str, Any]] = {}
        for run in runs:
            if len(first) < listed:
                first.append(run)
            kinds.setdefault(id(run.settings), run)
            ids.setdefault(run.arm_key, []).append(run.id)
            states[run.state] += 1
            if run.facts:
                facts.setdefault(id(run.facts), run.facts)
        return cls(listed=first, kinds=kinds.values(), ids=ids, states=states, facts=[*facts.values()])

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.states.values())

    def ids_of(self, arms: Iterable[str]) -> list[int]:
        """The numbers of the runs of these arms."""
        return sorted(itertools.chain.from_iterable(self.ids[arm] for arm in arms))
