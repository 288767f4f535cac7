"""The overview: all sweeps, and what takes reading to say of each: its best value, verdicts, hours, the time left."""

import math
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from hlbgpt_core.errors import HlbqError
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import counts_of_verdicts
from orchestrator.comparison.results import compare
from orchestrator.dashboard.answers import event_words
from orchestrator.dashboard.metric_names import mixed_evaluations_of
from orchestrator.dashboard.watching.sweep_watch import sweep_words
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.status.reading import MOST_SWEEPS_LISTED
from orchestrator.status.time_left import hours_spent, seconds_left
from orchestrator.store import Store

MOST_SWEEPS = 500
NEWEST_EVENTS = 15
# A refresh reads for this long; the next one goes on. A sweep is read again no sooner than AGAIN_SECONDS, and the later
# the longer it took.
READING_SECONDS = 0.2
AGAIN_SECONDS = 10.0
TIMES_ITS_COST = 100.0
# Verdicts of more runs take seconds: their sweep's own page has them.
MOST_RUNS_COMPARED = 2_000
LEFT_EVERY_SECONDS = 5.0


class _SweepReading(NamedTuple):
    """What was read of a sweep when its runs and its open policy stood so, and from when on (monotonic) it may be read
    again."""

    counts: Mapping[State, int]
    policy: tuple[int, int] | None
    due: float
    words: Mapping[str, Any]


class OverviewWatch:
    """What all pages of the overview share. Not safe in several threads: the feed guards it."""

    def __init__(self) -> None:
        self._readings: dict[int, _SweepReading] = {}
        self._touched: set[int] = set()  # sweeps with events since they were read
        self._policies: Mapping[int, tuple[int, int]] = {}  # by sweep, number and version of the open one
        self._left: Mapping[int, float | None] = {}
        self._left_at = -math.inf

    def touch(self, sweep_ids: Collection[int]) -> None:
        """Have these sweeps read again: what was done to them may leave the counts as they are (a pause)."""
        self._touched |= set(sweep_ids)

    def words(self, store: Store, *, now: float, tick: float) -> dict[str, Any]:
        """All sweeps, newest first, the number of live workers, the newest events. `tick` is monotonic."""
        sweeps = store.sweeps()[::-1]
        shown, workers = sweeps[:MOST_SWEEPS], len(store.workers())
        self._read(store, shown, tick)
        if tick >= self._left_at + LEFT_EVERY_SECONDS:
            self._left_at = tick
            self._left = seconds_left(store, [sweep for sweep in shown if sweep.is_open][:MOST_SWEEPS_LISTED], now)
        return {
            "sweeps": [
                {
                    **sweep_words(sweep),
                    "seconds_left": self._left.get(sweep.id) if sweep.is_open else None,
                    **(self._readings[sweep.id].words if sweep.id in self._readings else {}),
                }
                for sweep in shown
            ],
            "sweeps_left_out": len(sweeps) - len(shown),
            "workers": workers,
            "events": [event_words(event) for event in store.events(limit=NEWEST_EVENTS)],
        }

    def _read(self, store: Store, sweeps: list[SweepRecord], tick: float) -> None:
        """Read the sweeps whose runs have moved, those that were never read first."""
        self._readings = {sweep.id: self._readings[sweep.id] for sweep in sweeps if sweep.id in self._readings}
        self._policies = {one.sweep_id: (one.id, one.version) for one in store.policies(only_open=True)}
        stale = [sweep for sweep in sweeps if self._is_due(sweep, tick)]
        end = time.monotonic() + READING_SECONDS
        for sweep in sorted(stale, key=lambda one: one.id in self._readings):
            began = time.monotonic()
            if began > end:
                return
            words = {
                "spent": hours_spent(store, [sweep.id]),
                "best": _best(store, sweep),
                "verdict": _verdict(store, sweep),
            }
            due = tick + AGAIN_SECONDS + TIMES_ITS_COST * (time.monotonic() - began)
            self._readings[sweep.id] = _SweepReading(sweep.counts, self._policies.get(sweep.id), due, words)
            self._touched.discard(sweep.id)

    def _is_due(self, sweep: SweepRecord, tick: float) -> bool:
        found = self._readings.get(sweep.id)
        if found is None:
            return True
        moves = bool(sweep.counts[State.RUNNING]) or sweep.id in self._touched
        stood, stands = (found.counts, found.policy), (sweep.counts, self._policies.get(sweep.id))
        return tick >= found.due and (moves or stood != stands)


def _best(store: Store, sweep: SweepRecord) -> Mapping[str, Any] | None:
    """The lowest last val loss of a sweep's completed runs, and whose; None where losses can't be compared."""
    found = store.best_run(sweep.id)
    if found is None:
        return None
    arms = store.arms(sweep.id)
    texts = {(arm.settings.get("dataset"), arm.settings.get("tokenizer")) for arm in arms}
    if mixed_evaluations_of(arms) or len(texts) > 1:
        return None
    return {"run": found.id, "val_loss": found.last_val_loss}


def _verdict(store: Store, sweep: SweepRecord) -> str:
    """How the sweep's policy stands, or how its arms compare with its baseline so far; empty where nothing does."""
    record = store.policy(sweep.id)
    if record is not None:
        option = store.location.option
        lines = standing_lines(standing_of(store, record), with_arms=False, database_option=option)
        return "; ".join(line.strip().removeprefix(f"sweep {sweep.id}: ") for line in lines)
    if sum(sweep.counts.values()) > MOST_RUNS_COMPARED:
        return ""
    try:
        comparison = compare(store, RunFilter(sweep_ids=(sweep.id,), with_members=True), Question())
    except HlbqError:
        return ""
    return counts_of_verdicts(comparison) if comparison.all_contrasts else ""
