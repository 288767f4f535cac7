"""How long a run and a sweep will still take, from how fast they and their like were so far."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.settings import Settings
from orchestrator.records import AttemptRecord, RunFilter, RunRecord, SweepRecord
from orchestrator.runs import State
from orchestrator.store import Store

# So many runs tell the speed, and stand for the pending ones: a sweep of any size is judged in milliseconds.
SAMPLED_RUNS = 200
_LEAST_FRACTION = 0.005


def run_seconds_left(run: RunRecord, attempt: AttemptRecord, now: float) -> float | None:
    """Seconds that a running run still takes, if it goes on as its newest attempt did; None while that is unknown.

    An attempt that began at a checkpoint did only the rest of the run's fraction.
    """
    begun_at = run.fraction * attempt.start_step / run.step if run.step else 0.0
    made = run.fraction - begun_at
    if made < _LEAST_FRACTION:
        return None
    return max(now - attempt.started_at, 0.0) * (1 - run.fraction) / made


def estimate_sweep_seconds(
    store: Store, sweep: SweepRecord, running: Sequence[RunRecord], left: Mapping[int, float], workers: int
) -> float | None:
    """Seconds until the sweep's last run ends, with `workers` at work (at least one); None while unknown.

    `left` has the seconds that running runs still take. A pending run takes as long as finished runs of its
    arm did; without such runs, as those of the arm nearest in work, in proportion to the work: parameters times the
    tokens that the limits allow. Where nothing has finished, running runs tell by how far they are.
    """
    finished: list[RunRecord] = []
    if sweep.counts[State.COMPLETED]:
        completed = RunFilter(sweep_ids=(sweep.id,), states=(State.COMPLETED,))
        finished = list(store.runs(completed, limit=SAMPLED_RUNS))
    speeds = _speeds(store, finished, running, left)
    pending = sweep.counts[State.PENDING]
    if not speeds and (pending or len(left) < len(running)):
        return None
    seconds = [left.get(run.id) for run in running]
    known = [
        found if found is not None else (1 - run.fraction) * _expected(run, speeds)
        for run, found in zip(running, seconds, strict=True)
    ]
    waiting = 0.0
    if pending:
        waits = list(store.runs(RunFilter(sweep_ids=(sweep.id,), states=(State.PENDING,)), limit=SAMPLED_RUNS))
        by_arm = {arm: _expected(run, speeds) for arm, run in {run.arm_id: run for run in waits}.items()}
        sample = [by_arm[run.arm_id] * _share_left(run) for run in waits]
        waiting = pending * sum(sample) / len(sample) if sample else 0.0
    # The work that is left, shared evenly; but no sooner than the slowest run at hand.
    return max([*known, (sum(known) + waiting) / max(workers, 1)])


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """What runs of one arm take. `tokens` is at most how many each sees; None where no limit tells."""

    seconds: float
    num_params: int
    tokens: int | None
    train_tokens: int | None


def _speeds(
    store: Store, finished: Sequence[RunRecord], running: Sequence[RunRecord], left: Mapping[int, float]
) -> Mapping[int, _Speed]:
    """For each arm with runs that tell: the mean seconds of a run, and what there was to do."""
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    examples: dict[int, RunRecord] = {}
    spent = store.attempt_seconds([run.id for run in finished]) if finished else {}
    for run in finished:
        if run.id in spent:
            seconds[run.arm_id].append(spent[run.id])
            examples[run.arm_id] = run
    if not seconds:  # the first runs of a sweep: what they took so far tells how long they will take
        for run in running:
            if run.id in left and run.fraction < 1:
                seconds[run.arm_id].append(left[run.id] / (1 - run.fraction))
                examples[run.arm_id] = run
    return {arm: _speed(examples[arm], sum(values) / len(values)) for arm, values in seconds.items()}


def _speed(run: RunRecord, seconds: float) -> _Speed:
    train_tokens = run.facts.get("train_tokens")
    return _Speed(
        seconds=seconds,
        num_params=run.num_params,
        tokens=_tokens_to_do(run, train_tokens),
        train_tokens=train_tokens,
    )


def _expected(run: RunRecord, speeds: Mapping[int, _Speed]) -> float:
    """Seconds that a run takes from its start to its end."""
    if run.arm_id in speeds:
        return speeds[run.arm_id].seconds
    ratios = [(_work_ratio(run, speed), speed.seconds) for speed in speeds.values()]
    ratio, seconds = min(ratios, key=lambda one: abs(math.log(max(one[0], 1e-12))))
    return seconds * ratio


def _work_ratio(run: RunRecord, speed: _Speed) -> float:
    """How many times the work of the arm that `speed` is of."""
    ratio = run.num_params / max(speed.num_params, 1)
    tokens = _tokens_to_do(run, run.facts.get("train_tokens") or speed.train_tokens)
    return ratio * tokens / speed.tokens if tokens and speed.tokens else ratio


def _tokens_to_do(run: RunRecord, train_tokens: int | None) -> int | None:
    from orchestrator.plan import token_limit  # most looks at a database need no plans

    try:
        return token_limit(Settings.from_dict(run.settings), train_tokens=train_tokens)
    except HlbqError:  # settings of another version of the core
        return None


def _share_left(run: RunRecord) -> float:
    """The part of a pending run that is left: one with a checkpoint goes on from there."""
    if run.checkpoint is None or not run.settings.get("max_steps"):
        return 1.0
    return max(0.0, 1.0 - float(run.checkpoint.step / run.settings["max_steps"]))
