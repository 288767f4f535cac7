"""Keeps one trainer process warm from run to run, and restarts it when the code on disk has changed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hlbgpt_core.code_digest import CoreCode
from hlbgpt_core.points import Directive
from orchestrator.queue.attempts import Claim, Lease
from worker.devices.devices import Device
from worker.trainer.messages import Direct, Start, ToTrainer
from worker.trainer.trainer_handle import Inbox, TrainerHandle


class TrainerManager:
    """The worker's trainer process, there or not. What it says arrives in `inbox`.

    `load` starts the first one before there is a run: loading torch takes longest before a first step, so it begins
    while the worker itself still loads, registers and claims.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        device: Device,
        threads: int,
        say: Callable[[str], None],
        kill_grace_seconds: float,
    ) -> None:
        self.inbox = Inbox()
        self._command, self._say, self._kill_grace_seconds = tuple(command), say, kill_grace_seconds
        # One setting for both libraries that torch may compute with; the thread count decides the last bits.
        count = str(threads)
        self._environment = {**device.environment, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        self._core = CoreCode()
        self._handle: TrainerHandle | None = None
        self._sources: dict[str, Mapping[str, bytes]] = {}
        # The code on disk when the trainer was started: it may be asked for before it says what it has loaded.
        self._digest = ""

    @property
    def pid(self) -> int | None:
        """The process id of the trainer, if there is one."""
        return self._handle.pid if self._handle is not None else None

    def code(self) -> str:
        """The digest of the core on disk now, by which the next run would be trained."""
        return self._note(self._core.sources())

    def sources(self, digest: str) -> Mapping[str, bytes] | None:
        """The sources of a digest that was on disk when this worker last read it; None of others."""
        return self._sources.get(digest)

    @property
    def alive(self) -> bool:
        """Whether there is a trainer that still runs."""
        return self._handle is not None and self._handle.alive

    @property
    def is_ready(self) -> bool:
        """Whether the trainer has loaded its code."""
        return self._handle is not None and self._handle.ready is not None

    def start(self, claim: Claim, state_folder: Path, rungs: Sequence[int]) -> None:
        """Set the trainer, the warm one or a new one, to work on the claimed run, which may be stopped at `rungs`.

        Raises TrainerStartError where the system cannot start one.
        """
        log_path = state_folder / claim.log_path
        self.load(log_path)
        self.send(start_message(claim, state_folder, log_path, rungs))

    def load(self, log_path: Path | None = None) -> None:
        """Have a trainer, the warm one or a new one, that has loaded the code on disk, or does so now.

        Raises TrainerStartError where the system cannot start one.
        """
        if not self._is_current():
            self.close()
            sources = self._core.sources()
            self._handle = TrainerHandle(self._command, self._environment, log_path, self.inbox)
            # Read before the process began, and parsed while it loads: that takes as long as a tenth of torch.
            self._digest = self._note(sources)

    def has_loaded(self, digest: str) -> bool:
        """Whether the trainer at hand has loaded the code of that digest."""
        ready = self._handle.ready if self._handle is not None else None
        return ready is not None and ready.core_digest == digest

    def send(self, message: ToTrainer) -> None:
        """Tell the trainer, if there is one."""
        handle = self._handle  # once: the self-fence's thread sends too
        if handle is not None:
            handle.send(message)

    def direct(self, lease: Lease, directive: Directive) -> None:
        """Tell the trainer what is wanted of the run at hand."""
        self.send(Direct(run_id=lease.run_id, fence=lease.fence, directive=directive))

    def kill(self) -> None:
        """End the trainer at once; its death arrives in the inbox."""
        if self._handle is not None:
            self._handle.kill()

    def close(self) -> None:
        """End the trainer, if there is one."""
        if self._handle is not None:
            self._handle.shut_down(self._kill_grace_seconds)
            self._handle = None

    def _note(self, sources: Mapping[str, bytes]) -> str:
        """Keep the sources of what a trainer may have loaded; returns their digest."""
        digest = self._core.digest_of(sources)
        self._sources = {**self._sources, digest: sources}
        return digest

    def _is_current(self) -> bool:
        """Whether there is a living trainer that runs the code on disk."""
        if self._handle is None or not self._handle.alive or self._handle.load_failed:
            return False
        loaded = self._handle.ready.core_digest if self._handle.ready is not None else self._digest
        if loaded == self.code():
            return True
        self._say("hlbgpt_core has changed on disk: restarting the trainer")
        return False


def start_message(claim: Claim, state_folder: Path, log_path: Path, rungs: Sequence[int]) -> Start:
    """What the trainer is told of a claimed run."""
    run = claim.run
    return Start(
        run_id=claim.lease.run_id,
        fence=claim.lease.fence,
        uid=run.uid,
        settings=run.settings,
        seed=run.seed,
        log_path=str(log_path),
        state_folder=str(state_folder),
        checkpoint_every_seconds=run.bookkeeping.checkpoint_every_seconds,
        resume=tuple(one for one in (run.checkpoint, run.previous_checkpoint) if one is not None),
        fixed_facts=run.facts,
        keep_checkpoints=run.bookkeeping.keep_checkpoints,
        keep_best=run.bookkeeping.keep_best,
        rungs=tuple(rungs),
    )
