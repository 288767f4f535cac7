"""One worker: claims runs, makes its trainer process train them, and keeps the database true. Imports no torch.

The loop owns the only database connection. All messages of the trainer arrive in one inbox. Between them the loop does
what is due: beats, flushes, judging the others, ending a trainer that hangs.
"""

import contextlib
import queue
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from hlbgpt_core.code_digest import CoreCode, core_folder
from hlbgpt_core.code_version import version_of
from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Directive
from orchestrator.errors import CodeNotLoadedError, DatabaseBusyError, DatabaseVersionError, WorkerGoneError
from orchestrator.launch.stop_signals import heeded_stop_signals
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.leftovers import find_leftovers, remove_leftovers
from orchestrator.notify.side import CLOSE_SECONDS, NotifySide
from orchestrator.queue.attempts import Claim
from orchestrator.queue.policies import SEARCH
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import TERMINAL, Reason, State
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import Store
from worker.attempt import Attempt
from worker.beside.csv_writer import CsvUpkeep
from worker.beside.growth_steps import GrowthSteps
from worker.beside.sync_launcher import SyncLauncher
from worker.code_keeper import CodeKeeper
from worker.devices.device_watch import DeviceWatch
from worker.devices.devices import Device
from worker.devices.set_aside import FAILURES, SET_ASIDE_AFTER, why_to_set_aside
from worker.faulty_code import FaultyCode
from worker.heartbeat import Heartbeat
from worker.processes import host_name
from worker.timing import Timing
from worker.trainer.blame import Blame
from worker.trainer.messages import Direct, LoadFailed, Resume
from worker.trainer.trainer_handle import Arrival, Inbox, TrainerDied, TrainerHandle, TrainerStartError, WakeUp
from worker.trainer.trainer_manager import EarlyTrainer, TrainerManager

if TYPE_CHECKING:
    from orchestrator.growth.early_stopping import Halving


@dataclass(frozen=True, kw_only=True)
class WorkerSummary:
    """What a worker did. `why` says what ended it."""

    completed: int
    failed: int
    why: str
    interrupted: bool = False
    set_aside: bool = False
    could_not_work: bool = False


@dataclass(kw_only=True)
class _Tally:
    completed: int = 0
    failed: int = 0
    ended: int = 0


@dataclass(kw_only=True)
class _Stopping:
    """How often a person or a scheduler asked this worker to stop, and when it first heard."""

    requests: int = 0
    time_is_up: bool = False
    asked_trainer: bool = False
    since: float = 0.0

    @property
    def why(self) -> str:
        """What ends the worker."""
        return "its time is nearly up" if self.time_is_up else "asked to stop"


