"""The runs of a sweep, or of several, as last seen, which of them changed since, and all of it as JSON."""

import itertools
import math
import secrets
import shlex
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.comparison.measuring.compared_runs import ComparedRun
from orchestrator.comparison.measuring.evaluations import refusal_of
from orchestrator.comparison.measuring.groups import SWEEP, evaluated
from orchestrator.comparison.reporting.cautions import code_warnings
from orchestrator.dashboard.metric_names import mixed_evaluations_of, sweep_metrics
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.plots.drawing.style import metric_label
from orchestrator.queue.code import HELD, MIXED, SameCode, parts_up_to
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL, State
from orchestrator.queue.sweeps import ArmRecord, SweepRecord
from orchestrator.status.time_left import hours_spent, seconds_left
from orchestrator.store import Store
from orchestrator.store.known import known_sweep
from orchestrator.store.reading.dashboard import RunLine
from orchestrator.store.rows import read_code
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.definition import swept_axes
from orchestrator.sweep.options import value_text

# What a row of a page's table holds, in this order.
COLUMNS = (
    *("id", "arm", "seed", "state", "reason", "paused", "priority", "waits_until"),
    *("started_at", "ended_at", "step", "fraction", "tokens_per_second", "memory_bytes"),
    *("train_loss", "val_loss", "error", "tags", "code_note"),
)
ESTIMATE_EVERY_SECONDS = 5.0
# What is dear to read of moving runs is read no sooner than AGAIN_SECONDS after, and the later the longer it took.
AGAIN_SECONDS = 5.0
TIMES_ITS_COST = 100.0
# Reading everything again now and then catches changes that made no event.
READ_ANEW_EVERY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class News:
    """What events say of a sweep: runs that were `touched`, those among them that lost points (`rewound`) without a
    change of state or fence, whether the sweep was `restructured` (submitted, extended or renamed), and whether it
    was `reduced` (runs were deleted)."""

    touched: Collection[int] = ()
    rewound: Collection[int] = ()
    restructured: bool = False
    reduced: bool = False


