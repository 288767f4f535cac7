"""What a worker takes next: the run, the code on disk that would train it, and whether that code can be imported."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlbgpt_core.code_digest import CoreCode, core_folder
from hlbgpt_core.code_version import version_of
from orchestrator.code.archive import LARGEST_BYTES, pack
from orchestrator.errors import CodeNotLoadedError
from orchestrator.queue.attempts import Claim
from orchestrator.queue.code import commit_text
from orchestrator.queue.runs import Bookkeeping
from orchestrator.store import Store
from worker.trainer.blame import Blame
from worker.trainer.messages import LoadFailed
from worker.trainer.trainer_handle import Arrival, TrainerDied, TrainerStartError
from worker.trainer.trainer_manager import TrainerManager

# A trainer that is killed so often in a row while it loads finds no room on its host: under a limit on memory, say.
MOST_ENDED_LOADING = 3


@dataclass(kw_only=True)
class FaultyCode:
    """A core that cannot be imported: no run is claimed until it changes on disk.

    `code` gives the core on disk in a form that can be compared, such as its digest.
    """

    code: Callable[[], Any]
    clock: Callable[[], float]
    say: Callable[[str], None]
    _at_start: Any = None
    _error: str = ""
    _since: float = 0.0

    def before_start(self) -> None:
        """A run is about to start. What its trainer cannot import lies on disk by now."""
        self._at_start = self.code()

    def note(self, error: str) -> None:
        """The trainer could not import the core."""
        self._error, self._since = error, self.clock()
        self.say(f"hlbgpt_core cannot be imported: {error}\nruns stay pending until hlbgpt_core is corrected")

    def stands(self) -> bool:
        """Whether the core on disk is still the one that could not be imported."""
        if self._error and self.code() != self._at_start:
            self._error = ""
        return bool(self._error)

    def why_to_end(self, patience_seconds: float) -> str:
        """What ends a worker that should not wait for ever; empty while it may wait."""
        if not self.stands() or self.clock() - self._since < patience_seconds:
            return ""
        return f"hlbgpt_core cannot be imported: {self._error}"


class Claiming:
    """Takes runs that the code on disk can train, and starts the trainer on them.

    `code` is the digest of the core by which the last claim was made. `could_not_work` says why this host can train
    no run at all; empty while it may.
    """

    def __init__(
        self,
        store: Store,
        trainers: TrainerManager,
        state_folder: Path,
        *,
        sweep_ids: Sequence[int],
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self.code = ""
        self.could_not_work = ""
        self._faulty_code = FaultyCode(code=CoreCode().sources, clock=clock, say=say)
        self._store, self._trainers, self._state_folder = store, trainers, state_folder
        self._sweep_ids, self._say = sweep_ids, say
        self._kept: set[str] = set()
        self._ended_loading = 0
        self._loading_pid: int | None = None
        self._loading_since, self._clock = 0.0, clock

    def waits_for_code(self) -> bool:
        """Whether the code on disk cannot be imported, so that no run is claimed."""
        return self._faulty_code.stands()

    def why_to_end(self, patience_seconds: float) -> str:
        """What ends a worker that has waited so long for code that can be imported; empty while it may wait."""
        self.could_not_work = self._faulty_code.why_to_end(patience_seconds)
        return self.could_not_work

    def next(self, worker_id: int) -> Claim | None:
        """The next run for this worker; None where there is none, or where the trainer has yet to load the code.

        Raises DatabaseBusyError where the database does not answer, and WorkerGoneError where others took this
        worker for dead.
        """
        code = self._trainers.code()
        if code != self.code and (freed := self._store.code_is_back(code, f"worker {worker_id}")):
            self._say(f"free again, because their code is back: {freed} of the runs that were held")
        self.code = code
        try:
            return self._store.claim(
                worker_id,
                sweep_ids=self._sweep_ids,
                code=code,
                code_loads=self._trainers.has_loaded(code),
                on_hold=self._note_held,
            )
        except CodeNotLoadedError:
            self._load()
            return None

    def start(self, claim: Claim, rungs: Sequence[int]) -> None:
        """Have the trainer train a claimed run, which may be stopped at `rungs`.

        Raises TrainerStartError where the system cannot start one: this host will not train another's run either.
        """
        self._faulty_code.before_start()
        if self._trainers.is_ready:
            self._ended_loading = 0
        try:
            self._trainers.start(claim, self._state_folder, rungs)
        except TrainerStartError as error:
            self._give_up(error.message)
            raise

    def note_idle(self, arrival: Arrival | None) -> None:
        """Something came while no run was trained: of a trainer that was started to load the code, how that went."""
        if not isinstance(arrival, LoadFailed | TrainerDied) or arrival.pid != self._loading_pid:
            return
        self._loading_pid = None
        if isinstance(arrival, LoadFailed):
            self.note_fault(Blame(arrival.blame), arrival.error_type, arrival.error_message)
        elif not arrival.loaded:
            self._give_up("the trainer process ended while it loaded")

    def note_fault(self, blame: Blame, error_type: str, error_message: str) -> None:
        """A trainer failed for no fault of a run: its code cannot be imported, or the host is not fit for it."""
        if blame is Blame.CODE:
            self._faulty_code.note(f"{error_type}: {error_message}")
        else:
            self._give_up(f"{error_type}: {' '.join(error_message.splitlines())}")

    def note_ended_loading(self, why: str) -> None:
        """A trainer was killed, or hung, while it loaded. That may be chance once or twice."""
        self._ended_loading += 1
        if self._ended_loading >= MOST_ENDED_LOADING:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self.could_not_work = f"no run can be trained on {socket.gethostname()}: {why}"

    def _load(self) -> None:
        """Have a trainer load the code on disk, so that no run is held for code that cannot be imported."""
        self._faulty_code.before_start()
        try:
            self._trainers.load()
            if self._loading_pid != self._trainers.pid:
                self._loading_pid, self._loading_since = self._trainers.pid, self._clock()
            elif self._clock() - self._loading_since > Bookkeeping.stall_timeout_seconds:  # no run is there to say
                self._trainers.kill()
        except TrainerStartError as error:
            self._give_up(error.message)

    def _note_held(self, run_ids: Sequence[int]) -> None:
        """Runs were begun by other code: say so, and keep this one too, for whoever wants to see what differs."""
        numbers = ", ".join(map(str, run_ids))
        self._say(
            f"held, because hlbgpt_core has changed since their checkpoints: run {numbers}. To choose: hlbq status"
        )
        version = version_of(core_folder())
        self.keep_code({"core_digest": self.code, "git_commit": version.git_commit, "git_dirty": version.git_dirty})

    def keep_code(self, provenance: Mapping[str, Any]) -> None:
        """Keep the sources of what computes an attempt, once for each digest. Raises DatabaseBusyError: call again."""
        digest = str(provenance.get("core_digest") or "")
        if not digest or digest in self._kept:
            return
        if not self._store.knows_code(digest):
            sources = self._trainers.sources(digest)
            if sources is None:
                self._say(f"warning: the sources of code {digest} are not kept: they changed while they were loaded")
                return
            record = pack(digest, sources, git_commit=commit_text(provenance))
            if not record.sources:
                self._say(
                    f"warning: the sources of code {digest} are not kept: {record.num_bytes:,} bytes, but the database "
                    f"takes at most {LARGEST_BYTES:,}; keep large files outside hlbgpt_core"
                )
            self._store.keep_code(record)
        self._kept.add(digest)
