"""The queue: claim a run, write for it while the lease holds, end it.

Every write first matches (run, fence, running) in its own transaction: whoever lost the run in the meantime
writes nothing at all.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from hlbgpt_core.points import Facts, Point, SavedCheckpoint, Split
from orchestrator.errors import FencedError, WorkerGoneError
from orchestrator.records import Claim, Ending, Lease, Live, RunRecord
from orchestrator.runs import Action, State
from orchestrator.store.base import StoreBase, to_json
from orchestrator.store.endings import (
    Author,
    backoff_is_over,
    end_attempt,
    last_losses_from_points,
    one_run,
    record_event,
    remove_points_past,
)
from orchestrator.store.filters import one_of
from orchestrator.store.points import upsert_points
from orchestrator.store.rows import checkpoint_columns, write_number
from orchestrator.tables import CLAIMABLE, RUNNING, attempts, runs, workers


class QueueStore(StoreBase):
    """Transitions that a worker makes."""

    def claim(self, worker_id: int, *, sweep_ids: Sequence[int] = (), alone_ok: bool = True) -> Claim | None:
        """Take the next run by priority, then number; None where there is none to take.

        A worker holds one run at a time: asked again while it holds one (because the answer to the first
        call was lost), the same claim comes back. `alone_ok` says that nobody else trains on the device.
        Raises WorkerGoneError if others took the worker for dead.
        """
        now = self._clock()
        with self._read() as connection:
            if not _may_find_one(connection, worker_id, now):
                return None
        with self._write() as connection:
            worker = _lock_live_worker(connection, worker_id)
            held = connection.execute(select(runs.c.id, runs.c.fence).where(RUNNING, runs.c.worker_id == worker_id))
            if (row := held.first()) is not None:
                return _claim_of(connection, Lease(run_id=row.id, fence=row.fence))
            _end_backoffs(connection, now)
            taken = connection.execute(_take_next(connection, worker_id, now, sweep_ids, alone_ok)).first()
            if taken is None:
                return None
            sharing = _workers_on_device(connection, worker.host, worker.device)
            _insert_attempt(connection, taken, worker_id, now, shared_slots=max(worker.slots, sharing))
            author = Author(actor=f"worker {worker_id}", now=now, worker_id=worker_id)
            record_event(connection, author, Action.CLAIM.value, sweep_id=taken.sweep_id, run_id=taken.id)
            return _claim_of(connection, Lease(run_id=taken.id, fence=taken.fence))

    def waiting(self, sweep_ids: Sequence[int] = ()) -> bool:
        """Whether runs wait that a claim may take now or later: backing off, or to be trained alone."""
        chosen = select(runs.c.id).where(runs.c.state == State.PENDING.value, ~runs.c.paused)
        with self._read() as connection:
            if sweep_ids:
                chosen = chosen.where(one_of(connection, runs.c.sweep_id, sweep_ids))
            return connection.execute(chosen.limit(1)).first() is not None

    def still_holds(self, lease: Lease) -> bool:
        """Whether the run is still running under this fence."""
        with self._read() as connection:
            return connection.execute(select(runs.c.id).where(_held_under(lease))).first() is not None

    def flush(
        self, lease: Lease, *, points: Sequence[Point], live: Live | None = None, facts: Facts | None = None
    ) -> None:
        """Write points and progress. Writing the same points again changes nothing.

        `facts` are fixed on the run by the first attempt that tells them; its provenance goes to the attempt.
        Raises FencedError, and writes nothing, where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            _write_progress(connection, lease, points, live, facts)

    def commit_checkpoint(
        self, lease: Lease, checkpoint: SavedCheckpoint, *, points: Sequence[Point] = (), live: Live | None = None
    ) -> SavedCheckpoint | None:
        """Point the run at a checkpoint that is whole on disk, its points with it.

        The run keeps the newest and the one before; the one that falls off is returned, for its files to
        be deleted. Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            _write_progress(connection, lease, points, live, None)
            run = one_run(connection, lease.run_id)
            if run.checkpoint == checkpoint:
                return None  # the answer to the first call was lost
            values = checkpoint_columns("checkpoint", checkpoint) | checkpoint_columns("previous", run.checkpoint)
            if run.checkpoint is None or checkpoint.step > run.checkpoint.step:
                values["losses"] = 0  # losses in a row are counted without progress in between
            connection.execute(update(runs).where(runs.c.id == lease.run_id).values(**values))
            return run.previous_checkpoint

    def rewind(self, lease: Lease, checkpoint: SavedCheckpoint | None) -> None:
        """Note that the attempt took up an older checkpoint (None: step 0), because the newest was damaged.

        Points past its step are removed. Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            values = checkpoint_columns("checkpoint", checkpoint) | checkpoint_columns("previous", None)
            connection.execute(update(runs).where(runs.c.id == lease.run_id).values(**values))
            remove_points_past(connection, [lease.run_id])
            step = checkpoint.step if checkpoint else 0
            connection.execute(update(attempts).where(_attempt_of(lease)).values(start_step=step, step=step))
            last_losses_from_points(connection, lease.run_id, _attempt_of(lease))
            run = one_run(connection, lease.run_id)
            why = f"the newest checkpoint is damaged; goes on from step {step}"
            record_event(connection, self._holder(run), "rewind", sweep_id=run.sweep_id, run_id=run.id, why=why)

    def finish(self, lease: Lease, ending: Ending) -> RunRecord:
        """End the attempt: last points, verdict, run, attempt and event in one transaction.

        Raises FencedError where the lease no longer holds.
        """
        with self._write() as connection:
            _check_fence(connection, lease)
            _write_progress(connection, lease, ending.points, ending.live, None)
            author = self._holder(one_run(connection, lease.run_id))
            return end_attempt(connection, lease.run_id, ending, author)

    def _holder(self, run: RunRecord) -> Author:
        return Author(actor=f"worker {run.worker_id}", now=self._clock(), worker_id=run.worker_id)


