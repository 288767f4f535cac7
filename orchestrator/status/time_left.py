"""The time left of a run and a sweep, from the speed of them and of similar runs so far; and the hours spent."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.scale import token_limit
from hlbgpt_core.settings import Settings
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import Store
from orchestrator.store.reading.status import ArmSample
from orchestrator.wording.numbers import hours_text

# This many runs are a sample of the speed and of pending runs, so a sweep of any size takes milliseconds.
SAMPLED_RUNS = 200
_LEAST_FRACTION = 0.005


def run_seconds_left(run: RunRecord, attempt: AttemptRecord, now: float) -> float | None:
    """Seconds that a running run still needs at the speed of its newest attempt; None while unknown. An attempt that
    resumed from a checkpoint did only the fraction since then."""
    begun_at = run.fraction * attempt.start_step / run.step if run.step else 0.0
    made = run.fraction - begun_at
    if made < _LEAST_FRACTION:
        return None
    return max(now - attempt.started_at, 0.0) * (1 - run.fraction) / made


def seconds_left(store: Store, sweeps: Sequence[SweepRecord], now: float) -> Mapping[int, float | None]:
    """By sweep, what `estimate_sweeps` says with the workers that live now."""
    if not sweeps:
        return {}
    running = store.running(RunFilter(sweep_ids=tuple(sweep.id for sweep in sweeps)))
    attempts = store.newest_attempts([run.id for run in running])
    found = {run.id: run_seconds_left(run, attempts[run.id], now) for run in running if run.id in attempts}
    left = {run: seconds for run, seconds in found.items() if seconds is not None}
    return estimate_sweeps(store, sweeps, running, left, len(store.workers()))


def hours_spent(store: Store, sweep_ids: Sequence[int]) -> str:
    """`12.5 GPU-hours`: what sweeps took so far; of devices that are no GPUs it is `device-hours`. Empty for none."""
    hours = store.device_hours(sweep_ids).values()
    totals = {"GPU-hours": sum(one.gpu for one in hours), "device-hours": sum(one.other for one in hours)}
    return ", ".join(f"{hours_text(total)} {noun}" for noun, total in totals.items() if total)


def estimate_sweeps(
    store: Store, sweeps: Sequence[SweepRecord], running: Iterable[RunRecord], left: Mapping[int, float], workers: int
) -> Mapping[int, float | None]:
    """By sweep, the seconds until its last run ends, with this many running `workers` (at least one); None while
    unknown.

    `left` has the seconds that running runs still need. A pending run takes as long as finished runs of its
    arm did; without such runs, as those of the arm nearest in work, in proportion to the work: parameters times the
    tokens that the limits allow. If nothing has finished, the progress of running runs counts.
    """
    finished = _samples(store, sweeps, State.COMPLETED)
    waits = _samples(store, sweeps, State.PENDING)
    own: defaultdict[int, list[RunRecord]] = defaultdict(list)
    for run in running:
        own[run.sweep_id].append(run)
    return {
        sweep.id: _estimate(sweep, own[sweep.id], finished.get(sweep.id, ()), waits.get(sweep.id, ()), left, workers)
        for sweep in sweeps
    }


def _samples(store: Store, sweeps: Sequence[SweepRecord], state: State) -> Mapping[int, Sequence[ArmSample]]:
    wanted = [sweep.id for sweep in sweeps if sweep.counts[state]]
    return store.samples(wanted, state, SAMPLED_RUNS) if wanted else {}


def _estimate(
    sweep: SweepRecord,
    running: Sequence[RunRecord],
    finished: Sequence[ArmSample],
    waits: Sequence[ArmSample],
    left: Mapping[int, float],
    workers: int,
) -> float | None:
    if not sweep.is_open:
        return 0.0
    speeds = _speeds(finished, running, left)
    pending = sweep.counts[State.PENDING]
    if not speeds and (pending or len(left) < len(running)):
        return None
    known = [left[run.id] if run.id in left else (1 - run.fraction) * _expected(run, speeds) for run in running]
    sampled = sum(arm.runs for arm in waits)
    waiting = sum(_expected(arm, speeds) * _runs_left(arm) for arm in waits) * pending / max(sampled, 1)
    # The work that is left, shared evenly; but no less than the slowest running run.
    return max([*known, (sum(known) + waiting) / max(workers, 1)])


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """What runs of one arm take. `tokens` is the most that each sees; None without a limit."""

    seconds: float
    num_params: int
    tokens: int | None
    train_tokens: int | None


def _speeds(
    finished: Sequence[ArmSample], running: Sequence[RunRecord], left: Mapping[int, float]
) -> Mapping[int, _Speed]:
    """For each arm with a known speed: the mean seconds of a run, and its work."""
    speeds = {arm.arm_id: _speed(arm, arm.worked_seconds / arm.runs) for arm in finished if arm.worked_seconds}
    if speeds:
        return speeds
    # The first runs of a sweep: estimate from their progress so far.
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    examples: dict[int, RunRecord] = {}
    for run in running:
        if run.id in left and run.fraction < 1:
            seconds[run.arm_id].append(left[run.id] / (1 - run.fraction))
            examples[run.arm_id] = run
    return {arm: _speed(examples[arm], sum(values) / len(values)) for arm, values in seconds.items()}


def _speed(example: RunRecord | ArmSample, seconds: float) -> _Speed:
    train_tokens = example.facts.get("train_tokens")
    tokens = _tokens_to_do(example, train_tokens)
    return _Speed(seconds=seconds, num_params=example.num_params, tokens=tokens, train_tokens=train_tokens)


def _expected(run: RunRecord | ArmSample, speeds: Mapping[int, _Speed]) -> float:
    """Seconds that a run takes from its start to its end."""
    if run.arm_id in speeds:
        return speeds[run.arm_id].seconds
    ratios = [(_work_ratio(run, speed), speed.seconds) for speed in speeds.values()]
    ratio, seconds = min(ratios, key=lambda one: abs(math.log(max(one[0], 1e-12))))
    return seconds * ratio


def _work_ratio(run: RunRecord | ArmSample, speed: _Speed) -> float:
    """The work relative to that of the arm of `speed`."""
    ratio = run.num_params / max(speed.num_params, 1)
    tokens = _tokens_to_do(run, run.facts.get("train_tokens") or speed.train_tokens)
    return ratio * tokens / speed.tokens if tokens and speed.tokens else ratio


def _tokens_to_do(run: RunRecord | ArmSample, train_tokens: int | None) -> int | None:
    try:
        return token_limit(Settings.from_dict(run.settings), train_tokens=train_tokens)
    except HlbqError:  # settings of another version of the core
        return None


def _runs_left(arm: ArmSample) -> float:
    """How many whole runs are left of pending ones: a run with a checkpoint counts in part."""
    steps = arm.settings.get("max_steps")
    return max(0.0, arm.runs - arm.checkpoint_steps / steps) if steps else arm.runs
