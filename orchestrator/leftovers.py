"""What killed processes left behind and nobody holds any more. The next worker removes it, or `hlbq db check --repair`.

Files of a living process are never among it: exports and syncs hold locks, which the kernel drops with the process,
and the checkpoints are those of completed runs, but for what a run was submitted to keep.
"""

import contextlib
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.points import BEST_CHECKPOINT
from orchestrator.files.replaced_file import orphans_in
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import State
from orchestrator.store import Store
from orchestrator.wandb_sync.leases import bury, dead_syncs


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or a folder, and what it was. `is_sync` says that it may hold leases on runs."""

    path: Path
    what: str
    is_sync: bool = False

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk."""
        inside = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(one.stat().st_size for one in inside if one.is_file())


def find_leftovers(store: Store, state_folder: Path | None) -> Sequence[Leftover]:
    """All leftovers in the state folder, beside the database, where its sweeps' tables go, and in this folder."""
    found = [Leftover(path=path, what="unfinished file") for path in orphans_in(*_folders_of_tables(store))]
    if state_folder is not None:
        found += [
            Leftover(path=path, what="checkpoint of a completed run") for path in _checkpoints(store, state_folder)
        ]
        found += of_deleted_runs(store, state_folder)
        syncs = dead_syncs(state_folder / "wandb")
        found += [Leftover(path=path, what="folder of a dead sync", is_sync=True) for path in syncs]
    return found


def remove_leftovers(store: Store, leftovers: Sequence[Leftover]) -> None:
    """Remove them. What cannot be removed is passed over."""
    for one in leftovers:
        if one.is_sync:
            bury(one.path, store)
        elif one.path.is_dir():
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                one.path.unlink()


def unneeded_checkpoints(state_folder: Path, run: RunRecord) -> Sequence[Path]:
    """What a completed run needs no more: all its checkpoints but those that it was submitted to keep."""
    folder = state_folder / "checkpoints" / run.uid
    kept = set()
    if run.bookkeeping.keep_checkpoints and run.checkpoint is not None:
        kept.add(state_folder / run.checkpoint.path)
    if run.bookkeeping.keep_best:
        kept.add(folder / BEST_CHECKPOINT)
    if not folder.is_dir():
        return ()
    return [path for path in folder.iterdir() if path not in kept] if kept else (folder,)


def of_deleted_runs(store: Store, state_folder: Path) -> Iterator[Leftover]:
    """The checkpoints and logs of runs that were deleted. Folders of other databases' runs are none of ours."""
    folders = [folder for kind in ("checkpoints", "logs") for folder in _folders_in(state_folder / kind)]
    unknown = {folder.name for folder in folders if store.run(folder.name) is None}
    deleted = store.deleted_among(unknown) if unknown else set()
    for folder in folders:
        if folder.name in deleted:
            yield Leftover(path=folder, what=f"{folder.parent.name} of a deleted run")


def _folders_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def _checkpoints(store: Store, state_folder: Path) -> Iterator[Path]:
    for folder in _folders_in(state_folder / "checkpoints"):
        run = store.run(folder.name)
        if run is not None and run.state is State.COMPLETED:
            yield from unneeded_checkpoints(state_folder, run)


def _folders_of_tables(store: Store) -> set[Path]:
    tables = [sweep.csv for sweep in store.sweeps()]
    folders = {Path(csv.path).parent for csv in tables if csv is not None and csv.host == socket.gethostname()}
    return {folder.resolve() for folder in (*folders, *(name.parent for name in store.location.names), Path.cwd())}