class SweepWatch:
    """What the open pages of one sweep share, or of several that are shown together: then each arm belongs to its
    sweep, which counts as one of its settings. Not safe in several threads: the feed guards it."""

    def __init__(self, sweep_ids: Sequence[int]) -> None:
        self.sweep_ids = tuple(sweep_ids)
        # Versions count from here; a page with another epoch starts over.
        self.epoch = secrets.token_hex(4)
        self.version = 0
        self.lines: dict[int, RunLine] = {}
        # When a run was last moved by anybody (claimed, ended, rewound): its curve must be read again.
        self.moved: dict[int, int] = {}
        self.arms: dict[int, ArmRecord] = {}
        self.settings: dict[int, Mapping[str, Any]] = {}  # of each arm, its sweep not among them
        self.sweeps: Sequence[SweepRecord] = ()
        self.same = SameCode()
        self._changed: dict[int, int] = {}  # run -> version, by rising version
        self._changed_lock = threading.Lock()  # curves read it while a refresh adds to it
        self._running: set[int] = set()
        self.looked_at = -math.inf  # monotonic
        self._read_at = -math.inf
        self._estimated_at = -math.inf
        self._seconds_left: float | None = None
        self._spent = ""
        self._policies: Sequence[tuple[int, int]] = []  # their numbers and versions
        self._growth: Sequence[str] = []
        self._cautions: Sequence[str] = []
        self._metrics: Sequence[str] = []
        self._is_stale = True  # whether runs have moved since these were read
        self._due = -math.inf  # monotonic

    def refresh(self, store: Store, news: "News", *, now: float, tick: float) -> bool:
        """See what changed; returns whether anything did. `now` is in seconds since the epoch, `tick` is monotonic.

        Raises NotThereError if the sweep is gone."""
        self.looked_at = tick
        anew = news.restructured or not self.lines or tick - self._read_at > READ_ANEW_EVERY_SECONDS
        if anew:
            self._read_at = tick
            self._read_arms(store)
            self.same = store.same_code()
            lines = self._read_lines(store)
        else:
            # Runs that were running: their last points may have come after the last refresh.
            moved = sorted({*news.touched, *self._running})
            lines = [line for sweep_id in self.sweep_ids for line in store.moving_lines(sweep_id, moved)]
        changed = [line for line in lines if self.lines.get(line.id) != line]
        has_grown = self._see_growth(store, has_news=anew or bool(news.touched))
        is_other = self._see_surroundings(store, tick, has_moved=bool(changed), anew=anew)
        if not changed and not news.rewound and not anew and not has_grown and not is_other:
            return False
        self.version += 1
        for line in changed:
            before = self.lines.get(line.id)
            if before is None or (before.fence, before.state) != (line.fence, line.state):
                self.moved[line.id] = self.version
            self._note(line.id)
        for run_id in news.rewound:
            self.moved[run_id] = self.version
            self._note(run_id)
        self.lines |= {line.id: line for line in changed}
        running = [line.id for line in lines if line.state == State.RUNNING]
        self._running = set(running)
        if changed or anew:
            self.sweeps = [known_sweep(store, sweep_id) for sweep_id in self.sweep_ids]
        self._estimate(store, now, tick)
        return bool(changed) or has_grown

    def _read_arms(self, store: Store) -> None:
        arms: dict[int, ArmRecord] = {}
        own: dict[int, Mapping[str, Any]] = {}
        for sweep_id in self.sweep_ids:
            for arm in store.arms(sweep_id):
                settings = {SWEEP: sweep_id, **arm.settings} if len(self.sweep_ids) > 1 else arm.settings
                arms.setdefault(arm.id, replace(arm, settings=settings))
                own.setdefault(arm.id, arm.settings)
        self.arms, self.settings = arms, own  # at once: curves read them meanwhile, in other threads

    def _read_lines(self, store: Store) -> list[RunLine]:
        """All runs once: one that a sweep lends to another of them stands under its own."""
        found: dict[int, RunLine] = {}
        for sweep_id in self.sweep_ids:
            for line in store.run_lines(sweep_id):
                if line.sweep_id == sweep_id or line.id not in found:
                    found[line.id] = line
        return list(found.values())

    def _see_growth(self, store: Store, *, has_news: bool) -> bool:
        """See how the sweeps' policies stand; returns whether that is other than before. A policy that goes on has
        another version; whether it waits for a person is up to its runs."""
        records = [record for record in map(store.policy, self.sweep_ids) if record is not None]
        policies = [(record.id, record.version) for record in records]
        if policies == self._policies and not has_news:
            return False
        before, self._policies = self._growth, policies
        standings, option = [standing_of(store, record) for record in records], store.location.option
        self._growth = [line for one in standings for line in standing_lines(one, database_option=option)]
        return self._growth != before

    def _see_surroundings(self, store: Store, tick: float, *, has_moved: bool, anew: bool) -> bool:
        """See, now and then as runs move, which metrics they have and what may not stand side by side; returns whether
        that is other than before.

        What a run trained on is known a while after its claim; a metric comes with the first point that has it."""
        self._is_stale = self._is_stale or has_moved
        if not anew and (not self._is_stale or tick < self._due):
            return False
        before, began = (self._cautions, self._metrics), time.monotonic()
        found = sweep_metrics(store, self.sweep_ids, list(self.arms.values()))
        # Not every point has every metric: one that was seen stays.
        self._metrics = list(dict.fromkeys([*self._metrics, *found]))
        self._cautions = cautions_of(store, self.sweep_ids) if len(self.sweep_ids) > 1 else []
        self._is_stale = False
        self._due = tick + AGAIN_SECONDS + TIMES_ITS_COST * (time.monotonic() - began)
        return (self._cautions, self._metrics) != before

    @property
    def outline(self) -> tuple[Any, ...]:
        """What a page shows of the sweeps besides their runs."""
        return (
            len(self.arms),
            *self._metrics,
            *self._cautions,
            *((sweep.name, sweep.note, *sweep.tags) for sweep in self.sweeps),
        )

    def _note(self, run_id: int) -> None:
        with self._changed_lock:
            self._changed.pop(run_id, None)
            self._changed[run_id] = self.version

    def changed_after(self, version: int) -> list[int]:
        """The runs that changed past `version`, the newest first: the cost is in proportion to their number."""
        with self._changed_lock:
            newest_first = reversed(self._changed.items())
            return [run_id for run_id, _ in itertools.takewhile(lambda item: item[1] > version, newest_first)]

    def _estimate(self, store: Store, now: float, tick: float) -> None:
        if tick - self._estimated_at < ESTIMATE_EVERY_SECONDS:
            return
        self._estimated_at = tick
        self._spent = hours_spent(store, self.sweep_ids)
        is_open = [sweep for sweep in self.sweeps if sweep.is_open]
        left = [seconds for seconds in seconds_left(store, is_open, now).values() if seconds is not None]
        self._seconds_left = sum(left) if left or not is_open else None

    def whole(self) -> Mapping[str, Any]:
        """Everything that a page of the sweep shows first."""
        arms = list(self.arms.values())
        names = list(differing_settings(arm.settings for arm in arms))
        if len(self.sweep_ids) > 1:
            names.insert(0, SWEEP)
        tokenizers = [arm.settings.get("tokenizer") for arm in arms]
        common = {name: value for name, value in (arms[0].settings if arms else {}).items() if name not in names}
        return {
            "sweeps": [sweep_words(sweep) for sweep in self.sweeps],
            "cautions": self._cautions,
            "settings": names,
            "common": {name: None if value is None else value_text(value) for name, value in common.items()},
            "arms": [
                {
                    "id": arm.id,
                    "label": arm_label(arm.settings, names) or "the one arm",
                    "params": arm.num_params,
                    "values": [arm.settings.get(name) for name in names],
                }
                for arm in arms
            ],
            "columns": COLUMNS,
            "metrics": {name: metric_label(name, tokenizers) for name in self._metrics},
            "mixed_evaluations": mixed_evaluations_of(arms),
            **self.changes(since=-1),
        }

    def changes(self, *, since: int) -> dict[str, Any]:
        """The rows that changed past version `since`, with the counts."""
        counts = Counter(line.state for line in self.lines.values())
        return {
            "epoch": self.epoch,
            "version": self.version,
            "counts": {state.value: counts[state] for state in State},
            "seconds_left": self._seconds_left,
            "spent": self._spent,
            "growth": self._growth,
            "rows": [self._row(self.lines[run_id]) for run_id in reversed(self.changed_after(since))],
        }

    def _row(self, line: RunLine) -> list[Any]:
        """A run in the order of COLUMNS. For a pending run, `step` is where its next attempt will start."""
        waits = line.state == State.PENDING
        step = (line.checkpoint_step if waits else line.step) or 0
        mixed = self.same.are_mixed(parts_up_to(read_code(line.code), step))
        error = ": ".join(part for part in (line.error_type, line.error_message) if part)
        notes = [HELD if line.held else MIXED if mixed else ""]
        notes += [] if line.sweep_id in self.sweep_ids else [f"of sweep {line.sweep_id}"]
        return [
            *(line.id, line.arm_id, exact(line.seed), line.state, line.reason, line.paused),
            *(line.priority, line.backoff_until, line.started_at, line.ended_at, step),
            1.0 if line.state == State.COMPLETED else 0.0 if waits else line.fraction or 0.0,
            line.tokens_per_second if line.state in (State.RUNNING, State.COMPLETED) else 0.0,
            line.memory_bytes or 0,
            plain_number(line.last_train_loss),
            plain_number(line.last_val_loss),
            error if line.state not in (State.COMPLETED, State.RUNNING) else "",
            line.tags.strip(),
            ", ".join(filter(None, notes)),
        ]


