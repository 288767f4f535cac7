"""The queue: write for a claimed run while the lease holds, and end it.

Every write first matches (run, its uid, fence, running) in its own transaction: whoever lost the run in the meantime
writes nothing at all.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, select, update

from hlbgpt_core.points import Facts, Point, Progress, SavedCheckpoint, Split
from orchestrator.errors import FencedError
from orchestrator.queue.attempts import Ending, Lease
from orchestrator.queue.code import code_part, with_part
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason
from orchestrator.store.base import Author, StoreBase, to_json
from orchestrator.store.events import record_event
from orchestrator.store.filters import OF_NEWEST_ATTEMPT
from orchestrator.store.points import upsert_points
from orchestrator.store.rows import checkpoint_columns, code_json, read_code, write_number
from orchestrator.store.tables import RUNNING, attempts, runs
from orchestrator.store.working.endings import (
    attempt_of,
    end_attempt,
    last_losses_from_points,
    one_run,
    remove_points_past,
)

# Built once: a flush holds SQLite's one write lock while its statements are made and compiled.
_HELD = select(runs.c.id).where(
    runs.c.id == bindparam("held_run"),
    runs.c.uid == bindparam("held_uid"),
    runs.c.fence == bindparam("held_fence"),
    RUNNING,
)
_LOCK_HELD = _HELD.with_for_update(key_share=True)
_TOLD_BY_TRAINER = ("phase", "step", "fraction", "tokens_per_second", "tokens_seen", "memory_bytes")
_PROGRESS_COLUMNS = ("last_train_loss", "last_val_loss", *_TOLD_BY_TRAINER)
# Signs of life are told less often than points: the last one may be older than the last point.
_ONLY_RISING = ("step", "tokens_seen")


def _progressed(name: str) -> ColumnElement[Any]:
    """An attempt's column after a flush: what that does not tell stays as it is."""
    known = attempts.c[name]
    new = bindparam(f"new_{name}", type_=known.type)
    return case((new > known, new), else_=known) if name in _ONLY_RISING else func.coalesce(new, known)


_PROGRESS = (
    update(attempts)
    .where(attempts.c.run_id == bindparam("held_run"), attempts.c.fence == bindparam("held_fence"))
    .values({name: _progressed(name) for name in _PROGRESS_COLUMNS})
)


class HeldRunStore(StoreBase):
    """What a worker writes of the run that it holds."""

    def rehearse(self) -> None:
        """Have the statements of a flush compiled: the first flush would keep all other writers waiting for that."""
        nobody = {"held_run": 0, "held_fence": 0}
        with self._read() as connection:
            connection.execute(_LOCK_HELD, nobody | {"held_uid": ""})
        with self._read() as connection:
            connection.execute(_PROGRESS, nobody | _told({}))

    def still_holds(self, lease: Lease) -> bool:
        """Whether the run is still running under this fence."""
        with self._read() as connection:
            return connection.execute(_HELD, _lease(lease) | {"held_uid": lease.run_uid}).first() is not None

    def flush(
        self, lease: Lease, *, points: Sequence[Point], progress: Progress | None = None, facts: Facts | None = None
    ) -> None:
        """Write points and progress. Writing the same points again changes nothing.

        `facts` are fixed on the run by the first attempt that tells them; its provenance goes to the attempt.
        Raises FencedError, and writes nothing, where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            _write_progress(connection, lease, points, progress, facts)

    def commit_checkpoint(
        self,
        lease: Lease,
        checkpoint: SavedCheckpoint,
        *,
        points: Sequence[Point] = (),
        progress: Progress | None = None,
    ) -> SavedCheckpoint | None:
        """Point the run at a checkpoint that is whole on disk, its points with it.

        The run keeps the newest and the one before; the one that falls off is returned, for its files to
        be deleted. Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            _write_progress(connection, lease, points, progress, None)
            run = one_run(connection, lease.run_id)
            if run.checkpoint == checkpoint:
                return None  # the answer to the first call was lost
            values = checkpoint_columns("checkpoint", checkpoint) | checkpoint_columns("previous", run.checkpoint)
            if run.checkpoint is None or checkpoint.step > run.checkpoint.step:
                values["losses"] = 0  # losses in a row are counted without progress in between
            connection.execute(update(runs).where(runs.c.id == lease.run_id).values(**values))
            return run.previous_checkpoint

    def rewind(self, lease: Lease, checkpoint: SavedCheckpoint | None, *, why: str) -> None:
        """Note that the attempt took up an older checkpoint (None: step 0), because the newest was of no use.

        `why` is for people. Points past its step are removed. Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            values = checkpoint_columns("checkpoint", checkpoint) | checkpoint_columns("previous", None)
            connection.execute(update(runs).where(runs.c.id == lease.run_id).values(**values))
            remove_points_past(connection, lease.run_id)
            step = checkpoint.step if checkpoint else 0
            attempt = attempt_of(lease.run_id, lease.fence)
            connection.execute(update(attempts).where(attempt).values(start_step=step, step=step))
            last_losses_from_points(connection, lease.run_id, attempt)
            run = one_run(connection, lease.run_id)
            record_event(connection, self._holder(run), "rewind", sweep_id=run.sweep_id, run_id=run.id, why=why)

    def note(self, lease: Lease, action: str, why: str) -> None:
        """Write down what happened to the run besides its training. Raises FencedError where the lease is over."""
        with self._write() as connection:
            _check_fence(connection, lease)
            run = one_run(connection, lease.run_id)
            record_event(connection, self._holder(run), action, sweep_id=run.sweep_id, run_id=run.id, why=why)

    def finish(
        self, lease: Lease, ending: Ending, *, points: Sequence[Point] = (), progress: Progress | None = None
    ) -> RunRecord:
        """End the attempt: last points, verdict, run, attempt and event in one transaction.

        Told again of an end that is recorded already (the answer to the first call was lost), it changes
        nothing. Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            try:
                _check_fence(connection, lease)
            except FencedError:
                if _ended_before(connection, lease, ending.reason):
                    return one_run(connection, lease.run_id)
                raise
            _write_progress(connection, lease, points, progress, None)
            author = self._holder(one_run(connection, lease.run_id))
            return end_attempt(connection, lease.run_id, ending, author)

    def _holder(self, run: RunRecord) -> Author:
        return self._author(worker_id=run.worker_id)


