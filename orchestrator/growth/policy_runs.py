"""What people must know of the runs that a policy judges by: which codes computed them, and what it waits for."""

from collections.abc import Collection

from orchestrator.comparison.judging.policy import DecidePolicy, PolicyState
from orchestrator.comparison.reporting.cautions import codes_beside
from orchestrator.growth.reading import read_results
from orchestrator.growth.steps import Stop
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store

# The runs that an arm waits for, and what lets them go on.
_WAYS_ON = {
    Stop.PAUSED: "hlbq unpause --sweep {sweep} lets them go on",
    Stop.HELD: "hlbq status --sweep {sweep} names the ways on",
    Stop.CANCELLED: "hlbq retry --sweep {sweep} lets them go on",
    Stop.FAILED: "hlbq retry --sweep {sweep} lets them go on once the cause is gone",
    Stop.OTHER_DATA: "restore the first data, then hlbq extend {sweep} --num_runs {runs}; or submit a new sweep",
    Stop.MIXED_CODE: "hlbq extend {sweep} --num_runs {runs} lets them go on",
}
_NOT_KNOWN = "open arms wait for runs that do not go on: hlbq status --sweep {sweep}"


def codes_caution(store: Store, sweep_id: int, arms: Collection[str], seeds: range) -> str:
    """The caution of `compare` where completed runs of these arms and seeds were computed by different codes, whose
    difference may be what is seen; empty where one code computed all."""
    same = store.same_code()
    if len({same.of(digest) for digest in store.runs_by_code()}) < 2:
        return ""  # nobody need read thousands of runs
    wanted = RunFilter(sweep_ids=(sweep_id,), states=(State.COMPLETED,), with_members=True)
    counting = [run for run in store.runs(wanted) if run.arm_key in arms and run.seed in seeds]
    return codes_beside(same, counting).text


def waiting_texts(store: Store, policy: DecidePolicy, state: PolicyState, sweep_id: int, first_seed: int) -> list[str]:
    """What an open policy that adds nothing by itself waits for, each with the command that lets them go on."""
    results = read_results(store, policy, sweep_id, first_seed)
    closed = {closure.arm for closure in state.closures}
    open_arms = [arm for arm in policy.arms if arm not in closed]
    baseline_of = dict(zip(policy.arms, policy.baselines, strict=False))  # a race has none
    beside = {*open_arms, *(baseline_of[arm] for arm in open_arms if arm in baseline_of)}
    found = {stop for arm, stop in zip(policy.everyone, results.stops, strict=True) if arm in beside and stop}
    seeds = {seed for _, seed in store.runs_by_seed(sweep_id)}
    runs = 2 + max(seeds, default=0) - min(seeds, default=0)  # one more than there are, from the sweep's own first on
    texts = [f"{stop}: {_WAYS_ON[stop].format(sweep=sweep_id, runs=runs)}" for stop in Stop if stop in found]
    return [f"open arms wait for you, because runs are {text}" for text in texts] or [_NOT_KNOWN.format(sweep=sweep_id)]
