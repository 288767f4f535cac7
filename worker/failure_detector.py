"""Which of the other workers are dead. Reads no wall clock, so a clock that jumps takes nobody's run away.

On this host the kernel knows: a dead process is found at once, a live one is never taken for dead, and one that was
stopped for a full lease is killed first. On other hosts only beats count: a worker is lost when its beat has not
changed for a full lease. That time counts only while the judge's own beats commit: if nobody can write, nobody is to
blame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.queue.workers import WorkerRecord
from worker.processes import ProcessState, process_state

# As many on other hosts as a worker watches where there are more of them: each is then watched by about as many.
WATCHED_ELSEWHERE = 64


class Remedy(StrEnum):
    """What is to be done about a worker."""

    REAP = "reap"
    KILL = "kill"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A worker, what is to be done, and the reason in words."""

    worker: WorkerRecord
    remedy: Remedy
    why: str


@dataclass(kw_only=True)
class _Observation:
    """What this judge has seen of one worker; seconds are of its own monotonic clock."""

    beat: int
    has_beaten: bool = False
    unchanged_seconds: float = 0.0
    stopped_seconds: float = 0.0


@dataclass(kw_only=True)
class FailureDetector:
    """Watches the other workers on the judge's own monotonic clock.

    `longest_gap_seconds` caps what one check adds: a judge that was itself stopped has seen nothing meanwhile.
    """

    host: str
    clock: Callable[[], float]
    longest_gap_seconds: float
    state_of: Callable[[int, int], ProcessState] = process_state
    _seen: dict[int, _Observation] = field(default_factory=dict)
    _last_observed: float | None = None
    suspects: tuple[int, ...] = ()

    def detect(self, workers: Sequence[WorkerRecord], *, own_beats_commit: bool) -> list[Detection]:
        """Judge the live workers (this one left out) as they stand now."""
        now = self.clock()
        gap = 0.0 if self._last_observed is None else min(now - self._last_observed, self.longest_gap_seconds)
        self._last_observed = now
        self._seen = {worker.id: self._observe(worker, gap, own_beats_commit=own_beats_commit) for worker in workers}
        judged = [detection for worker in workers if (detection := self._detect(worker)) is not None]
        self.suspects = tuple(worker.id for worker in workers if worker.run_id is not None and self._doubted(worker))
        return judged

    def next_share(self, share: float, workers: Sequence[WorkerRecord]) -> float:
        """The share of the others to watch from now on, after a check with `share` found `workers`.

        All as long as they are few. A fleet in which each reads all grows as its square: 10,000 workers would read
        ten million rows a second. A share that shrinks keeps what it goes on watching, and so what it has seen of it.
        """
        elsewhere = sum(worker.identity.host != self.host for worker in workers)
        if elsewhere > 2 * WATCHED_ELSEWHERE:
            return share * WATCHED_ELSEWHERE / elsewhere
        return min(1.0, 2 * share) if elsewhere < WATCHED_ELSEWHERE / 2 else share

    def _observe(self, worker: WorkerRecord, gap: float, *, own_beats_commit: bool) -> _Observation:
        seen = self._seen.get(worker.id)
        if seen is None:
            return _Observation(beat=worker.beat)
        if seen.beat != worker.beat:
            seen = _Observation(beat=worker.beat, has_beaten=True, stopped_seconds=seen.stopped_seconds)
        elif own_beats_commit:
            seen.unchanged_seconds += gap
        if worker.identity.host == self.host:
            stopped = self._state(worker) is ProcessState.STOPPED
            seen.stopped_seconds = seen.stopped_seconds + gap if stopped else 0.0
        return seen

    def _detect(self, worker: WorkerRecord) -> Detection | None:
        seen, pid = self._seen[worker.id], worker.identity.pid
        if worker.identity.host != self.host:
            if seen.unchanged_seconds < worker.lease_seconds:
                return None
            why = f"no beat from {worker.identity.hostname} for {seen.unchanged_seconds:.0f} s"
            return Detection(worker=worker, remedy=Remedy.REAP, why=why)
        state = self._state(worker)
        if state is ProcessState.DEAD:
            return Detection(worker=worker, remedy=Remedy.REAP, why=f"its process {pid} is gone")
        if state is ProcessState.STOPPED and seen.stopped_seconds >= worker.lease_seconds:
            why = f"its process {pid} was stopped for {seen.stopped_seconds:.0f} s"
            return Detection(worker=worker, remedy=Remedy.KILL, why=why)
        return None

    def _doubted(self, worker: WorkerRecord) -> bool:
        """Whether the worker may yet turn out lost: someone should stay to see."""
        if worker.identity.host == self.host:
            return self._state(worker) is not ProcessState.ALIVE
        # Of one that was never seen to beat nothing is known yet: it may have died before this judge came.
        seen = self._seen[worker.id]
        return not seen.has_beaten or seen.unchanged_seconds >= worker.lease_seconds / 3

    def _state(self, worker: WorkerRecord) -> ProcessState:
        return self.state_of(worker.identity.pid, worker.identity.start_ticks)