def sweep_words(sweep: SweepRecord) -> Mapping[str, Any]:
    """A sweep as pages show it."""
    return {
        **named(sweep, "id uid name note tags created_at"),
        "command": shlex.join(sweep.argv),
        "counts": {state.value: count for state, count in sweep.counts.items()},
        "total": sum(sweep.counts.values()),
        "axes": {name: [value_text(one) for one in values] for name, values in swept_axes(sweep.definition).items()},
    }


def named(record: object, names: str) -> dict[str, Any]:
    """The fields of a record that pages call by the same names."""
    return {name: getattr(record, name) for name in names.split()}


def plain_number(value: str | float | None) -> float | str | None:
    """A number as JSON can hold it: those that are not finite as the words `nan`, `inf`, `-inf`."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else str(number)


def exact(number: int) -> int | str:
    """A whole number as JavaScript can hold it: as text where a double would round it."""
    return number if abs(number) < 2**53 else str(number)


def is_over(line: RunLine) -> bool:
    """Whether the run has ended, so that its curve stays as it is."""
    return line.state in TERMINAL


def cautions_of(store: Store, sweep_ids: Sequence[int]) -> list[str]:
    """Why numbers of these sweeps may mean different things, in the words of `hlbq compare`."""
    wanted = RunFilter(sweep_ids=tuple(sweep_ids), with_members=True)
    runs = [ComparedRun.of(run) for run in store.runs(wanted) if run.fence]
    kinds = evaluated(runs, "val_loss")
    refusals = [
        refusal_of(kinds, "val_loss", allow_mixed_data=mixed, allow_mixed_evaluation=not mixed)
        for mixed in (True, False)
    ]
    return [*dict.fromkeys(refusal[0] for refusal in refusals if refusal is not None), *code_warnings(store, runs)]
