"""One worker: claims runs, makes its trainer process train them, and keeps the database true. Imports no torch.

The loop owns the only database connection. All messages of the trainer arrive in one inbox. Between them the loop does
what is due: beats, flushes, judging the others, ending a trainer that hangs.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Directive
from orchestrator.errors import DatabaseBusyError, DatabaseVersionError, WorkerGoneError
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.leftovers import find_leftovers, remove_leftovers
from orchestrator.notify.side import CLOSE_SECONDS, NotifySide
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import TERMINAL, Reason, State
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import Store
from worker.attempt import Attempt
from worker.beside.csv_writer import CsvUpkeep
from worker.beside.growth_steps import GrowthSteps
from worker.beside.sync_launcher import SyncLauncher
from worker.claiming import Claiming
from worker.devices.devices import Device
from worker.devices.driver import DeviceWatch
from worker.heartbeat import Heartbeat
from worker.outcome import EndedRuns, WorkerSummary
from worker.rungs import Rungs
from worker.stopping import StopRequests
from worker.timing import Timing
from worker.trainer.blame import Blame
from worker.trainer.messages import LoadFailed, Pause, Resume
from worker.trainer.trainer_handle import Arrival, TrainerDied, TrainerStartError, WakeUp
from worker.trainer.trainer_manager import TrainerManager


class Supervisor:
    """One worker from its first claim to its end. `run()` does it all; `stop_requests` ends it early."""

    def __init__(
        self,
        *,
        store: Store,
        state_folder: Path,
        identity: WorkerIdentity,
        device: Device,
        trainers: TrainerManager,
        options: WorkerOptions,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self._store, self._state_folder, self._identity = store, state_folder, identity
        self._options, self._timing = options, timing or Timing()
        self._clock, self._say = clock, say
        self._trainers, self._inbox = trainers, trainers.inbox
        self.stop_requests = StopRequests(
            in_job=bool(identity.job), clock=clock, wake=lambda: self._inbox.put(WakeUp())
        )
        self._claiming = Claiming(store, trainers, state_folder, sweep_ids=options.sweep, clock=clock, say=say)
        self._csv = CsvUpkeep(store, hostname=identity.hostname, say=say)
        self._wandb = SyncLauncher(store, state_folder, say)
        self._notify = NotifySide(store, say)
        self._growth = GrowthSteps(store, options.sweep, say, clock)
        self._device_watch = DeviceWatch(device.uuid)
        self._heartbeat = Heartbeat(
            store=store,
            identity=identity,
            timing=self._timing,
            clock=clock,
            on_fence=lambda: self._trainers.send(Pause()),
            say=say,
            reading=self._device_watch.reading,
        )
        self._ended = EndedRuns(store, identity, say)
        self._was_fenced = False
        self._database_answers = True
        self._outdated: DatabaseVersionError | None = None

    def run(self) -> WorkerSummary:
        """Work until the queue is empty, the count is reached, a signal comes, or the device is set aside.

        Raises DatabaseVersionError where the database was upgraded meanwhile; a run at hand was released before.
        """
        why = "an error of its own"
        try:
            why = self._work()
        finally:
            self._trainers.close()
            self._heartbeat.end(why)
            self._device_watch.close()
            self._csv.close()
            # Asked to stop, it does not stay for these: a step and the teller go on by themselves.
            patience_seconds = 0.0 if self.stop_requests.wanted else CLOSE_SECONDS
            self._growth.close(patience_seconds)
            self._notify.close(patience_seconds)
        return WorkerSummary(
            completed=self._ended.completed,
            failed=self._ended.failed,
            why=why,
            interrupted=self.stop_requests.wanted,
            set_aside=bool(self._ended.why_aside),
            could_not_work=bool(self._claiming.could_not_work),
        )

    # The outer loop: from run to run.

    def _work(self) -> str:
        """Go from run to run; returns what ends the worker."""
        if not self._register():
            return self.stop_requests.why
        self._heartbeat.judge(own_beats_commit=True)
        self._tidy_up()
        self._growth.attend()
        why = ""
        while not why:
            why = self._why_to_end() or self._turn()
        return why

    def _why_to_end(self) -> str:
        """What ends the worker before it claims again; empty while it goes on."""
        if why := self._claiming.could_not_work or self._ended.why_aside:
            return why
        if self._outdated is not None:
            raise self._outdated
        if self.stop_requests.wanted:
            return self.stop_requests.why
        if self._options.count and self._ended.ended >= self._options.count:
            return f"its {self._options.count} runs are done"
        return "" if self._options.watch else self._claiming.why_to_end(self._timing.faulty_code_seconds)

    def _turn(self) -> str:
        """Train a run, or wait a moment where there is none; returns what ends the worker, empty while it goes on."""
        try:
            claim = self._claim()
            why = self._why_to_leave() if claim is None else ""
        except DatabaseBusyError as error:
            self._claiming.note_idle(self._wait_for_database(error))
            return ""
        if claim is not None:
            self._attend(claim)
        elif not why:  # wait a moment for work, a signal or the next beat
            poll_seconds = self._timing.idle_poll_seconds * self._heartbeat.crowding
            self._claiming.note_idle(self._inbox.next(min(poll_seconds, max(self._heartbeat.due_in(), 0.01))))
        return why

    def _claim(self) -> Claim | None:
        if self._heartbeat.due_in() == 0:
            self._beat()
        if self._heartbeat.fenced or self._claiming.waits_for_code():
            return None
        try:
            claim = self._claiming.next(self._heartbeat.worker_id)
        except WorkerGoneError:
            self._heartbeat.register()
            self._trainers.send(Resume())  # the question may have taken so long that the worker had fenced itself
            return None
        self._database_answers = True
        return claim

    def _why_to_leave(self) -> str:
        """What ends a worker that finds no run to claim; empty where it waits for one."""
        if self._options.sweep and not self._store.any_sweep(self._options.sweep):
            return "its sweeps were deleted"
        leaves = not self._options.watch and not self._more_to_come()
        self._csv.catch_up(at_once=leaves)
        return "the queue is empty" if leaves else ""

    def _tidy_up(self) -> None:
        """Write and remove what killed processes left behind."""
        with contextlib.suppress(HlbqError, OSError):  # the next worker tries again
            self._csv.catch_up()
            remove_leftovers(self._store, find_leftovers(self._store, self._state_folder))

    def _register(self) -> bool:
        """Enter the list of workers, however long the database takes to answer; False once asked to stop."""
        while not self.stop_requests.wanted:
            try:
                self._heartbeat.register()
            except DatabaseBusyError as error:
                self._wait_for_database(error)
            else:
                return True
        return False

    def _more_to_come(self) -> bool:
        """Whether runs wait that can't be claimed just now, or a worker that holds one may turn out lost."""
        freed = self._heartbeat.judge(own_beats_commit=True)
        self._growth.attend()
        return (
            any(run.state is State.PENDING for run in freed)
            or bool(self._heartbeat.suspects)
            or self._growth.may_add()
            or self._store.waiting(self._options.sweep)
        )

    def _wait_for_database(self, error: DatabaseBusyError) -> Arrival | None:
        """Say once that the database does not answer, and wait a moment; what arrives meanwhile is returned."""
        if self._database_answers:
            self._say(f"waiting for the database: {error.message}")
        self._database_answers = False
        return self._inbox.next(self._timing.database_retry_seconds)

    # One run.

    def _attend(self, claim: Claim) -> None:
        """Train one claimed run to its end, or until it is no longer ours."""
        run = claim.run
        attempt = Attempt(
            claim,
            store=self._store,
            state_folder=self._state_folder,
            timing=self._timing,
            clock=self._clock,
            say=self._say,
            code=self._claiming.code,
            keep_code=self._claiming.keep_code,
            rungs=Rungs.of(self._store, claim),
        )
        self._say(f"run {run.id} (arm {run.arm_number}, seed {run.seed}) starts, attempt {claim.lease.fence}")
        try:
            self._claiming.start(claim, attempt.rungs.ahead)
        except TrainerStartError as error:
            self._give_back(attempt, error)
            return
        self._wandb.attend(run.sweep_id)
        while not attempt.over:
            self._take(attempt, self._inbox.next(self._next_duty_in(attempt)))
            self._do_duties(attempt)
        if attempt.fenced:
            self._leave(attempt)
        elif attempt.ending is not None and attempt.after is not None:
            self._settle(attempt, attempt.ending, attempt.after)
        self._notify.attend()
        self._growth.attend()

    def _give_back(self, attempt: Attempt, error: TrainerStartError) -> None:
        """The run goes back untouched: this host cannot start its trainer, so it will not start another's."""
        attempt.end_from_outside(Reason.RELEASED, type(error).__name__, str(error))
        while not attempt.over and not self.stop_requests.at_once:
            try:
                if self._heartbeat.due_in() == 0:
                    self._beat()
                attempt.write()
            except DatabaseBusyError as busy:
                self._wait_for_database(busy)

    def _next_duty_in(self, attempt: Attempt) -> float:
        """Seconds until something is to be done for the run, whether anything comes or not."""
        if self._heartbeat.fenced:
            return min(self._heartbeat.due_in(), self._timing.database_retry_seconds)
        return max(0.0, min(self._heartbeat.due_in(), attempt.flush_due_in(), attempt.hangs_in()))

    def _take(self, attempt: Attempt, arrival: Arrival | None) -> None:
        """Hand what came to the attempt, and whatever else has come with it."""
        while arrival is not None:
            if isinstance(arrival, TrainerDied | LoadFailed) and arrival.pid != self._trainers.pid:
                pass  # an earlier trainer's end, long known
            elif not isinstance(arrival, WakeUp):
                attempt.take(arrival)
            arrival = self._inbox.next()

    def _do_duties(self, attempt: Attempt) -> None:
        try:
            if self._heartbeat.due_in() == 0:
                self._beat(attempt)
            if attempt.flush_due_in() == 0 and not self._heartbeat.fenced:
                attempt.write()
                self._database_answers = True
                if (directive := attempt.directive_at_rung()) is not None:
                    self._trainers.direct(attempt.lease, directive)
        except DatabaseBusyError as error:
            self._take(attempt, self._wait_for_database(error))
            if self.stop_requests.at_once:
                attempt.drop()
        if not attempt.fenced and attempt.ending is None:
            self._obey_stop_requests(attempt)
            self._end_if_hung(attempt)

    def _beat(self, attempt: Attempt | None = None) -> None:
        """Beat; after a time in which that failed, go on only with a run that is still ours."""
        try:
            self._was_fenced |= self._heartbeat.beat()
            self._notify.attend()
        except WorkerGoneError:
            self._say("other workers took this one for dead and gave its run away")
            self._heartbeat.register()
            self._was_fenced = True
        except DatabaseVersionError as error:
            if self._outdated is None:
                self._say(f"{error.message}: this worker ends")
                self._outdated = error
                self.stop_requests.ask()  # a run at hand is released
        if attempt is not None and not self._store.still_holds(attempt.lease):
            attempt.drop()
        elif self._was_fenced:
            # Between runs too: the next one must not find the trainer paused.
            self._trainers.send(Resume())
            if attempt is not None:
                attempt.restart_silence()
        self._was_fenced = False

    def _obey_stop_requests(self, attempt: Attempt) -> None:
        """Release the run once asked to stop; do not wait for the trainer any longer than the grace."""
        if not self.stop_requests.wanted:
            return
        if not attempt.told_to_release:
            attempt.told_to_release = True
            self._say(f"stopping: releasing run {attempt.lease.run_id} (once more stops at once)")
            self._trainers.direct(attempt.lease, Directive.RELEASE)
        late = self.stop_requests.seconds_since() >= self._timing.release_grace_seconds
        if self.stop_requests.at_once or late or not self._trainers.is_ready:  # not ready: nothing is trained yet
            self._trainers.kill()
            attempt.end_from_outside(Reason.RELEASED, "", "")

    def _end_if_hung(self, attempt: Attempt) -> None:
        if self._heartbeat.fenced or self._was_fenced or attempt.hangs_in() > 0:
            return  # while it is fenced, and until it is told to go on, the trainer is silent because it was told to be
        self._take(attempt, self._inbox.next())  # what it said while the database kept this process waiting
        if attempt.ending is not None or attempt.hangs_in() > 0:
            return
        self._trainers.kill()
        allowed = attempt.claim.run.bookkeeping.stall_timeout_seconds
        why = f"the trainer gave no sign of life for {allowed:g} s (--stall_timeout) and was ended"
        if self._trainers.is_ready:
            attempt.end_from_outside(Reason.TIMEOUT, "TrainerHung", why)
        else:
            attempt.end_while_loading("TrainerHung", why)

    # After a run.

    def _leave(self, attempt: Attempt) -> None:
        """Have the trainer leave a run that is no longer ours; a trainer that does not listen is ended."""
        self._say(
            f"run {attempt.lease.run_id} is no longer held by this worker (cancelled, or given away): "
            "nothing more is written"
        )
        self._trainers.direct(attempt.lease, Directive.CANCEL)
        self._trainers.send(Resume())
        until = self._clock() + self._timing.kill_grace_seconds
        while attempt.ending is None and (left := until - self._clock()) > 0:
            arrival = self._inbox.next(left)
            if arrival is not None and not isinstance(arrival, WakeUp):
                attempt.take(arrival)
        if attempt.ending is None or attempt.ending.reason is not Reason.CANCELLED:
            self._trainers.close()

    def _settle(self, attempt: Attempt, ending: Ending, after: RunRecord) -> None:
        """An unwell trainer is not used again; the outcome and the sweep's CSV are brought up to date."""
        unwell = ending.reason not in (Reason.FINISHED, Reason.RELEASED, Reason.PRUNED) or not self._trainers.alive
        if unwell or attempt.trainer_is_of_other_code:
            self._trainers.close()
        self._ended.note(ending, after)
        self._wandb.attend(after.sweep_id)
        if after.state in TERMINAL:
            self._csv.changed(after.sweep_id)
        if attempt.ended_while_loading:
            self._claiming.note_ended_loading(ending.error_message)
        elif attempt.blame is not Blame.RUN:
            self._claiming.note_fault(attempt.blame, ending.error_type, ending.error_message)
        else:
            self._ended.judge_device(ending.reason)
