"""Workers' rows, beats, and taking runs from the dead."""

from dataclasses import replace

import pytest

from orchestrator.errors import WorkerGoneError
from orchestrator.queue.states import Reason, State
from orchestrator.queue.workers import Watch
from orchestrator.store import Store
from tests.conftest import VirtualClock
from tests.store_examples import ALL, claim, ending, identity, point, register, steps, submit


def test_a_worker_is_stored_as_it_told(store: Store, clock: VirtualClock) -> None:
    told = identity(7, device="cuda:1", device_name="H200", slot=1, slots=2, program_version="0.1", job="42")
    number = store.register_worker(told, lease_seconds=45)
    [found] = store.workers()
    assert (found.id, found.identity, found.beat, found.lease_seconds) == (number, told, 0, 45)
    assert (found.started_at, found.beat_at, found.ended_at, found.run_id) == (clock.now, clock.now, None, None)


def test_beats_count_up_and_name_the_run_held(store: Store, clock: VirtualClock) -> None:
    submit(store)
    worker = register(store)
    clock.advance(10)
    assert [store.beat(worker), store.beat(worker)] == [1, 2]
    taken = claim(store, worker)
    [found] = store.workers()
    assert (found.beat, found.beat_at, found.run_id) == (2, clock.now, taken.run.id)


def test_reaping_takes_the_run_and_ends_the_worker(store: Store) -> None:
    submit(store)
    worker = register(store)
    store.flush(claim(store, worker).lease, points=[point(1)])
    [run] = store.reap(worker, seen_beat=0, why="no beat for 60 s")
    assert (run.state, run.reason, run.spent.losses, run.worker_id) == (State.PENDING, Reason.LOST, 1, None)
    assert steps(store, run.id) == []
    assert store.workers() == [] and store.workers(ended=True)[0].ended_why == "no beat for 60 s"
    assert store.attempts(run.id)[0].reason is Reason.LOST
    with pytest.raises(WorkerGoneError):
        store.beat(worker)


def test_a_worker_that_has_beaten_since_is_not_reaped(store: Store) -> None:
    submit(store)
    worker = register(store)
    lease = claim(store, worker).lease
    store.beat(worker)
    assert store.reap(worker, seen_beat=0, why="no beat") == []
    assert store.still_holds(lease) and len(store.workers()) == 1


def test_of_two_reapers_one_succeeds(store: Store) -> None:
    submit(store)
    worker = register(store)
    claim(store, worker)
    assert len(store.reap(worker, seen_beat=0, why="first")) == 1
    assert store.reap(worker, seen_beat=0, why="second") == []
    assert store.counts(ALL)[State.PENDING] == 1 and store.workers(ended=True)[0].ended_why == "first"


def test_an_ended_worker_leaves_no_run_behind(store: Store) -> None:
    submit(store)
    worker = register(store)
    claim(store, worker)
    store.end_worker(worker, "fell over")
    store.end_worker(worker, "again")
    assert store.counts(ALL)[State.RUNNING] == 0
    assert store.workers(ended=True)[0].ended_why == "fell over"


def test_a_worker_that_ends_by_what_is_no_text_is_ended_all_the_same(store: Store) -> None:
    """Its last error may quote the bytes of a file's name."""
    store.end_worker(register(store), "no run can be trained here: HostDataError: 'file \udcff\x00'")
    assert store.workers(ended=True)[0].ended_why.endswith("'file ?\ufffd'") and not store.workers()


def test_recent_endings_are_those_of_one_device_newest_first(store: Store, clock: VirtualClock) -> None:
    submit(store, depths=(1, 2, 3))
    here, elsewhere = register(store, 1, device="cuda:0"), register(store, 2, device="cuda:1")
    for reason in (Reason.DIVERGED, Reason.FINISHED):
        store.finish(claim(store, here).lease, ending(reason))
        clock.advance(1)
    store.finish(claim(store, elsewhere).lease, ending(Reason.OOM))
    found = store.recent_endings("boot:1", "cuda:0", 5)
    assert [(one.arm_id, one.reason) for one in found] == [(2, Reason.FINISHED), (1, Reason.DIVERGED)]
    assert len(store.recent_endings("boot:1", "cuda:0", 1)) == 1
    assert store.recent_endings("boot:2", "cuda:0", 5) == []


def test_endings_stay_in_their_order_when_the_clock_is_set_back(store: Store, clock: VirtualClock) -> None:
    """Three failures in a row did not set their device aside, as long as a success before them looked newer."""
    submit(store, depths=(1, 2, 3, 4))
    worker = register(store, 1, device="cuda:0")
    store.finish(claim(store, worker).lease, ending(Reason.FINISHED))
    clock.advance(-3600)
    for _ in range(3):
        store.finish(claim(store, worker).lease, ending(Reason.OOM))
    found = store.recent_endings("boot:1", "cuda:0", 3)
    assert [(one.arm_id, one.reason) for one in found] == [(number, Reason.OOM) for number in (4, 3, 2)]


def test_arms_that_are_to_be_tried_alone_say_nothing_against_their_device(store: Store) -> None:
    """Three slots took an arm each, and the memory held none beside the others: the worker left, and none was tried
    alone."""
    submit(store, depths=(1, 2, 3))
    workers = [register(store, slot, device="cuda:0", slot=slot, slots=3) for slot in range(3)]
    for lease in [claim(store, worker).lease for worker in workers]:
        assert store.finish(lease, ending(Reason.OOM)).alone
    assert store.recent_endings("boot:1", "cuda:0", 3) == []
    store.finish(claim(store, workers[0]).lease, ending(Reason.OOM))
    assert [one.reason for one in store.recent_endings("boot:1", "cuda:0", 3)] == [Reason.OOM]


def test_a_watch_sees_its_own_host_and_an_arc_of_the_others(store: Store) -> None:
    # Numbers in steps, as many fleets leave them that started side by side: every fourth lives.
    for number in range(400):
        worker = store.register_worker(replace(identity(), host=f"host-{number % 80}"), lease_seconds=60)
        if number % 4:
            store.end_worker(worker, "the queue is empty")
    everyone = {one.id: one.identity.host for one in store.workers()}
    mine = {number for number, host in everyone.items() if host == "host-4"}

    def seen(share: float, start: float) -> set[int]:
        watch = Watch(host="host-4", share=share, start=start)
        return {one.id for one in store.live_workers(watch)}

    assert seen(1.0, 0.3) == set(everyone)
    quarter, half = seen(0.25, 0.9), seen(0.5, 0.9)  # an arc over the circle's end
    assert mine < quarter < half < set(everyone)  # a share that shrinks goes on with some of the same
    assert len(quarter - mine) == pytest.approx(25, abs=4)
    arcs = [seen(0.25, start) - mine for start in (0.0, 0.25, 0.5, 0.75)]
    assert sum(map(len, arcs)) == len(everyone) - len(mine)
    assert set().union(*arcs) == set(everyone) - mine


def test_a_worker_that_registers_again_leaves_no_second_row_alive(store: Store) -> None:
    """A neighbour that was none: every run of the worker was said to share its device, and counted half its hours."""
    submit(store)
    _lost, other = register(store, 1), register(store, 2, device="gpu0")
    again = store.register_worker(identity(1), lease_seconds=60, again=True)
    assert [worker.id for worker in store.workers()] == [other, again]
    claim(store, again)
    assert store.attempts(1)[0].shared_slots == 1
