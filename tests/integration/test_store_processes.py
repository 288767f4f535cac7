"""Eight claimers at one queue, some of them taken for dead on the way: no run is claimed twice at a time."""

import itertools

from orchestrator.queue.states import Limits, Reason, State
from orchestrator.store import OpenMode, open_store
from tests.store_examples import ALL, stored, submit
from tests.store_processes import claim_until_empty, run_at_once

RUNS, CLAIMERS = 160, 8


def test_eight_claimers_share_a_queue_without_a_double_claim(location: str) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit(store, depths=(1, 2, 3, 4), seeds=RUNS // 4, limits=Limits(max_losses=10**6))
    claims = run_at_once(CLAIMERS, claim_until_empty, location)
    everything = list(itertools.chain.from_iterable(claims))
    assert len(set(everything)) == len(everything), "a fence was given out twice"
    assert sum(bool(each) for each in claims) > 1, "one claimer did all: nothing was tested"
    with open_store(location, mode=OpenMode.READ) as store:
        assert store.counts(ALL) == dict.fromkeys(State, 0) | {State.COMPLETED: RUNS}
        assert sum(run.fence for run in store.runs(ALL)) == len(everything)
        for run in store.runs(ALL):
            attempts = store.attempts(run.id)
            assert [each.fence for each in attempts] == list(range(1, run.fence + 1))
            assert [each.reason for each in attempts].count(Reason.FINISHED) == 1
            # Each attempt wrote one point; what remains is that of the attempt that finished.
            assert [one.fence for one in stored(store, run.id)] == [run.fence]