def _ended_before(connection: Connection, lease: Lease, reason: Reason) -> bool:
    """Whether this attempt is the run's newest and has ended for this very reason."""
    ended = (
        select(attempts.c.id)
        .join(runs, OF_NEWEST_ATTEMPT)
        .where(
            attempt_of(lease.run_id, lease.fence),
            runs.c.uid == lease.run_uid,
            attempts.c.ended_at.is_not(None),
            attempts.c.reason == reason.value,
        )
    )
    return connection.execute(ended).first() is not None


def _check_fence(connection: Connection, lease: Lease) -> None:
    if connection.execute(_LOCK_HELD, _lease(lease) | {"held_uid": lease.run_uid}).first() is None:
        raise FencedError(
            f"run {lease.run_id} is no longer held under fence {lease.fence}: nothing was written",
            f"It was cancelled, or given to another worker: hlbq show {lease.run_id}",
        )


def _write_progress(
    connection: Connection, lease: Lease, points: Sequence[Point], progress: Progress | None, facts: Facts | None
) -> None:
    told: dict[str, Any] = {}
    if points:
        upsert_points(connection, lease, points)
        for split in (Split.TRAIN, Split.VAL):
            losses = [point.loss for point in points if point.split is split]
            if losses:
                told[f"last_{split.value}_loss"] = write_number(losses[-1])
    if progress is not None:
        told |= {name: getattr(progress, name) for name in _TOLD_BY_TRAINER} | {"phase": progress.phase.value}
    if points:
        told |= {name: max(told.get(name, 0), *(getattr(one, name) for one in points)) for name in _ONLY_RISING}
    if facts is not None:
        _fix_facts(connection, lease, facts)
    if told:
        connection.execute(_PROGRESS, _lease(lease) | _told(told))


def _fix_facts(connection: Connection, lease: Lease, facts: Facts) -> None:
    fixed = {name: value for name, value in vars(facts).items() if name != "provenance"}
    first = update(runs).where(runs.c.id == lease.run_id, runs.c.facts.is_(None))
    connection.execute(first.values(facts=to_json(fixed)))
    provenance = to_json(dict(facts.provenance))
    attempt = update(attempts).where(attempt_of(lease.run_id, lease.fence)).values(provenance=provenance)
    start_step = connection.execute(attempt.returning(attempts.c.start_step)).scalar_one()
    new = code_part(facts.provenance, after=start_step)
    if new is not None:
        before = connection.execute(select(runs.c.code).where(runs.c.id == lease.run_id)).scalar_one()
        parts = with_part(read_code(before), new)
        connection.execute(update(runs).where(runs.c.id == lease.run_id).values(code=code_json(parts)))


def _lease(lease: Lease) -> dict[str, int]:
    return {"held_run": lease.run_id, "held_fence": lease.fence}


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of _PROGRESS."""
    return {f"new_{name}": values.get(name) for name in _PROGRESS_COLUMNS}
