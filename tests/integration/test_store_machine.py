"""Any order of claims, flushes, kills, cancels and retries, compared step by step with a small model.

The model is what the design promises: at most one live fence a run, terminal is final without retry, no point
of a superseded attempt after hand-over, counters right. The clock is virtual.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import bindparam, select

from hlbgpt_core.points import SavedCheckpoint, Split
from orchestrator.errors import FencedError, WorkerGoneError
from orchestrator.queue.attempts import Lease
from orchestrator.queue.notices import NoticeKind, NotifyMark
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL, Limits, Reason, Spent, State, outcome_of_ending
from orchestrator.store import Store
from orchestrator.store.tables import database_identity, metadata, runs
from tests.conftest import VirtualClock
from tests.store_examples import ALL, ending, point, progress, register, saved, stored, submit

LIMITS = Limits(max_attempts=2, max_losses=2, backoff_seconds=10, max_backoff_seconds=40)
RUNS = 4
run_numbers = st.integers(1, RUNS)


@dataclass(kw_only=True)
class ModelRun:
    """What the design says of a run."""

    state: State = State.PENDING
    fence: int = 0
    worker: int | None = None
    priority: int = 0
    paused: bool = False
    alone: bool = False
    shared: bool = False
    spent: Spent = field(default_factory=Spent)
    ended_for: Reason | None = None
    pruned: bool = False
    backoff: tuple[float, float] | None = None
    checkpoint: SavedCheckpoint | None = None
    previous: SavedCheckpoint | None = None
    points: dict[tuple[Split, int], int] = field(default_factory=dict)

    def waits(self, now: float) -> bool:
        """Whether its wait after an error is not over."""
        return self.backoff is not None and self.backoff[0] <= now < self.backoff[1]

    def resume_from_checkpoint(self) -> None:
        """Forget the points that the next attempt makes anew."""
        start = self.checkpoint.step if self.checkpoint else -1
        self.points = {place: fence for place, fence in self.points.items() if place[1] <= start}

    def next_step(self) -> int:
        """The step after the last stored one."""
        return max((step for _, step in self.points), default=0) + 1

    def end(self, reason: Reason, now: float) -> None:
        """Apply the policy of an ending."""
        outcome = outcome_of_ending(reason, self.spent, LIMITS, shared_device=self.shared and not self.alone)
        self.alone = self.alone or outcome.alone
        self.state, self.spent, self.worker, self.ended_for = outcome.state, outcome.spent, None, reason
        self.pruned = reason is Reason.PRUNED
        self.backoff = (now, now + outcome.backoff_seconds) if outcome.backoff_seconds else None
        if self.state is State.PENDING:
            self.resume_from_checkpoint()


def empty(store: Store) -> None:
    """Remove every row, so that numbers begin at 1 again: a new database for each example would take longer."""
    tables = [table.name for table in reversed(metadata.sorted_tables) if table is not database_identity]
    with store._write() as connection:
        if store.location.dialect == "postgresql":
            connection.exec_driver_sql(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
        else:
            for name in tables:
                connection.exec_driver_sql(f"DELETE FROM {name}")


class QueueMachine(RuleBasedStateMachine):
    """Workers and people at one queue of four runs."""

    workers = Bundle("workers")
    leases = Bundle("leases")

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        super().__init__()
        self.store, self.clock = store, clock
        empty(store)
        mark = NotifyMark(token="0" * 32, by="ada on here")
        submit(self.store, depths=(2, 4), seeds=RUNS // 2, limits=LIMITS, notify=mark)
        self.runs = {number: ModelRun() for number in range(1, RUNS + 1)}
        self.states = dict.fromkeys(self.runs, State.PENDING)
        self.notices: list[tuple[NoticeKind, int | None]] = []
        self.beats: dict[int, int] = {}
        self.ended: set[int] = set()

    # Workers

    @initialize(target=workers)
    def two_workers(self) -> object:
        return multiple(self.register(), self.register())

    @rule(target=workers)
    def register_worker(self) -> int:
        return self.register()

    def register(self) -> int:
        number = register(self.store, len(self.beats))
        self.beats[number] = 0
        return number

    @rule(worker=workers)
    def beat(self, worker: int) -> None:
        if worker in self.ended:
            with pytest.raises(WorkerGoneError):
                self.store.beat(worker)
        else:
            self.beats[worker] += 1
            assert self.store.beat(worker) == self.beats[worker]

    @rule(target=leases, worker=workers)
    def claim(self, worker: int) -> object:
        held = [number for number, run in self.runs.items() if run.worker == worker]
        claimable = [
            number
            for number, run in self.runs.items()
            if run.state is State.PENDING and not run.paused and not run.waits(self.clock.now)
        ]
        if worker in self.ended:
            with pytest.raises(WorkerGoneError):
                self.store.claim(worker)
            return multiple()
        # All workers are of one device: a run to be trained alone waits until nobody else trains, then others wait.
        beside = [run for run in self.runs.values() if run.state is State.RUNNING and run.worker != worker]
        takeable = [number for number in claimable if not (beside and self.runs[number].alone)]
        if any(run.alone for run in beside):
            takeable = []
        taken = self.store.claim(worker)
        if not held and claimable:
            for other in self.runs.values():
                other.backoff = other.backoff if other.waits(self.clock.now) else None
        if not held and not takeable:
            assert taken is None
            return multiple()
        expected = held[0] if held else min(takeable, key=lambda number: (-self.runs[number].priority, number))
        run = self.runs[expected]
        if not held:
            run.state, run.worker, run.fence = State.RUNNING, worker, run.fence + 1
            run.ended_for = None
            run.shared = len(self.beats) - len(self.ended) > 1 and not run.alone
        assert taken is not None and taken.lease == replace(taken.lease, run_id=expected, fence=run.fence)
        assert taken.run.checkpoint == run.checkpoint
        return multiple() if held else taken.lease

    @rule(worker=workers, late=st.booleans())
    def reap(self, worker: int, late: bool) -> None:
        held = [run for run in self.runs.values() if run.worker == worker]
        seen = self.beats[worker] - (1 if late else 0)
        taken = self.store.reap(worker, seen_beat=seen, why="no beat")
        if late or worker in self.ended:
            assert taken == []
            return
        assert len(taken) == len(held)
        self.ended.add(worker)
        for run in held:
            run.end(Reason.LOST, self.clock.now)

    @rule(worker=workers)
    def end_worker(self, worker: int) -> None:
        self.store.end_worker(worker, "done")
        if worker not in self.ended:
            self.ended.add(worker)
            for run in self.runs.values():
                if run.worker == worker:
                    run.end(Reason.LOST, self.clock.now)

    # Writes under a lease, live or long superseded

    def write(self, lease: Lease, call: Callable[[], object]) -> ModelRun | None:
        """Make a call that must be refused where the lease no longer holds; the run where it was not."""
        run = self.runs[lease.run_id]
        holds = run.state is State.RUNNING and run.fence == lease.fence
        assert self.store.still_holds(lease) is holds
        if holds:
            call()
            return run
        with pytest.raises(FencedError):
            call()
        return None

    @rule(lease=leases, count=st.integers(0, 3), split=st.sampled_from(Split), twice=st.booleans())
    def flush(self, lease: Lease, count: int, split: Split, twice: bool) -> None:
        first = self.runs[lease.run_id].next_step()
        new = [point(step, split) for step in range(first, first + count)]
        for _ in range(2 if twice else 1):
            run = self.write(lease, lambda: self.store.flush(lease, points=new, progress=progress(first + count)))
        if run is not None:
            run.points |= {(split, one.step): lease.fence for one in new}

    @rule(lease=leases, twice=st.booleans())
    def checkpoint(self, lease: Lease, twice: bool) -> None:
        step = self.runs[lease.run_id].next_step()
        dropped: list[SavedCheckpoint | None] = []
        for _ in range(2 if twice else 1):
            run = self.write(
                lease,
                lambda: dropped.append(self.store.commit_checkpoint(lease, saved(step), points=[point(step)])),
            )
        if run is not None:
            assert dropped == [run.previous, None][: len(dropped)]
            run.points[Split.TRAIN, step] = lease.fence
            run.checkpoint, run.previous = saved(step), run.checkpoint
            run.spent = Spent(errors=run.spent.errors)

    @rule(lease=leases, to_previous=st.booleans())
    def rewind(self, lease: Lease, to_previous: bool) -> None:
        target = self.runs[lease.run_id].previous if to_previous else None
        run = self.write(lease, lambda: self.store.rewind(lease, target, why="damaged"))
        if run is not None:
            run.checkpoint, run.previous = target, None
            run.resume_from_checkpoint()

    @rule(lease=leases, reason=st.sampled_from(Reason))
    def finish(self, lease: Lease, reason: Reason) -> None:
        run = self.runs[lease.run_id]
        last = point(run.next_step())
        if run.fence == lease.fence and run.ended_for is reason:
            # Told again of what is recorded already: the answer stays the same.
            before = self.store.run(lease.run_id)
            assert self.store.finish(lease, ending(reason), points=[last]) == before
        elif self.write(lease, lambda: self.store.finish(lease, ending(reason), points=[last])) is not None:
            run.points[Split.TRAIN, last.step] = lease.fence
            run.end(reason, self.clock.now)

    # People, and time

    @rule(number=run_numbers)
    def cancel(self, number: int) -> None:
        run = self.runs[number]
        legal = run.state not in TERMINAL
        assert self.store.cancel(RunFilter(run_ids=(number,)), "user") == legal
        if legal:
            was_running = run.state is State.RUNNING
            run.state, run.worker, run.backoff, run.pruned = State.CANCELLED, None, None, False
            run.ended_for = Reason.CANCELLED if was_running else run.ended_for

    @rule(number=run_numbers, of_pruned=st.booleans())
    def retry(self, number: int, of_pruned: bool) -> None:
        run = self.runs[number]
        legal = run.state in (State.FAILED, State.CANCELLED) and run.pruned is of_pruned
        wanted = RunFilter(run_ids=(number,), reasons=(Reason.PRUNED,) if of_pruned else ())
        assert self.store.retry(wanted, "user") == legal
        if legal:
            run.state, run.spent, run.alone = State.PENDING, Spent(), False
            run.resume_from_checkpoint()

    @rule(number=run_numbers, paused=st.booleans())
    def pause(self, number: int, paused: bool) -> None:
        run = self.runs[number]
        changes = run.state not in TERMINAL and run.paused is not paused
        change = self.store.pause if paused else self.store.unpause
        assert change(RunFilter(run_ids=(number,)), "user") == changes
        run.paused = paused if changes else run.paused

    @rule(number=run_numbers, priority=st.integers(-1, 1))
    def set_priority(self, number: int, priority: int) -> None:
        run = self.runs[number]
        changes = run.state not in TERMINAL and run.priority != priority
        assert self.store.set_priority(RunFilter(run_ids=(number,)), priority, "user") == changes
        run.priority = priority if changes else run.priority

    @rule(seconds=st.sampled_from([1.0, 9.0, 10.0, 60.0, -3600.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # Promises

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        found = {run.id: run for run in self.store.runs(ALL)}
        for number, run in self.runs.items():
            row = found[number]
            assert (row.state, row.fence, row.worker_id, row.spent) == (run.state, run.fence, run.worker, run.spent)
            assert (row.paused, row.priority, row.alone) == (run.paused, run.priority, run.alone)
            assert (row.checkpoint, row.previous_checkpoint) == (run.checkpoint, run.previous)
            places = {(one.point.split, one.point.step): one.fence for one in stored(self.store, number)}
            assert places == run.points
        counted = self.store.counts(ALL)
        assert counted == {state: sum(run.state is state for run in self.runs.values()) for state in State}

    @invariant()
    def each_failure_and_each_end_of_the_sweep_is_noted_once(self) -> None:
        changed = [(number, run.state) for number, run in self.runs.items() if run.state is not self.states[number]]
        self.states |= dict(changed)
        self.notices += [(NoticeKind.RUN_FAILED, number) for number, state in changed if state is State.FAILED]
        ended = any(state in TERMINAL for _, state in changed) and TERMINAL.issuperset(self.states.values())
        self.notices += [(NoticeKind.SWEEP_ENDED, None)] if ended else []
        assert [(one.kind, one.run_id) for one in self.store.undelivered()] == self.notices

    @invariant()
    def one_live_fence_a_run_held_by_a_live_worker(self) -> None:
        holders = [run.worker for run in self.runs.values() if run.worker is not None]
        assert len(holders) == len(set(holders)) and not self.ended & set(holders)
        assert {one.id: one.run_id for one in self.store.workers()} == {
            worker: next((number for number, run in self.runs.items() if run.worker == worker), None)
            for worker in self.beats.keys() - self.ended
        }
        for number, run in self.runs.items():
            attempts = self.store.attempts(number)
            assert [one.fence for one in attempts] == list(range(1, run.fence + 1))
            open_fences = [one.fence for one in attempts if one.ended_at is None]
            assert open_fences == ([run.fence] if run.state is State.RUNNING else [])


def run_machine(
    store: Store, clock: VirtualClock, *, examples: int, phases: Sequence[Phase], derandomize: bool = False
) -> None:
    run_state_machine_as_test(
        lambda: QueueMachine(store, clock),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=phases,
            derandomize=derandomize,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("share", [0.2, pytest.param(1, marks=pytest.mark.long)])
def test_any_order(store: Store, clock: VirtualClock, share: float) -> None:
    examples = round(share * (50 if store.location.dialect == "sqlite" else 20))
    phases = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
    run_machine(store, clock, examples=examples, phases=phases)


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_the_machine_sees_a_missing_fence(store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    unfenced = select(runs.c.id).where(runs.c.id == bindparam("held_run"))
    monkeypatch.setattr("orchestrator.store.working.held_run._LOCK_HELD", unfenced)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        # Always the same orders: by chance it may take two seconds or half a minute.
        run_machine(store, clock, examples=500, phases=(Phase.generate,), derandomize=True)
