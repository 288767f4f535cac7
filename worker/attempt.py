"""One attempt at a run, as the supervisor keeps it: the trainer's messages that the database does not hold yet.

Everything is written under the fence. While the database does not answer, messages wait here in order; once the run is
no longer ours, they are dropped.
"""

import random
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hlbgpt_core.points import Directive, Facts, Progress, SavedCheckpoint
from orchestrator.errors import FencedError
from orchestrator.leftovers import unneeded_checkpoints
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.points import ReceivedPoint
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store
from worker.rungs import Rungs
from worker.timing import Timing
from worker.trainer.blame import Blame, classify_death
from worker.trainer.messages import (
    CheckpointMade,
    Ended,
    FactsFound,
    LoadFailed,
    Message,
    Noted,
    PointMade,
    ProgressMade,
    Resumed,
)
from worker.trainer.run_log import tail_of_log
from worker.trainer.trainer_handle import TrainerDied

_BEFORE_THE_RUN = "before it had loaded its libraries"


class Attempt:
    """The claimed run, its unsent points and its end.

    `over` is true once the end is recorded, or once the run was found to be someone else's (`fenced`).
    """

    def __init__(
        self,
        claim: Claim,
        *,
        store: Store,
        state_folder: Path,
        timing: Timing,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda text: None,
        code: str = "",
        keep_code: Callable[[Mapping[str, Any]], None] = lambda provenance: None,
        rungs: Rungs | None = None,
    ) -> None:
        self.claim = claim
        self.lease = claim.lease
        self.rungs = rungs or Rungs(store, claim)
        self.told_to_release = False
        self.trainer_is_of_other_code = False
        self.ended_while_loading = False
        self.ending: Ending | None = None
        self.after: RunRecord | None = None
        self.fenced = False
        self.blame = Blame.RUN
        self._code, self._keep_code = code, keep_code
        self._store = store
        self._state_folder = state_folder
        self._timing = timing
        self._clock, self._wall_clock = clock, wall_clock
        self._say = say
        self._points: list[ReceivedPoint] = []
        self._checkpoint: SavedCheckpoint | None = None
        self._checkpoint_tried = False
        self._resumed: SavedCheckpoint | None = None
        self._rewind: tuple[SavedCheckpoint | None, str] | None = None
        self._facts: Facts | None = None
        self._notes: list[Noted] = []
        self._progress: Progress | None = None
        self._alive_at = clock()
        # Workers that begin together must not write together ever after: they would wait for each other each time.
        self._flushed_at = self._alive_at - random.uniform(0.0, timing.flush_seconds)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do for this attempt."""
        return self.fenced or self.after is not None

    def flush_due_in(self) -> float:
        """Seconds until the next flush; 0 where enough points wait, or what can't wait."""
        waits = self.ending is not None or self._checkpoint is not None or self.rungs.reached
        if waits or len(self._points) >= self._timing.flush_points:
            return 0.0
        return max(0.0, self._flushed_at + self._timing.flush_seconds - self._clock())

    def hangs_in(self) -> float:
        """Seconds until a trainer that gives no sign of life counts as hung; 0 and less from then on."""
        return self._alive_at + self.claim.run.bookkeeping.stall_timeout_seconds - self._clock()

    def restart_silence(self) -> None:
        """The trainer was kept waiting by us: its silence until now does not count."""
        self._alive_at = self._clock()

    def take(self, message: Message | TrainerDied) -> None:
        """Note what the trainer said; messages of another run are passed over."""
        if isinstance(message, TrainerDied):
            self._note_death(message)
            return
        if isinstance(message, LoadFailed):
            self._note_load_failure(message)
            return
        if (getattr(message, "run_id", None), getattr(message, "fence", None)) != (self.lease.run_id, self.lease.fence):
            return
        self._alive_at = self._clock()
        match message:
            case PointMade(point=point):
                self._points.append(ReceivedPoint(**vars(point), recorded_at=self._wall_clock()))
                self.rungs.note(point)
            case ProgressMade(progress=progress):
                self._progress = progress
            case FactsFound(facts=facts):
                self._note_facts(facts)
            case Noted() as noted:
                self._say(f"warning: run {self.lease.run_id}: {noted.text}")
                self._notes.append(noted)
            case CheckpointMade(checkpoint=checkpoint):
                self._replace_checkpoint(checkpoint)
            case Resumed(checkpoint=checkpoint):
                self._note_resumed(checkpoint)
            case Ended() as end:
                self._note_end(end)

    def directive_at_rung(self) -> Directive | None:
        """Whether the run goes on, once its points up to a rung are stored; None where it is at no new rung.

        Raises DatabaseBusyError where the database does not answer: call again.
        """
        if self._points or self.over or self.ending is not None or not self.rungs.reached:
            return None
        try:
            directive = self.rungs.judge()
        except FencedError:
            self.drop()
            return None
        if directive is Directive.CONTINUE:
            self.restart_silence()
        return directive

    def end_from_outside(self, reason: Reason, error_type: str, error_message: str) -> None:
        """The trainer can no longer say how it ended: the supervisor does, with the end of its log."""
        if self.ending is None:
            tail = tail_of_log(self._state_folder / self.claim.log_path)
            self.ending = Ending(
                reason=reason, error_type=error_type, error_message=error_message, error_traceback=tail
            )

    def _note_death(self, death: TrainerDied) -> None:
        if self.ending is not None:
            return
        reason, error_type, error_message = classify_death(death.returncode)
        if death.loaded or reason is Reason.RELEASED:
            self.end_from_outside(reason, error_type, error_message)
        elif reason is Reason.ERROR:
            self.blame = Blame.HOST
            self.end_from_outside(Reason.RELEASED, error_type, f"{error_message}, {_BEFORE_THE_RUN}")
        else:
            self.end_while_loading(error_type, error_message)

    def end_while_loading(self, error_type: str, error_message: str) -> None:
        """The trainer was ended before it had even read of the run, which is not to blame."""
        self.ended_while_loading = True
        self.end_from_outside(Reason.RELEASED, error_type, f"{error_message}, {_BEFORE_THE_RUN}")

    def _note_load_failure(self, failure: LoadFailed) -> None:
        if self.ending is None:
            self.blame = Blame(failure.blame)
            self.ending = Ending(
                reason=Reason.RELEASED,
                error_type=failure.error_type,
                error_message=failure.error_message,
                error_traceback=failure.error_traceback,
            )

    def write(self) -> None:
        """Bring the database up to date, the end included.

        Raises DatabaseBusyError where it does not answer: nothing is lost, call again.
        """
        try:
            self._write_in_order()
        except FencedError:
            self.drop()
        self._flushed_at = self._clock()

    def drop(self) -> None:
        """The run is someone else's, or cancelled: what was not written never will be."""
        self.fenced = True
        self._points.clear()
        # Its files stay: the commit may have gone through unheard. They go when the run completes.
        self._checkpoint = None

    def _write_in_order(self) -> None:
        while self._notes:
            self._store.note(self.lease, self._notes[0].action, self._notes[0].text)
            del self._notes[0]
        if self._rewind is not None:
            checkpoint, why = self._rewind
            self._store.rewind(self.lease, checkpoint, why=why)
            self._rewind = None
        if self._facts is not None:
            self._keep_code(self._facts.provenance)
            self._store.flush(
                self.lease, points=(), progress=self._progress, facts=self._with_command_line(self._facts)
            )
            self._facts = None
        if self._checkpoint is not None:
            self._checkpoint_tried = True
            dropped = self._store.commit_checkpoint(
                self.lease, self._checkpoint, points=tuple(self._points), progress=self._progress
            )
            self._checkpoint = None
            self._points.clear()
            if dropped is not None:
                self._remove_files(dropped)
        points = tuple(self._points)
        if self.ending is None:
            self._store.flush(self.lease, points=points, progress=self._progress)
        else:
            self.after = self._store.finish(self.lease, self.ending, points=points, progress=self._progress)
        self._points.clear()
        if self.after is not None and self.after.state is State.COMPLETED:
            for path in unneeded_checkpoints(self._state_folder, self.after):
                shutil.rmtree(path, ignore_errors=True)

    def _with_command_line(self, facts: Facts) -> Facts:
        """The facts, with the command that made the run's sweep among what computed its numbers."""
        sweep = self._store.sweep(self.claim.run.sweep_id)
        argv = list(sweep.argv) if sweep is not None else []
        return replace(facts, provenance={**facts.provenance, "argv": argv})

    def _replace_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """A newer checkpoint supersedes one that the database never learnt of.

        Of one that was tried, the commit may have gone through unheard: its files stay until the run completes.
        """
        if self._checkpoint is not None and not self._checkpoint_tried:
            self._remove_files(self._checkpoint)
        self._checkpoint, self._checkpoint_tried = checkpoint, False

    def _note_resumed(self, checkpoint: SavedCheckpoint | None) -> None:
        self._resumed = checkpoint
        newest = self.claim.run.checkpoint
        if checkpoint == newest or newest is None:
            return
        # A run that moves to a host with a state folder of its own leaves its files behind.
        there = (self._state_folder / newest.path).exists()
        wrong = "is damaged" if there else f"is not in '{self._state_folder}' on {socket.gethostname()}"
        onward = f"goes on from step {checkpoint.step}" if checkpoint else "starts again from step 0"
        why = f"the newest checkpoint (step {newest.step}) {wrong}; {onward}"
        self._say(f"warning: run {self.lease.run_id}: {why}")
        self._rewind = (checkpoint, why)

    def _note_facts(self, facts: Facts) -> None:
        """What the trainer computes by. Where the code changed between the claim and the trainer's start, a run that
        would go on from a checkpoint goes back instead: its next claim knows the new code."""
        loaded = facts.provenance.get("core_digest")
        if self._code and loaded and loaded != self._code and self._resumed is not None:
            self.trainer_is_of_other_code = True
            self.end_from_outside(Reason.RELEASED, "", "")
            return
        self._facts = facts
        before = self.claim.run.facts.get("threads")
        if before is not None and facts.device == "cpu" and facts.threads != before:
            self._say(
                f"warning: run {self.lease.run_id} goes on with {facts.threads} threads instead of {before}: "
                "its last digits will differ"
            )

    def _note_end(self, end: Ended) -> None:
        self.blame = Blame(end.blame)
        reason = Reason(end.reason)
        is_pruned = bool(self.rungs.stopped_why) and reason is Reason.RELEASED and self.blame is Blame.RUN
        self.ending = Ending(
            reason=Reason.PRUNED if is_pruned else reason,
            error_type=end.error_type,
            error_message=self.rungs.stopped_why if is_pruned else end.error_message,
            error_traceback=end.error_traceback,
            permanent=end.permanent,
        )

    def _remove_files(self, checkpoint: SavedCheckpoint) -> None:
        shutil.rmtree(self._state_folder / checkpoint.path, ignore_errors=True)
