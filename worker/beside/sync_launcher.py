"""Keeps `hlbq sync` running beside the workers while runs of `-w` sweeps train.

It is a separate process of the lowest priority that outlives the worker. Nobody waits for it, so a crash or hang does
not affect training. A lock in the state folder allows one per host and database.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from orchestrator.files.state_folder import make_state_folder
from orchestrator.launch.python_process import start_hlbq
from orchestrator.store import Store
from worker.exit_codes import EXIT_USAGE

LOG = "wandb-sync.log"


class SyncLauncher:
    """Starts the sync where one is wanted, as one worker sees it."""

    def __init__(self, store: Store, state_folder: Path, say: Callable[[str], None]) -> None:
        self._store, self._state_folder, self._say = store, state_folder, say
        self._log = state_folder / "logs" / LOG
        self._wanted: dict[int, bool] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def attend(self, sweep_id: int) -> None:
        """See to it that a sync is at work if the sweep is marked for W&B. Never raises, never waits."""
        try:
            if not self._given_up and self._is_wanted(sweep_id) and not self._at_work():
                self._process = self._start()
        except (HlbqError, OSError) as error:
            self._say(f"no sync to wandb: {error}. To send later: hlbq sync")

    def _is_wanted(self, sweep_id: int) -> bool:
        if sweep_id not in self._wanted:
            sweep = self._store.sweep(sweep_id)
            self._wanted[sweep_id] = sweep is not None and bool(sweep.wandb_project)
        return self._wanted[sweep_id]

    def _at_work(self) -> bool:
        if self._process is None:
            return False
        code = self._process.poll()
        if code == EXIT_USAGE:  # wandb is not installed, or nobody is logged in: starting again does not help
            self._given_up = True
            self._say(f"nothing is sent to wandb: see {self._log}, then run hlbq sync")
        return code is None or self._given_up

    def _start(self) -> "subprocess.Popen[bytes]":
        make_state_folder(self._log.parent)
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            words = ("sync", "--by_workers", "--state_dir", str(self._state_folder))
            return start_hlbq(*words, db=self._store.location.private, stdout=log, stderr=log, start_new_session=True)
        finally:
            os.close(log)
