"""Send the runs that have news to W&B, then move their marks.

For each run: take its lease, read what may be sent, record the planned end, send, check that W&B has it, move the mark.
If a sync is killed in between, the next one asks W&B how many rows it holds and goes on from there.
"""

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SyncError
from orchestrator.queue.points import Sendable, SyncMark
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.wandb_sync.leases import Leases, OwnFolder, bury, dead_syncs
from orchestrator.wandb_sync.rows import Upload, still_holds, upload_of
from orchestrator.wandb_sync.session import CurveReplacedError, SyncTiming, Wandb

_RUNS_AT_A_TIME = 100


@dataclass(kw_only=True)
class SyncCounts:
    """What one pass over the runs did. `held` counts runs that another sync holds."""

    runs: int = 0
    points: int = 0
    held: int = 0
    failed: int = 0


class Syncer:
    """Sends runs, one after the other. `project` is for sweeps without a project."""

    def __init__(
        self,
        store: Store,
        wandb: Wandb,
        own: OwnFolder,
        wandb_folder: Path,
        *,
        timing: SyncTiming,
        project: str = "",
        say: Callable[[str], None],
        on_hang: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._wandb, self._own, self._folder = store, wandb, own, wandb_folder
        self._project, self._say = project, say
        self._leases = Leases(store, own.owner, timing, on_hang)

    def send_all(self, wanted: RunFilter) -> SyncCounts:
        """One pass over the runs of `wanted` that have news. Reports what W&B does not accept, and leaves it for
        later."""
        for folder in dead_syncs(self._folder):
            bury(folder, self._store)
        tally, after = SyncCounts(), 0
        while numbers := self._store.unsent(wanted, limit=_RUNS_AT_A_TIME, after_id=after):
            for number in numbers:
                run = self._store.run(number)
                if run is not None:
                    self._send_one(run, tally)
            after = numbers[-1]
        return tally

    def _send_one(self, run: RunRecord, tally: SyncCounts) -> None:
        try:
            with self._leases.hold(run.uid) as mark:
                if mark is None:
                    if not self._deleted(run):
                        tally.held += 1
                    return
                points = self._send(run, mark)
        except SyncError as error:
            if not self._deleted(run):
                tally.failed += 1
                self._say(f"run {run.id}: {error.message}")
            return
        tally.runs += 1
        tally.points += points
        self._say(f"run {run.id}: {points} points sent")

    def _deleted(self, run: RunRecord) -> bool:
        """Whether the run was deleted while it was being sent; says so."""
        if self._store.run(run.uid) is not None:
            return False
        self._say(f"run {run.id} was deleted; what W&B holds of it stays there")
        return True

    def _send(self, run: RunRecord, mark: SyncMark) -> int:
        """Send the run's news under the lease; returns how many points are new since the mark."""
        sendable = self._store.sendable(run.id)
        generation = mark.generation
        if not still_holds(mark, sendable.points):
            generation, mark = generation + 1, SyncMark()
        if self._wandb.offline:
            return self._write_offline(sendable, generation, mark)
        try:
            return self._send_online(sendable, generation, mark)
        except CurveReplacedError:
            return self._send_online(sendable, generation + 1, SyncMark())

    def _send_online(self, sendable: Sendable, generation: int, mark: SyncMark) -> int:
        upload = self._planned(sendable, generation)
        # `wandb sync` leaves a file in what it has uploaded.
        waiting = [folder for folder in self._offline_folders(upload.id) if not any(folder.glob("*.wandb.synced"))]
        if waiting:
            # If sent now too, these points would appear twice after the upload.
            sync = f"wandb sync {shlex.quote(str(waiting[0]))}"
            raise SyncError(f"first upload the points that were written offline: {sync}")
        self._wandb.send(upload, self._own.path)
        return self._commit(sendable, mark, rows=len(upload.rows), told=sendable.ending)

    def _write_offline(self, sendable: Sendable, generation: int, mark: SyncMark) -> int:
        """Put the new rows into a folder for `wandb sync`; never into two folders, even if killed."""
        upload = self._planned(sendable, generation)
        first, told = mark.rows_sent, "-".join(sendable.ending.split())
        for folder in self._offline_folders(upload.id, first):
            # A sync wrote it and was killed before it could move the mark.
            end, ending = _rows_of(folder)
            if end > first or ending == told:
                self._commit(sendable, mark, rows=end, told=sendable.ending if ending == told else "")
                return end - first
        written = self._wandb.write_offline(upload, self._own.path, first=first)
        stamp = time.strftime("%Y%m%d_%H%M%S")
        name = f"offline-run-{stamp}-{upload.id}-rows-{first}-{len(upload.rows)}"
        written.rename(self._folder / (f"{name}-{told}" if told else name))
        return self._commit(sendable, mark, rows=len(upload.rows), told=sendable.ending)

    def _planned(self, sendable: Sendable, generation: int) -> Upload:
        """What W&B should hold; records that in the database first."""
        run, points = sendable.run, sendable.points
        last = points[-1] if points else None
        held = self._store.plan_sync(
            run.uid,
            self._leases.owner,
            generation=generation,
            step=last.point.step if last else 0,
            fence=last.fence if last else 0,
        )
        sweep = self._store.sweep(run.sweep_id)
        if not held or sweep is None:
            raise SyncError("another sync holds the run now")
        varying = differing_settings(arm.settings for arm in self._store.arms(sweep.id))
        project = sweep.wandb_project or self._project
        return upload_of(sendable, sweep, generation, project=project, varying=varying)

    def _commit(self, sendable: Sendable, mark: SyncMark, *, rows: int, told: str) -> int:
        last_step = sendable.points[rows - 1].point.step if rows else 0
        self._store.commit_sync(sendable.run.uid, self._leases.owner, rows_sent=rows, last_step=last_step, told=told)
        return rows - mark.rows_sent

    def _offline_folders(self, wandb_id: str, first: int | None = None) -> list[Path]:
        start = "*" if first is None else str(first)
        return sorted(self._folder.glob(f"offline-run-*-{wandb_id}-rows-{start}-*"))


def _rows_of(folder: Path) -> tuple[int, str]:
    """The last row of a folder, and the ending in it."""
    found = re.search(r"-rows-\d+-(\d+)(?:-(.+))?$", folder.name)
    assert found is not None, folder
    return int(found[1]), found[2] or ""
