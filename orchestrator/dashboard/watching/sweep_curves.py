"""The curves of a sweep, for one question: each run is read once, then only its new points."""

import itertools
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.comparison.measuring.groups import preferred
from orchestrator.comparison.measuring.measures import Goal, goal_of
from orchestrator.dashboard.watching.arm_means import ArmMeans, MeanCurve
from orchestrator.dashboard.watching.run_readings import SAME_SETTINGS, CurveQuestion, RunReading, read_points
from orchestrator.dashboard.watching.sweep_watch import SweepWatch, exact, is_over
from orchestrator.dashboard.watching.thinning import drawn, numbers
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import ArmRecord
from orchestrator.store import Store
from orchestrator.store.reading.dashboard import RunLine

# A call reads for this long at most. The next call reads the rest, and the page says so.
READING_SECONDS = 0.25
RUNS_AT_A_TIME = 25
LIVE_EVERY_SECONDS = 1.0
MOST_ARMS = 40
MOST_SEED_CURVES = 150
MOST_SEED_POINTS = 300


class SweepCurves:
    """Means by line (an arm, or several that share a setting) and curves by seed of one question.

    A line's number is that of its first arm. Calls wait for each other.
    """

    def __init__(self, question: CurveQuestion) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._lines: dict[int, int] = {}  # arm -> line
        self._means: dict[int, Sequence[ArmMeans]] = {}  # of the metric, and of x if that is a metric
        self._curves: dict[int, MeanCurve | None] = {}
        self._lost: dict[int, dict[int, Sequence[Any]]] = {}  # line -> run -> how and where it was lost
        self._without_clock: set[int] = set()  # runs of which no point says when it was recorded
        self._settled: dict[int, int] = {}  # run -> the move after which it was read for good
        self._live: dict[int, RunReading] = {}
        self._waiting: dict[int, None] = {}  # runs that are not running and still have to be read, in order
        self._repeated: frozenset[int] = frozenset()  # runs that others of their arm and seed stand for
        self._sorted_to = -1
        self._read_at = -math.inf
        self._changed: dict[int, int] = {}  # line -> the version at which its curve last changed
        self._seeds: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self._version = 0

    def means(
        self, store: Store, watch: SweepWatch, *, arms: Sequence[int], since: int, best: int = MOST_ARMS
    ) -> dict[str, Any]:
        """Mean and band of the lines of `arms` that changed past version `since`, and which lines to draw.

        Of more than `best` lines those are drawn that end best; with a `best` of 0 the first MOST_ARMS.
        """
        with self._lock:
            left = self._read(store, watch)
            for line in [line for line, at in self._changed.items() if at == self._version and line in self._means]:
                self._curves[line] = _joined(*(means.curve() for means in self._means[line]))
            asked = list(dict.fromkeys(self._lines.get(arm, arm) for arm in arms))
            shown = self._shown(watch, asked, best)
            return {
                "version": self._version,
                "left": left,
                "started": sum(1 for line in list(watch.lines.values()) if line.fence),
                "lines_asked": len(asked),
                "lines": shown,
                "without_clock": sorted(self._without_clock),
                "repeated": len(self._repeated),
                "curves": [
                    _mean_words(line, self._curves.get(line), list(self._lost.get(line, {}).values()))
                    for line in shown
                    if self._changed.get(line, 0) > since
                ],
            }

    def _shown(self, watch: SweepWatch, lines: Sequence[int], best: int) -> list[int]:
        """The lines to draw, in their order; of two that end alike the first. Those without a curve or a run's true end
        come last."""
        most = best or MOST_ARMS
        if len(lines) <= most or not best:
            return list(lines[:most])
        sign = -1.0 if goal_of(self._question.metric) is Goal.HIGHER else 1.0

        pruned = {self._line(line) for line in list(watch.lines.values()) if line.reason == Reason.PRUNED}

        def rank(line: int) -> tuple[bool, float]:
            curve = self._curves.get(line)
            is_last = curve is None or bool(self._lost.get(line)) or line in pruned
            return is_last, sign * float(curve.mean[-1]) if curve else 0.0

        chosen = set(sorted(lines, key=rank)[:most])
        return [line for line in lines if line in chosen]

    def seeds(self, store: Store, watch: SweepWatch, *, arms: Sequence[int]) -> dict[str, Any]:
        """The single runs of `arms`, thinned; of very many runs the first seeds of each arm."""
        with self._lock:
            own: dict[int, list[RunLine]] = {arm: [] for arm in arms}
            for line in list(watch.lines.values()):
                if line.fence and line.arm_id in own and line.id not in self._repeated:
                    own[line.arm_id].append(line)
            by_turns = itertools.chain.from_iterable(itertools.zip_longest(*own.values()))
            lines = [line for line in by_turns if line is not None]
            chosen = lines[:MOST_SEED_CURVES]
            self._read_seeds(store, watch, chosen)
            curves = [{"run": line.id, "line": self._line(line), **self._seeds[line.id][1]} for line in chosen]
            return {"runs_asked": len(lines), "runs_shown": len(chosen), "curves": curves}

    def _read(self, store: Store, watch: SweepWatch) -> int:
        """Read what is new, for at most READING_SECONDS; returns how many runs are left to read.

        Running runs are read once in LIVE_EVERY_SECONDS, however many pages ask.
        """
        now = time.monotonic()
        if not self._waiting and now < self._read_at + LIVE_EVERY_SECONDS:
            return 0
        self._version += 1
        self._sort_out(watch)
        if now >= self._read_at + LIVE_EVERY_SECONDS:
            self._read_at = now
            for run_id in list(self._live):
                self._read_live(store, watch, watch.lines[run_id])
        while self._waiting:
            batch = [watch.lines[run_id] for run_id in itertools.islice(self._waiting, RUNS_AT_A_TIME)]
            readings = self._read_whole(store, watch, batch)
            for line in batch:
                del self._waiting[line.id]
                self._settle(watch, line, readings.get(line.id, RunReading(question=self._question, moved=0)))
            if time.monotonic() > now + READING_SECONDS:
                break
        return len(self._waiting)

    def _settle(self, watch: SweepWatch, line: RunLine, reading: RunReading) -> None:
        # A pending run may have points from an earlier attempt.
        self._average(line, reading, is_final=is_over(line))
        if is_over(line):
            self._settled[line.id] = watch.moved.get(line.id, 0)
        self._note(line, reading)

    def _average(self, line: RunLine, reading: RunReading, *, is_final: bool) -> None:
        """Put the curve into the means of its line; one that is not final is replaced later."""
        x, *curves = reading.curves()
        every = self._means.setdefault(self._line(line), [ArmMeans() for _ in curves])
        for means, y in zip(every, curves, strict=True):
            (means.settle if is_final else means.update)(line.id, x, y)

    def _note(self, line: RunLine, reading: RunReading) -> None:
        """Note that a line has changed, and where a run of it was lost to it: it diverged, or ended without a value."""
        lost = self._lost.setdefault(self._line(line), {})
        has_diverged = reading.diverged or line.reason == Reason.DIVERGED
        without_clock = reading.unplaced and not reading.x
        (self._without_clock.add if without_clock else self._without_clock.discard)(line.id)
        if not without_clock and (has_diverged or (is_over(line) and not reading.x)):
            x, y = (numbers(array[-1:]) or [None] for array in reading.drawn())
            lost[line.id] = [line.id, exact(line.seed), has_diverged, *x, *y]
        else:
            lost.pop(line.id, None)
        self._changed[self._line(line)] = self._version

    def _sort_out(self, watch: SweepWatch) -> None:
        """Sort the changed runs: running ones are live, the others wait to be read once.

        A run that ended and then moved again (a retry) cannot be taken out of a sum: its line is read again.
        """
        if len(self._lines) != len(watch.arms):
            self._lines = _lines_by(list(watch.arms.values()), self._question.by)
        version = watch.version
        changed = [watch.lines[run_id] for run_id in watch.changed_after(self._sorted_to)]
        self._sorted_to = version
        stale = {
            self._line(line)
            for line in changed
            if line.id in self._settled and watch.moved.get(line.id, 0) > self._settled[line.id]
        }
        # A single sweep has each seed of an arm once.
        joins_sweeps = bool(self._question.by) and len(watch.sweep_ids) > 1
        before, self._repeated = self._repeated, _repeated(watch) if joins_sweeps else frozenset()
        stale |= {self._line(watch.lines[run_id]) for run_id in before ^ self._repeated if run_id in watch.lines}
        if stale:
            changed = [*changed, *(line for line in list(watch.lines.values()) if self._line(line) in stale)]
        for place in stale:
            for kept in (self._means, self._curves, self._lost):
                kept.pop(place, None)
            self._changed[place] = self._version
        for line in changed:
            if self._line(line) in stale:
                self._settled.pop(line.id, None)
                self._live.pop(line.id, None)
            counts = self._question.arms is None or line.arm_id in self._question.arms
            if line.id in self._repeated:
                self._waiting.pop(line.id, None)
            if not line.fence or line.id in self._settled or line.id in self._repeated or not counts:
                continue
            if line.state == State.RUNNING:
                self._waiting.pop(line.id, None)
                self._live.setdefault(line.id, self._reading(watch, line, moved=-1))
            else:
                self._live.pop(line.id, None)
                self._waiting[line.id] = None

    def _read_live(self, store: Store, watch: SweepWatch, line: RunLine) -> None:
        moved = watch.moved.get(line.id, 0)
        reading = self._live[line.id]
        if reading.moved != moved:
            # Its newest attempt may have gone back to a checkpoint: what was read past that is void.
            reading = self._live[line.id] = self._reading(watch, line, moved=moved)
        before = len(reading.x)
        reading.add(read_points(store, self._question, [line.id], after_step=reading.last_step))
        if len(reading.x) != before or not before:
            self._average(line, reading, is_final=False)
            self._note(line, reading)

    def _read_whole(self, store: Store, watch: SweepWatch, lines: Sequence[RunLine]) -> dict[int, RunReading]:
        found: dict[int, RunReading] = {}
        by_id = {line.id: line for line in lines}
        for run_id, points in itertools.groupby(
            read_points(store, self._question, list(by_id)), key=lambda point: point.run_id
        ):
            found[run_id] = self._reading(watch, by_id[run_id], moved=0)
            found[run_id].add(points)
        return found

    def _reading(self, watch: SweepWatch, line: RunLine, *, moved: int) -> RunReading:
        return RunReading(
            question=self._question,
            moved=moved,
            read_x=self._question.axis.reader(watch.settings[line.arm_id], line.started_at),
        )

    def _read_seeds(self, store: Store, watch: SweepWatch, lines: Sequence[RunLine]) -> None:
        """Bring the kept curves of these runs up to date: those that ended are read once."""

        def held(line: RunLine) -> bool:
            return line.id in self._seeds and is_over(line) and self._seeds[line.id][0] == watch.moved.get(line.id, 0)

        missing = [line for line in lines if not held(line)]
        readings = self._read_whole(store, watch, missing)
        for line in missing:
            words = self._seed_words(readings.get(line.id, RunReading(question=self._question, moved=0)))
            self._seeds[line.id] = (watch.moved.get(line.id, 0), words)

    def _line(self, line: RunLine) -> int:
        return self._lines.get(line.arm_id, line.arm_id)

    def _seed_words(self, reading: RunReading) -> Mapping[str, Any]:
        x, y = reading.drawn()
        kept, _ = drawn(x, y, MOST_SEED_POINTS)
        return {"places": len(x), "x": numbers(x[kept]), "y": numbers(y[kept])}


