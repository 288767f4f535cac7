"""Each sync's folder, and its leases on runs.

The folder holds a lock file that the kernel unlocks when the process ends. If a lock can be taken, its owner is dead
and its leases are free at once. A holder on another host is judged like a worker: dead once its lease has not changed
for a full lease, by the reader's monotonic clock.
"""

import contextlib
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hlbgpt_core.errors import HlbqError
from orchestrator.files.locks import try_lock
from orchestrator.files.state_folder import make_private_folder
from orchestrator.queue.points import SyncMark
from orchestrator.store import Store

if TYPE_CHECKING:
    from orchestrator.wandb_sync.session import SyncTiming

_PROCESSES = "processes"
_LOCK = "lock"


class OwnFolder:
    """`<state>/wandb/processes/<owner>`, gone when the sync ends. A context manager."""

    def __init__(self, wandb_folder: Path) -> None:
        self._processes = wandb_folder / _PROCESSES
        self._held = contextlib.ExitStack()
        self._take_name()

    def _take_name(self) -> None:
        host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())
        self.owner = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = self._processes / self.owner

    def __enter__(self) -> "OwnFolder":
        make_private_folder(self.path)
        # Another process may take it for dead before it is locked, and remove it: then by another name.
        while not self._held.enter_context(try_lock(self.path / _LOCK)):
            self._held.close()
            self._take_name()
            make_private_folder(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.close()


def dead_syncs(wandb_folder: Path) -> list[Path]:
    """The folders of syncs that died."""
    processes = wandb_folder / _PROCESSES
    found = []
    for folder in sorted(processes.iterdir()) if processes.is_dir() else ():
        # A sync may have made its folder and not locked it yet: leave a folder without a lock file alone.
        if (folder / _LOCK).exists():
            with contextlib.suppress(FileNotFoundError), try_lock(folder / _LOCK) as is_dead:
                found += [folder] if is_dead else []
    return found


def bury(folder: Path, store: Store) -> None:
    """Free the leases of a sync that died, and remove its folder, unless another process does."""
    with contextlib.suppress(FileNotFoundError), try_lock(folder / _LOCK) as is_dead:
        if is_dead:
            store.release_sync(folder.name)
            shutil.rmtree(folder, ignore_errors=True)


class Leases:
    """Takes leases on runs for one owner, and renews them."""

    def __init__(self, store: Store, owner: str, timing: "SyncTiming", on_hang: Callable[[], None]) -> None:
        self._store, self.owner, self._timing, self._on_hang = store, owner, timing, on_hang
        self._seen: dict[str, tuple[SyncMark, float]] = {}

    @contextlib.contextmanager
    def hold(self, uid: str) -> Iterator[SyncMark | None]:
        """The run's mark while the lease on it is renewed; None if another sync holds the run.

        The lease is released at the end. After `session_seconds` it is no longer renewed, and `on_hang` is called in
        another thread: a hanging sync does not keep a run forever.
        """
        mark = self._store.take_sync(uid, self.owner) or self._take_lapsed(uid)
        if mark is None:
            yield None
            return
        done = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(uid, done), daemon=True)
        renewer.start()
        try:
            yield mark
        finally:
            done.set()
            renewer.join()
            with contextlib.suppress(HlbqError):  # if the database does not answer, the lease lapses later
                self._store.release_sync(self.owner, uid)

    def _take_lapsed(self, uid: str) -> SyncMark | None:
        mark = self._store.sync_mark(uid)
        if mark is None or not mark.lease_owner:
            return None
        seen, since = self._seen.get(uid, (None, 0.0))
        if seen is None or (seen.lease_owner, seen.leased_at) != (mark.lease_owner, mark.leased_at):
            self._seen[uid] = (mark, time.monotonic())
            return None
        if time.monotonic() - since < self._timing.lease_seconds:
            return None
        return self._store.take_sync(uid, self.owner, lapsed=mark)

    def _renew(self, uid: str, done: threading.Event) -> None:
        until = time.monotonic() + self._timing.session_seconds
        while not done.wait(self._timing.lease_seconds / 4):
            if time.monotonic() > until:
                self._on_hang()
                return
            with contextlib.suppress(HlbqError):  # try again; the lease lasts several times as long
                self._store.renew_sync(uid, self.owner)
