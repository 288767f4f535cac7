"""Whom a judge takes for dead, on a clock of its own."""

from dataclasses import replace

from orchestrator.queue.workers import WorkerIdentity, WorkerRecord
from worker.failure_detector import WATCHED_ELSEWHERE, FailureDetector, Remedy
from worker.processes import ProcessState

HERE, THERE = "boot-a/1", "boot-b/1"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def worker(worker_id: int, *, host: str = THERE, beat: int = 1, run_id: int | None = 7) -> WorkerRecord:
    identity = WorkerIdentity(host=host, hostname="far", pid=worker_id, start_ticks=1, device="cpu")
    return WorkerRecord(
        id=worker_id,
        identity=identity,
        started_at=0.0,
        beat=beat,
        beat_at=0.0,
        lease_seconds=60.0,
        ended_at=None,
        ended_why="",
        run_id=run_id,
    )


def judge(clock: Clock, states: dict[int, ProcessState] | None = None) -> FailureDetector:
    known = states if states is not None else {}
    return FailureDetector(
        host=HERE,
        clock=clock,
        longest_gap_seconds=20.0,
        state_of=lambda pid, ticks: known.get(pid, ProcessState.ALIVE),
    )


def test_elsewhere_an_unchanged_beat_over_a_full_lease_is_a_loss() -> None:
    clock = Clock()
    one = judge(clock)
    for seconds in range(0, 60, 10):
        clock.now = 1000.0 + seconds
        assert one.detect([worker(1)], own_beats_commit=True) == []
    clock.now += 10
    (found,) = one.detect([worker(1)], own_beats_commit=True)
    assert found.remedy is Remedy.REAP and found.worker.id == 1 and "60 s" in found.why


def test_a_changed_beat_starts_the_lease_anew() -> None:
    clock = Clock()
    one = judge(clock)
    for seconds in range(0, 600, 10):
        clock.now = 1000.0 + seconds
        assert one.detect([worker(1, beat=seconds // 50)], own_beats_commit=True) == []


def test_time_in_which_the_judge_cannot_write_does_not_count() -> None:
    clock = Clock()
    one = judge(clock)
    one.detect([worker(1)], own_beats_commit=True)
    for _ in range(100):
        clock.now += 10
        assert one.detect([worker(1)], own_beats_commit=False) == []


def test_a_judge_that_was_stopped_itself_has_seen_nothing_meanwhile() -> None:
    clock = Clock()
    one = judge(clock)
    one.detect([worker(1)], own_beats_commit=True)
    clock.now += 86_400
    assert one.detect([worker(1)], own_beats_commit=True) == []


def test_on_this_host_the_dead_are_dead_at_once_and_the_living_never() -> None:
    clock, states = Clock(), {1: ProcessState.DEAD, 2: ProcessState.ALIVE}
    one = judge(clock, states)
    (found,) = one.detect([worker(1, host=HERE), worker(2, host=HERE)], own_beats_commit=True)
    assert found.worker.id == 1 and found.remedy is Remedy.REAP
    for _ in range(100):
        clock.now += 10
        assert one.detect([worker(2, host=HERE)], own_beats_commit=True) == []


def test_the_stopped_are_killed_after_a_lease_even_while_nobody_can_write() -> None:
    clock, states = Clock(), {1: ProcessState.STOPPED}
    one = judge(clock, states)
    sentences = []
    for _ in range(8):
        sentences += [found.remedy for found in one.detect([worker(1, host=HERE)], own_beats_commit=False)]
        clock.now += 10
    assert sentences == [Remedy.KILL, Remedy.KILL]


def test_a_process_that_goes_on_in_time_is_left_alone() -> None:
    clock, states = Clock(), {1: ProcessState.STOPPED}
    one = judge(clock, states)
    for turn in range(40):
        states[1] = ProcessState.ALIVE if turn % 5 == 4 else ProcessState.STOPPED
        assert one.detect([worker(1, host=HERE)], own_beats_commit=True) == []
        clock.now += 10


def test_suspects_are_those_with_a_run_whose_death_may_show_soon() -> None:
    clock, states = Clock(), {2: ProcessState.STOPPED}
    one = judge(clock, states)
    idle = replace(worker(3), run_id=None)
    for beat in (1, 2):
        one.detect([worker(1, beat=beat), worker(2, host=HERE), idle], own_beats_commit=True)
        clock.now += 10
    assert one.suspects == (2,)
    for _ in range(2):
        one.detect([worker(1, beat=2), worker(2, host=HERE), idle], own_beats_commit=True)
        clock.now += 10
    assert one.suspects == (1, 2)


def test_one_elsewhere_that_was_never_seen_to_beat_is_a_suspect() -> None:
    """A judge that comes after a death, to an empty queue, must stay: nobody else may be there to give the run back."""
    clock = Clock()
    one = judge(clock)
    one.detect([worker(1), worker(2)], own_beats_commit=True)
    assert one.suspects == (1, 2)
    clock.now += 10
    one.detect([worker(1, beat=2), worker(2)], own_beats_commit=True)
    assert one.suspects == (2,)


def test_few_are_all_watched_and_of_many_a_share() -> None:
    one = judge(Clock())
    few = [worker(number) for number in range(2 * WATCHED_ELSEWHERE)]
    assert one.next_share(1.0, few) == 1.0
    many = [worker(number) for number in range(6400)]
    assert one.next_share(1.0, many) == WATCHED_ELSEWHERE / 6400
    assert one.next_share(0.01, few) == 0.01  # as many as it should be: what is watched stays watched


def test_a_share_grows_again_as_the_fleet_shrinks() -> None:
    one = judge(Clock())
    share = 0.01
    for left in (30, 20, 10, 5, 5, 5, 5):
        share = one.next_share(share, [worker(number) for number in range(left)])
    assert share == 1.0


def test_a_crowd_of_ones_own_host_is_no_reason_to_watch_less_elsewhere() -> None:
    own = [worker(number, host=HERE) for number in range(1000)]
    assert judge(Clock(), {}).next_share(1.0, [*own, worker(1001)]) == 1.0
