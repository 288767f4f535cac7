"""Keeps a worker's lease: sends beats in time, stops training if they do not get through, and judges the others."""

import random
import threading
from collections.abc import Callable
from dataclasses import replace

from orchestrator.errors import DatabaseBusyError, DatabaseVersionError, WorkerGoneError
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.workers import DeviceReading, Watch, WorkerIdentity
from orchestrator.store import Store
from worker.failure_detector import Detection, FailureDetector, Remedy
from worker.processes import kill_exactly
from worker.timing import Timing


class Heartbeat:
    """The worker's row in the database and the beats that keep it alive.

    A thread watches the time since the last beat that got through, since the supervisor itself may be held up
    inside the database: past `self_fence_seconds` it calls `on_fence`, before any judge may give the run away.
    """

    def __init__(
        self,
        *,
        store: Store,
        identity: WorkerIdentity,
        timing: Timing,
        clock: Callable[[], float],
        on_fence: Callable[[], None],
        say: Callable[[str], None],
        reading: Callable[[], DeviceReading] = DeviceReading,
    ) -> None:
        self._reading = reading
        self._store, self._identity, self._timing, self._clock = store, identity, timing, clock
        self._on_fence, self._say = on_fence, say
        self._detector = FailureDetector(host=identity.host, clock=clock, longest_gap_seconds=2 * timing.beat_seconds)
        self._watching = Watch(host=identity.host, share=1.0, start=random.random())
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.fenced = False
        self.worker_id = 0
        self._unheard = False  # whether the database may have a row of this worker whose number it never heard
        self._beat_at = self._tried_at = clock()
        self._watch = threading.Thread(target=self._watch_beats, name="self-fence", daemon=True)

    def register(self) -> None:
        """Take a row; a new one after others took this worker for dead.

        Raises DatabaseBusyError where the database does not answer; the stopped are judged even then, since one
        of them may be what holds it.
        """
        try:
            self._store.rehearse()
            again, self._unheard = self._unheard, True
            self.worker_id = self._store.register_worker(
                self._identity, lease_seconds=self._timing.lease_seconds, again=again
            )
            self._unheard = False
        except DatabaseBusyError:
            self.judge(own_beats_commit=False)
            raise
        with self._lock:
            self._beat_at = self._tried_at = self._clock()
            self.fenced = False
        if self._watch.ident is None:
            self._watch.start()

    @property
    def suspects(self) -> tuple[int, ...]:
        """Workers that hold a run and may turn out lost."""
        return self._detector.suspects

    @property
    def crowding(self) -> float:
        """How much longer than usual to wait between two questions to an empty queue: 1 unless there are many."""
        return 1.0 / self._watching.share

    def due_in(self) -> float:
        """Seconds until the next beat is due."""
        return max(0.0, self._tried_at + self._timing.beat_seconds - self._clock())

    def beat(self) -> bool:
        """Beat once, then judge the others. True if the beat got through after the worker had fenced itself.

        Raises DatabaseBusyError where the database does not answer (the stopped are still judged), WorkerGoneError
        where others took this worker for dead, and DatabaseVersionError where the database was upgraded meanwhile.
        """
        started = self._tried_at = self._clock()
        try:
            self._store.beat(self.worker_id, self._reading())
        except DatabaseBusyError:
            # Tried again well before the next beat would be due.
            self._tried_at = self._clock() - self._timing.beat_seconds + self._timing.database_retry_seconds
            self.judge(own_beats_commit=False)
            raise
        except DatabaseVersionError:
            self._got_through(started)  # there is time to release a run, and its end may be written
            raise
        was_fenced = self._got_through(started)
        self.judge(own_beats_commit=True)
        return was_fenced

    def _got_through(self, started: float) -> bool:
        """Note a beat that got through; returns whether the worker had fenced itself."""
        with self._lock:
            # The call's start, not its end: others may have seen the new beat for as long as the answer took.
            self._beat_at = started
            was_fenced, self.fenced = self.fenced, False
        return was_fenced

    def judge(self, *, own_beats_commit: bool) -> list[RunRecord]:
        """Give away the runs of workers that are dead, and end those that were stopped for a lease."""
        freed: list[RunRecord] = []
        try:
            others = [one for one in self._store.live_workers(self._watching) if one.id != self.worker_id]
        except DatabaseBusyError:
            return freed  # the next check is a beat away
        self._watching = replace(self._watching, share=self._detector.next_share(self._watching.share, others))
        began = self._clock()
        detections = self._detector.detect(others, own_beats_commit=own_beats_commit)
        # The stopped first: one of them may be what keeps the others from being reaped.
        for judged in sorted(detections, key=lambda one: one.remedy is not Remedy.KILL):
            try:
                freed += self._execute(judged)
            except DatabaseBusyError:
                # Its rows are held, by itself perhaps: that must not keep the judge from the others. Only where all
                # of the database is held (SQLite) there is no use in going on.
                if self._clock() - began >= self._timing.lease_seconds / 3:
                    break
        return freed

    def _execute(self, judged: Detection) -> list[RunRecord]:
        """Do what a detection says; returns the runs that came free."""
        worker = judged.worker
        if judged.remedy is Remedy.KILL and kill_exactly(worker.identity.pid, worker.identity.start_ticks):
            self._say(f"worker {worker.id} was ended: {judged.why}")
            return []
        # One that may not be killed is another user's: the fence keeps it from writing, as one on another host.
        freed = self._store.reap(worker.id, seen_beat=worker.beat, why=judged.why)
        for run in freed:
            self._say(f"run {run.id} of worker {worker.id} is now {run.state}: {judged.why}")
        return freed

    def end(self, why: str) -> None:
        """Give the row up. A database that does not answer is left to the judges: this process will be dead."""
        self._stop.set()
        if self._watch.ident is None:
            return  # never registered
        self._watch.join()
        try:
            self._store.end_worker(self.worker_id, why)
        except (DatabaseBusyError, WorkerGoneError):
            pass

    def _watch_beats(self) -> None:
        tick = min(1.0, self._timing.self_fence_seconds / 10)
        while not self._stop.wait(tick):
            with self._lock:
                late = self._clock() - self._beat_at >= self._timing.self_fence_seconds
                newly = late and not self.fenced
                self.fenced = self.fenced or late
                if newly:
                    # Within the lock: a beat that gets through now lets training go on only after this pause.
                    self._on_fence()
            if newly:
                self._say("the database does not answer: training waits until it does")