def _repeated(watch: SweepWatch) -> frozenset[int]:
    """Of the runs of several sweeps with the same arm and seed all but the newest that is through, as in a figure."""
    chosen: dict[tuple[str, int], RunLine] = {}
    started = [watch.lines[run_id] for run_id in sorted(watch.lines) if watch.lines[run_id].fence]
    for line in started:
        key = watch.arms[line.arm_id].key, line.seed
        chosen[key] = preferred(chosen.get(key), line, _is_through)
    return frozenset(line.id for line in started) - {line.id for line in chosen.values()}


def _is_through(line: RunLine) -> bool:
    return line.state == State.COMPLETED or line.reason == Reason.DIVERGED


def _lines_by(arms: Sequence[ArmRecord], name: str) -> dict[int, int]:
    """The line of each arm: the first arm that has the same value of the setting, or all the same settings."""
    first: dict[Any, int] = {}

    def value(arm: ArmRecord) -> str:
        return arm.key if name == SAME_SETTINGS else str(arm.settings.get(name))

    return {arm.id: first.setdefault(value(arm), arm.id) if name else arm.id for arm in arms}


def _joined(curve: MeanCurve | None, over: MeanCurve | None = None) -> MeanCurve | None:
    """The curve of a metric over another one, from those of both over steps; no band, as both vary."""
    if curve is None or over is None:
        return curve
    return replace(curve, x=over.mean, low=curve.low * math.nan, high=curve.high * math.nan)


def _mean_words(line: int, curve: MeanCurve | None, lost: Sequence[Any]) -> Mapping[str, Any]:
    """A line; `lost` has for each run that was lost to it its number, seed, whether it diverged, and its last point."""
    if curve is None:
        return {"line": line, "seeds": 0, "lost": lost, "x": [], "mean": [], "low": [], "high": [], "runs": []}
    kept, last = drawn(curve.x, curve.mean, len(curve.x))
    return {
        "line": line,
        "seeds": curve.seeds,
        "lost": lost,
        "places": curve.places,
        "interval": curve.is_interval,
        "cut": curve.is_cut,
        "last": last,
        **{name: numbers(getattr(curve, name)[kept]) for name in ("x", "mean", "low", "high")},
        "runs": curve.runs[kept].tolist(),
    }