class Supervisor:
    """One worker from its first claim to its end. `run()` does it all."""

    def __init__(
        self,
        *,
        store: Store,
        state_folder: Path,
        identity: WorkerIdentity,
        device: Device,
        command: Sequence[str],
        options: WorkerOptions,
        timing: Timing | None = None,
        early: EarlyTrainer | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self._store, self._state_folder, self._identity = store, state_folder, identity
        self._options, self._timing = options, timing or Timing()
        self._clock, self._say = clock, say
        self._inbox: Inbox = early.inbox if early is not None else queue.SimpleQueue()
        self._trainers = TrainerManager(
            command=command,
            device=device,
            threads=options.threads,
            state_folder=state_folder,
            inbox=self._inbox,
            kill_grace_seconds=self._timing.kill_grace_seconds,
            say=say,
            early=early,
        )
        self._code = ""
        self._code_keeper = CodeKeeper(store, sources=self._trainers.sources, say=say)
        self._csv = CsvUpkeep(store, hostname=identity.hostname, say=say)
        self._wandb = SyncLauncher(store, state_folder, say)
        self._notify = NotifySide(store, say)
        self._growth = GrowthSteps(store, options.sweep, say, clock)
        self._device_watch = DeviceWatch(device.uuid)
        self._stopping = _Stopping()
        self._tally = _Tally()
        self._was_fenced = False
        self._database_answers = True
        self._aside = ""
        self._could_not_work = ""
        self._loading: int | None = None
        self._faulty_code = FaultyCode(code=CoreCode().sources, clock=clock, say=say)
        self._outdated: DatabaseVersionError | None = None

    def run(self) -> WorkerSummary:
        """Work until the queue is empty, the count is reached, a signal comes, or the device is set aside.

        Raises DatabaseVersionError where the database was upgraded meanwhile; a run at hand was released before.
        """
        self._heartbeat = Heartbeat(
            store=self._store,
            identity=self._identity,
            timing=self._timing,
            clock=self._clock,
            on_fence=self._trainers.pause,
            say=self._say,
            reading=self._device_watch.reading,
        )
        why = "an error of its own"
        try:
            why = self._work()
        finally:
            self._trainers.close()
            self._heartbeat.end(why)
            self._device_watch.close()
            self._csv.close()
            # Asked to stop, it does not stay for these: a step and the teller go on by themselves.
            patience_seconds = 0.0 if self._stopping.requests else CLOSE_SECONDS
            self._growth.close(patience_seconds)
            self._notify.close(patience_seconds)
        return WorkerSummary(
            completed=self._tally.completed,
            failed=self._tally.failed,
            why=why,
            interrupted=self._stopping.requests > 0,
            set_aside=bool(self._aside),
            could_not_work=bool(self._could_not_work),
        )

    def handle_signal(self, number: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM: the first releases the run with a checkpoint, the second stops at once, as SIGQUIT does.

        SIGUSR1, by which a scheduler says that time is nearly up, and SIGHUP, which a closing terminal sends more than
        once, release as the first does and never hurry. Nor does SIGTERM in a cluster's job: there every process of
        the job gets it, and passes it on besides.
        """
        hurries = number in (signal.SIGINT, signal.SIGQUIT) or (number == signal.SIGTERM and not self._identity.job)
        is_first = not self._stopping.requests
        if not is_first and not hurries:
            return
        self._stopping.requests += 2 if number == signal.SIGQUIT else 1
        if is_first:
            self._stopping.since = self._clock()
            self._stopping.time_is_up = number == signal.SIGUSR1
        self._inbox.put(WakeUp())

    def install_signal_handlers(self) -> None:
        """Have what asks to stop stop this worker in good order."""
        for number in (*heeded_stop_signals(), signal.SIGUSR1):
            signal.signal(number, self.handle_signal)

    # The outer loop: from run to run.

    def _work(self) -> str:
        if not self._register():
            return self._stopping.why
        self._heartbeat.judge(own_beats_commit=True)
        self._tidy_up()
        self._growth.attend()
        while True:
            if self._outdated is not None:
                raise self._outdated
            if self._stopping.requests:
                return self._stopping.why
            if self._options.count and self._tally.ended >= self._options.count:
                return f"its {self._options.count} runs are done"
            if not self._options.watch and (why := self._faulty_code.why_to_end(self._timing.faulty_code_seconds)):
                self._could_not_work = why
                return why
            try:
                claim = self._claim()
                if claim is None and self._options.sweep and not self._store.any_sweep(self._options.sweep):
                    return "its sweeps were deleted"
                leaves = claim is None and not self._options.watch and not self._more_to_come()
                if claim is None:
                    self._csv.catch_up(at_once=leaves)
                if leaves:
                    return "the queue is empty"
            except DatabaseBusyError as error:
                self._wait_for_database(error)
                continue
            if claim is None:
                self._idle()
            else:
                self._attend(claim)
            if self._could_not_work:
                return self._could_not_work
            if self._aside:
                self._say(self._aside)
                return self._aside

    def _tidy_up(self) -> None:
        """Write and remove what killed processes left behind."""
        with contextlib.suppress(HlbqError, OSError):  # the next worker tries again
            self._csv.catch_up()
            remove_leftovers(self._store, find_leftovers(self._store, self._state_folder))

    def _register(self) -> bool:
        """Enter the list of workers, however long the database takes to answer; False once asked to stop."""
        while not self._stopping.requests:
            try:
                self._heartbeat.register()
            except DatabaseBusyError as error:
                self._wait_for_database(error)
            else:
                return True
        return False

    def _claim(self) -> Claim | None:
        if self._heartbeat.due_in() == 0:
            self._beat()
        if self._heartbeat.fenced or self._faulty_code.stands():
            return None
        try:
            code = self._trainers.code()
            if code != self._code and (freed := self._store.code_is_back(code, f"worker {self._heartbeat.worker_id}")):
                self._say(f"free again, because their code is back: {freed} of the runs that were held")
            self._code = code
            claim = self._store.claim(
                self._heartbeat.worker_id,
                sweep_ids=self._options.sweep,
                code=self._code,
                code_loads=self._trainers.has_loaded(self._code),
                on_hold=self._note_held,
            )
        except CodeNotLoadedError:
            self._load_code()
            return None
        except WorkerGoneError:
            self._heartbeat.register()
            return None
        self._database_answers = True
        return claim

    def _load_code(self) -> None:
        """Have a trainer load the code on disk, so that no run is held for code that cannot be imported."""
        self._faulty_code.before_start()
        try:
            self._loading = self._trainers.load().pid
        except TrainerStartError as error:
            self._could_not_work = f"no run can be trained on {host_name()}: {error.message}"

    def _note_loading(self, arrival: Arrival | None) -> None:
        """What a trainer that was started without a run says of its code."""
        if not isinstance(arrival, LoadFailed | TrainerDied) or arrival.pid != self._loading:
            return
        self._loading = None
        if isinstance(arrival, TrainerDied):
            self._could_not_work = f"no run can be trained on {host_name()}: the trainer process ended while it loaded"
        elif arrival.blame == Blame.CODE:
            self._faulty_code.note(f"{arrival.error_type}: {arrival.error_message}")
        else:
            what = " ".join(arrival.error_message.splitlines())
            self._could_not_work = f"no run can be trained on {host_name()}: {arrival.error_type}: {what}"

    def _note_held(self, run_ids: Sequence[int]) -> None:
        """Runs were begun by other code: say so, and keep this one too, for whoever wants to see what differs."""
        numbers = ", ".join(map(str, run_ids))
        self._say(
            f"held, because hlbgpt_core has changed since their checkpoints: run {numbers}. To choose: hlbq status"
        )
        version = version_of(core_folder())
        provenance = {"core_digest": self._code, "git_commit": version.git_commit, "git_dirty": version.git_dirty}
        self._code_keeper.keep(provenance)

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

    def _idle(self) -> None:
        """Wait a moment for work, a signal or the next beat."""
        poll_seconds = self._timing.idle_poll_seconds * self._heartbeat.crowding
        self._note_loading(self._next_arrival(min(poll_seconds, max(self._heartbeat.due_in(), 0.01))))

    def _wait_for_database(self, error: DatabaseBusyError) -> Arrival | None:
        """Say once that the database does not answer, and wait a moment; what arrives meanwhile is returned."""
        if self._database_answers:
            self._say(f"waiting for the database: {error.message}")
        self._database_answers = False
        return self._next_arrival(self._timing.database_retry_seconds)

    # One run.

    def _attend(self, claim: Claim) -> None:
        """Train one claimed run to its end, or until it is no longer ours."""
        run = claim.run
        halving = self._halving(run)
        attempt = Attempt(
            claim,
            store=self._store,
            state_folder=self._state_folder,
            timing=self._timing,
            clock=self._clock,
            say=self._say,
            code=self._code,
            keep_code=self._code_keeper.keep,
            halving=halving,
        )
        self._say(f"run {run.id} (arm {run.arm_number}, seed {run.seed}) starts, attempt {claim.lease.fence}")
        self._faulty_code.before_start()
        try:
            trainer = self._trainers.start(claim, halving.rungs if halving else ())
        except TrainerStartError as error:
            self._give_back(attempt, error)
            return
        self._wandb.attend(run.sweep_id)
        self._stopping.asked_trainer = False
        while not attempt.over:
            self._take(attempt, self._next_arrival(self._next_duty_in(attempt)))
            self._do_duties(attempt, trainer)
        self._settle(attempt, trainer)
        self._notify.attend()
        self._growth.attend()

    def _halving(self, run: RunRecord) -> "Halving | None":
        """What the run is judged by at rungs; nothing where the database does not answer."""
        try:
            record = self._store.policy(run.sweep_id)
            if record is None or record.kind != SEARCH:
                return None
            from orchestrator.growth.early_stopping import halving_of  # most workers never need it

            return halving_of(self._store, record, run)
        except DatabaseBusyError:
            return None

    def _give_back(self, attempt: Attempt, error: TrainerStartError) -> None:
        """The run goes back untouched: this host cannot start its trainer, so it will not start another's."""
        self._could_not_work = f"no run can be trained on {host_name()}: {error.message}"
        attempt.end_from_outside(Reason.RELEASED, type(error).__name__, str(error))
        while not attempt.over and self._stopping.requests <= 1:
            try:
                if self._heartbeat.due_in() == 0:
                    self._beat()
                attempt.write()
            except DatabaseBusyError as busy:
                self._wait_for_database(busy)

    def _take(self, attempt: Attempt, arrival: Arrival | None) -> None:
        """Hand what came to the attempt, and whatever else has come with it."""
        while arrival is not None:
            if isinstance(arrival, TrainerDied | LoadFailed) and arrival.pid != self._trainers.pid:
                pass  # an earlier trainer's end, long known
            elif not isinstance(arrival, WakeUp):
                attempt.take(arrival)
            arrival = self._next_arrival(0.0)

    def _do_duties(self, attempt: Attempt, trainer: TrainerHandle) -> None:
        try:
            if self._heartbeat.due_in() == 0:
                self._beat(attempt, trainer)
            if attempt.flush_due_in() == 0 and not self._heartbeat.fenced:
                attempt.write()
                self._database_answers = True
                if (directive := attempt.directive_at_rung()) is not None:
                    lease = attempt.lease
                    trainer.send(Direct(run_id=lease.run_id, fence=lease.fence, directive=directive))
        except DatabaseBusyError as error:
            self._take(attempt, self._wait_for_database(error))
            if self._stopping.requests > 1:
                attempt.drop()
        if attempt.fenced:
            return
        self._obey_signals(attempt, trainer)
        self._end_if_hung(attempt, trainer)

    def _beat(self, attempt: Attempt | None = None, trainer: TrainerHandle | None = None) -> None:
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
                self.handle_signal(0, None)  # as if asked to stop: a run at hand is released
        if attempt is not None and trainer is not None:
            if not self._store.still_holds(attempt.lease):
                attempt.drop()
            elif self._was_fenced:
                attempt.restart_silence()
                trainer.send(Resume())
        elif self._was_fenced:
            self._trainers.resume()  # paused between runs: the next one must not find it so
        self._was_fenced = False

    def _obey_signals(self, attempt: Attempt, trainer: TrainerHandle) -> None:
        """Release the run once asked to stop; do not wait for the trainer any longer than the grace."""
        if not self._stopping.requests or attempt.ending is not None:
            return
        if not self._stopping.asked_trainer:
            self._stopping.asked_trainer = True
            self._say(f"stopping: releasing run {attempt.lease.run_id} (once more stops at once)")
            lease = attempt.lease
            trainer.send(Direct(run_id=lease.run_id, fence=lease.fence, directive=Directive.RELEASE))
        late = self._clock() - self._stopping.since >= self._timing.release_grace_seconds
        if self._stopping.requests > 1 or late or trainer.ready is None:  # not ready: nothing is trained yet
            trainer.kill()
            attempt.end_from_outside(Reason.RELEASED, "", "")

    def _end_if_hung(self, attempt: Attempt, trainer: TrainerHandle) -> None:
        allowed = attempt.claim.run.bookkeeping.stall_timeout_seconds
        if attempt.ending is not None or self._heartbeat.fenced or attempt.silent_seconds() < allowed:
            return
        trainer.kill()
        attempt.end_from_outside(
            Reason.TIMEOUT,
            "TrainerHung",
            f"the trainer gave no sign of life for {allowed:g} s (--stall_timeout) and was ended",
        )

    def _settle(self, attempt: Attempt, trainer: TrainerHandle) -> None:
        """After a run: an unwell trainer is not used again, the tally and the sweep's CSV are brought up to date."""
        run = attempt.claim.run
        if attempt.fenced:
            self._say(
                f"run {run.id} is no longer held by this worker (cancelled, or given away): nothing more is written"
            )
            self._stop_fenced(attempt, trainer)
            return
        if attempt.ending is None or attempt.after is None:
            return
        after, ending = attempt.after, attempt.ending
        unwell = ending.reason not in (Reason.FINISHED, Reason.RELEASED, Reason.PRUNED) or not trainer.alive
        if unwell or attempt.trainer_is_of_other_code:
            self._trainers.close()
        loss = "" if after.last_val_loss is None else f", validation loss {after.last_val_loss:.4f}"
        why = ending.error_message.splitlines()[:1]
        what = ": ".join(["", *filter(None, (ending.error_type, *why))]) if why else ""
        self._say(f"run {run.id} ends ({ending.reason}){loss}{what}; it is {after.state} at step {after.step}")
        self._wandb.attend(run.sweep_id)
        self._tally.ended += ending.reason is not Reason.RELEASED
        self._tally.completed += after.state is State.COMPLETED
        self._tally.failed += after.state is State.FAILED
        if after.state in TERMINAL:
            self._csv.changed(run.sweep_id)
        if attempt.blame is Blame.CODE:
            self._faulty_code.note(f"{ending.error_type}: {ending.error_message}")
        elif attempt.blame is Blame.HOST:
            what = " ".join(ending.error_message.splitlines())
            self._could_not_work = f"no run can be trained on {host_name()}: {ending.error_type}: {what}"
        elif ending.reason in FAILURES:
            self._aside = self._reason_to_set_aside()

    def _stop_fenced(self, attempt: Attempt, trainer: TrainerHandle) -> None:
        """Have the trainer leave a run that is no longer ours; a trainer that does not listen is ended."""
        lease = attempt.lease
        trainer.send(Direct(run_id=lease.run_id, fence=lease.fence, directive=Directive.CANCEL))
        trainer.send(Resume())
        until = self._clock() + self._timing.kill_grace_seconds
        while attempt.ending is None and (left := until - self._clock()) > 0:
            arrival = self._next_arrival(left)
            if arrival is not None and not isinstance(arrival, WakeUp):
                attempt.take(arrival)
        if attempt.ending is None or attempt.ending.reason is not Reason.CANCELLED:
            self._trainers.close()

    def _reason_to_set_aside(self) -> str:
        """Why this device should take no more runs; empty while it may."""
        try:
            last = self._store.recent_endings(self._identity.host, self._identity.device, SET_ASIDE_AFTER)
        except DatabaseBusyError:
            return ""  # asked again after the next failure
        why = why_to_set_aside(last)
        if not why:
            return ""
        return (
            f"device {self._identity.device} of {self._identity.hostname} is set aside: {why}; "
            "see `hlbq status` and `hlbq doctor`, then start the worker again"
        )

    # Small things.

    def _next_duty_in(self, attempt: Attempt) -> float:
        if self._heartbeat.fenced:
            return min(self._heartbeat.due_in(), self._timing.database_retry_seconds)
        allowed = attempt.claim.run.bookkeeping.stall_timeout_seconds - attempt.silent_seconds()
        return max(0.0, min(self._heartbeat.due_in(), attempt.flush_due_in(), allowed))

    def _next_arrival(self, timeout_seconds: float) -> Arrival | None:
        try:
            if timeout_seconds <= 0:
                return self._inbox.get_nowait()
            return self._inbox.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