def _may_find_one(connection: Connection, worker_id: int, now: float) -> bool:
    """A look without a lock, so that idle workers that ask again and again write nothing."""
    reasons_to_try = or_(
        select(runs.c.id).where(CLAIMABLE).exists(),
        select(runs.c.id).where(backoff_is_over(now)).exists(),
        select(runs.c.id).where(RUNNING, runs.c.worker_id == worker_id).exists(),
    )
    return bool(connection.execute(select(reasons_to_try)).scalar_one())


def _lock_live_worker(connection: Connection, worker_id: int) -> Any:
    # Locked, so that nobody ends the worker between this look and the commit: its run would be nobody's.
    row = connection.execute(
        select(workers.c.host, workers.c.device, workers.c.slots)
        .where(workers.c.id == worker_id, workers.c.ended_at.is_(None))
        .with_for_update(key_share=True)
    ).first()
    if row is None:
        raise WorkerGoneError(f"worker {worker_id} was taken for dead or has ended", "Start it again: hlbq worker")
    return row


def _end_backoffs(connection: Connection, now: float) -> None:
    over = connection.execute(
        select(runs.c.id).where(backoff_is_over(now)).with_for_update(skip_locked=True, key_share=True)
    ).scalars()
    ids = list(over)
    if ids:
        cleared = {"backoff_from": None, "backoff_until": None}
        connection.execute(update(runs).where(one_of(connection, runs.c.id, ids)).values(**cleared))


def _take_next(connection: Connection, worker_id: int, now: float, sweep_ids: Sequence[int], alone_ok: bool) -> Any:
    # An alias, because SQLAlchemy would otherwise tie the subquery to the table that is updated.
    queue = runs.alias("queue")
    chosen = select(queue.c.id).where(CLAIMABLE).order_by(queue.c.priority.desc(), queue.c.id).limit(1)
    if sweep_ids:
        chosen = chosen.where(one_of(connection, queue.c.sweep_id, sweep_ids))
    if not alone_ok:
        chosen = chosen.where(~queue.c.alone)
    chosen = chosen.with_for_update(skip_locked=True, key_share=True)
    return (
        update(runs)
        .where(runs.c.id == chosen.scalar_subquery())
        .values(
            state=State.RUNNING.value,
            reason=None,
            worker_id=worker_id,
            fence=runs.c.fence + 1,
            started_at=func.coalesce(runs.c.started_at, now),
        )
        .returning(runs.c.id, runs.c.uid, runs.c.sweep_id, runs.c.fence, runs.c.checkpoint_step)
    )


def _workers_on_device(connection: Connection, host: str, device: str) -> int:
    query = select(func.count()).select_from(workers).where(workers.c.ended_at.is_(None), workers.c.host == host, workers.c.device == device)
    return connection.execute(query).scalar_one()


def _insert_attempt(connection: Connection, run: Any, worker_id: int, now: float, *, shared_slots: int) -> None:
    start_step = run.checkpoint_step or 0
    connection.execute(
        insert(attempts).values(
            run_id=run.id,
            fence=run.fence,
            worker_id=worker_id,
            shared_slots=shared_slots,
            started_at=now,
            start_step=start_step,
            step=start_step,
            log_path=f"logs/{run.uid}/{run.fence}.log",
        )
    )
    if start_step:
        last_losses_from_points(connection, run.id, _attempt_of(Lease(run_id=run.id, fence=run.fence)))


def _claim_of(connection: Connection, lease: Lease) -> Claim:
    run = one_run(connection, lease.run_id)
    return Claim(lease=lease, run=run, log_path=f"logs/{run.uid}/{lease.fence}.log")


def _held_under(lease: Lease) -> ColumnElement[bool]:
    return and_(runs.c.id == lease.run_id, runs.c.fence == lease.fence, RUNNING)


def _attempt_of(lease: Lease) -> ColumnElement[bool]:
    return and_(attempts.c.run_id == lease.run_id, attempts.c.fence == lease.fence)


def _check_fence(connection: Connection, lease: Lease) -> None:
    query = select(runs.c.id).where(_held_under(lease)).with_for_update(key_share=True)
    if connection.execute(query).first() is None:
        raise FencedError(
            f"run {lease.run_id} is no longer held under fence {lease.fence}: nothing was written",
            f"It was cancelled, or given to another worker: hlbq show {lease.run_id}",
        )


def _write_progress(
    connection: Connection, lease: Lease, points: Sequence[Point], live: Live | None, facts: Facts | None
) -> None:
    values: dict[str, Any] = {}
    if points:
        upsert_points(connection, lease, points)
        values["step"] = max(point.step for point in points)
        for split in Split:
            losses = [point.loss for point in points if point.split is split]
            if losses:
                values[f"last_{split.value}_loss"] = write_number(losses[-1])
    if live is not None:
        values |= {
            "phase": live.phase.value,
            "step": live.step,
            "fraction": live.fraction,
            "tokens_per_second": live.tokens_per_second,
            "tokens_seen": live.tokens_seen,
            "memory_bytes": live.memory_bytes,
        }
    if facts is not None:
        told = {name: value for name, value in vars(facts).items() if name != "provenance"}
        first = update(runs).where(runs.c.id == lease.run_id, runs.c.facts.is_(None))
        connection.execute(first.values(facts=to_json(told)))
        values["provenance"] = to_json(dict(facts.provenance))
    if values:
        connection.execute(update(attempts).where(_attempt_of(lease)).values(**values))
