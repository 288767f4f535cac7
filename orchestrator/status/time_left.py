"""How long a run and a sweep will still take, from how fast they and their like were so far."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

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
    arm did; without such runs, as those of the arm nearest in size, in proportion to the parameters.
    """
    finished: list[RunRecord] = []
    if sweep.counts[State.COMPLETED]:
        completed = RunFilter(sweep_ids=(sweep.id,), states=(State.COMPLETED,))
        finished = list(store.runs(completed, limit=SAMPLED_RUNS))
    speeds = _speeds(finished, running, left)
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
        waits = store.runs(RunFilter(sweep_ids=(sweep.id,), states=(State.PENDING,)), limit=SAMPLED_RUNS)
        sample = [_expected(run, speeds) for run in waits]
        waiting = pending * sum(sample) / len(sample) if sample else 0.0
    # The work that is left, shared evenly; but no sooner than the slowest run at hand.
    return max([*known, (sum(known) + waiting) / max(workers, 1)])


def _speeds(
    finished: Sequence[RunRecord], running: Sequence[RunRecord], left: Mapping[int, float]
) -> Mapping[int, tuple[int, float]]:
    """For each arm with runs that tell: its parameters, and the mean seconds of a run."""
    seconds: defaultdict[int, list[float]] = defaultdict(list)
    params: dict[int, int] = {}
    for run in finished:
        if run.started_at is not None and run.ended_at is not None:
            seconds[run.arm_id].append(run.ended_at - run.started_at)
            params[run.arm_id] = run.num_params
    if not seconds:  # the first runs of a sweep: what they took so far tells how long they will take
        for run in running:
            if run.id in left and run.fraction < 1:
                seconds[run.arm_id].append(left[run.id] / (1 - run.fraction))
                params[run.arm_id] = run.num_params
    return {arm: (params[arm], sum(values) / len(values)) for arm, values in seconds.items()}


def _expected(run: RunRecord, speeds: Mapping[int, tuple[int, float]]) -> float:
    if run.arm_id in speeds:
        return speeds[run.arm_id][1]
    num_params, seconds = min(speeds.values(), key=lambda speed: abs(speed[0] - run.num_params))
    return seconds * run.num_params / max(num_params, 1)
