"""Which codes computed what a policy judges by, for people."""

from orchestrator.comparison.judging.policy import DecidePolicy
from orchestrator.comparison.reporting.cautions import codes_beside
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store


def codes_caution(store: Store, policy: DecidePolicy, sweep_id: int, first_seed: int) -> str:
    """The caution of `compare` where runs that count were computed by different codes, whose difference may be what is
    seen; empty where one code computed all."""
    seeds = range(first_seed, first_seed + policy.max_seeds)
    wanted = RunFilter(sweep_ids=(sweep_id,), states=(State.COMPLETED,), with_members=True)
    counting = [run for run in store.runs(wanted) if run.arm_key in policy.everyone and run.seed in seeds]
    return codes_beside(store.same_code(), counting).text
