"""Claiming: one worker takes one run, with its attempt's row, in one transaction.

The statements are built once: workers ask again and again, and building them costs more than running them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, and_, bindparam, case, func, or_, select, update

from orchestrator.errors import CodeNotLoadedError
from orchestrator.queue.attempts import Claim, Ending, Lease
from orchestrator.queue.code import parts_up_to
from orchestrator.queue.states import Action, Reason, State
from orchestrator.store.base import Author, StoreBase, insert_one, is_sqlite
from orchestrator.store.code import read_same_code
from orchestrator.store.events import record_event
from orchestrator.store.filters import WAITING, in_sweeps, one_of
from orchestrator.store.opening.identity import check_uid
from orchestrator.store.opening.schema import REVISION_AND_UID, check_unchanged
from orchestrator.store.rows import read_bookkeeping, read_code, run_record
from orchestrator.store.tables import CLAIMABLE, RUNNING, attempts, policies, runs, sweeps, workers
from orchestrator.store.working.endings import (
    attempt_of,
    end_attempt,
    last_losses_from_points,
    note_results,
    one_run_row,
)
from orchestrator.store.working.workers import worker_gone

HOLD = "hold"

# An alias, because SQLAlchemy would otherwise tie the subquery to the table that is updated.
_QUEUE = runs.alias("queue")
_NEXT = select(_QUEUE.c.id).where(CLAIMABLE).order_by(_QUEUE.c.priority.desc(), _QUEUE.c.id).limit(1)

_WORKER_LIVES = and_(workers.c.id == bindparam("worker_id"), workers.c.ended_at.is_(None))
_HELD = select(runs.c.id).where(RUNNING, runs.c.worker_id == bindparam("worker_id"))
# A wait that has not begun yet is over too: the clock was set back meanwhile.
_BACKOFF_IS_OVER = select(runs.c.id).where(
    runs.c.backoff_until.is_not(None),
    or_(runs.c.backoff_until <= bindparam("now"), runs.c.backoff_from > bindparam("now")),
)
# Asked for any such run, PostgreSQL would look from the start of the table on, past all that are over; asked for
# the next one it reads the index.
_PRECHECK = select(
    select(workers.c.id).where(_WORKER_LIVES).exists().label("worker_lives"),
    or_(_NEXT.scalar_subquery().is_not(None), _BACKOFF_IS_OVER.exists(), _HELD.exists()).label("worth_trying"),
    *REVISION_AND_UID.selected_columns,
)

_NEIGHBOURS = workers.alias("neighbours")
_ON_THE_DEVICE = and_(
    _NEIGHBOURS.c.ended_at.is_(None),
    _NEIGHBOURS.c.host == workers.c.host,
    _NEIGHBOURS.c.device == workers.c.device,
)
# What the others on the device train just now, and whether one of them must be alone there.
_BESIDE = (
    select(
        func.count().label("training"),
        func.coalesce(func.max(case((runs.c.alone, 1), else_=0)), 0).label("alone"),
    )
    .select_from(workers)
    .join(_NEIGHBOURS, and_(_ON_THE_DEVICE, _NEIGHBOURS.c.id != workers.c.id))
    .join(runs, and_(runs.c.worker_id == _NEIGHBOURS.c.id, RUNNING))
    .where(_WORKER_LIVES)
)
# Locked, so that nobody ends the worker between this precheck and the commit: its run would be nobody's.
_LOCK_WORKER = (
    select(
        workers.c.slots,
        workers.c.host,
        workers.c.device,
        select(func.count()).where(_ON_THE_DEVICE).scalar_subquery().label("neighbours"),
        _HELD.limit(1).scalar_subquery().label("held_run_id"),
        _BACKOFF_IS_OVER.exists().label("a_backoff_is_over"),
        *REVISION_AND_UID.selected_columns,
    )
    .where(_WORKER_LIVES)
    .with_for_update(key_share=True, of=workers)
)
_LOCK_BACKOFFS = _BACKOFF_IS_OVER.with_for_update(skip_locked=True, key_share=True)


def _taking(chosen: Select[Any]) -> Update:
    chosen = chosen.with_for_update(skip_locked=True, key_share=True)
    return (
        update(runs)
        .where(runs.c.id == chosen.scalar_subquery())
        .values(
            state=State.RUNNING.value,
            reason=None,
            worker_id=bindparam("worker"),
            fence=runs.c.fence + 1,
            started_at=func.coalesce(runs.c.started_at, bindparam("now")),
        )
        .returning(
            *(runs.c.id, runs.c.uid, runs.c.sweep_id, runs.c.fence, runs.c.checkpoint_step, runs.c.alone),
            *(runs.c.code, runs.c.across_code),
        )
    )


_TAKE_NEXT = _taking(_NEXT)


class ClaimStore(StoreBase):
    """The way into the state running."""

    # Whether the last claim found a run: then the next one most likely does too, and needs no precheck.
    _found_work = False

    def claim(
        self,
        worker_id: int,
        *,
        sweep_ids: Sequence[int] = (),
        code: str = "",
        code_loads: bool = True,
        on_hold: Callable[[Sequence[int]], None] = lambda run_ids: None,
    ) -> Claim | None:
        """Take the next run by priority, then number; None where there is none to take.

        A worker holds one run at a time: asked again while it holds one (because the answer to the first call was
        lost), the same claim comes back, unless the code has changed since. A run that must be trained alone is taken
        only while nobody else trains on the device, and nothing beside it. A run that would go on from a checkpoint of
        other code than the worker's (`code`, a digest; empty: not asked) is held as paused instead, and the next is
        taken; `on_hold` hears of those afterwards.

        Raises CodeNotLoadedError where a run would be held and `code` is not known to load (it may be mended, and
        nothing would be left to choose), WorkerGoneError if others took the worker for dead, DatabaseVersionError if
        the database was upgraded meanwhile.
        """
        now = self._clock()
        asked = {"worker_id": worker_id, "now": now}
        if not self._found_work:
            with self._read() as connection:
                # A precheck without a lock, so that idle workers that ask again and again write nothing.
                precheck = connection.execute(_PRECHECK, asked).one()
                check_uid(precheck.uid, self.location, self.uid)
                if not precheck.worker_lives:
                    raise worker_gone(worker_id)
                check_unchanged(precheck.revision, self.location, self._schema)
                if not precheck.worth_trying:
                    return None
        self._found_work = False
        with self._write() as connection:
            worker = connection.execute(_LOCK_WORKER, asked).first()
            if worker is None:
                raise worker_gone(worker_id)
            check_uid(worker.uid, self.location, self.uid)
            check_unchanged(worker.revision, self.location, self._schema)
            author = self._author(worker_id=worker_id)
            if worker.held_run_id is not None:
                held_run = one_run_row(connection, worker.held_run_id)
                if not _other_code(connection, held_run, code):
                    return _claim_of(held_run)
                end_attempt(connection, held_run.id, Ending(reason=Reason.RELEASED), author)
            if worker.a_backoff_is_over:
                _clear_backoffs(connection, asked)
            alone_ok = True
            if worker.neighbours > 1:
                _lock_device(connection, worker.host, worker.device)
                beside = connection.execute(_BESIDE, asked).one()
                if beside.alone:
                    return None
                alone_ok = not beside.training
            taken, held = _take(connection, _take_next(connection, sweep_ids, alone_ok), author, code)
            if held and not code_loads:
                raise CodeNotLoadedError(f"code {code} is not loaded, so no run is held for it")
            row = None
            if taken is not None:
                shared_slots = 1 if taken.alone else max(worker.slots, worker.neighbours)
                _begin_attempt(connection, taken, author, shared_slots=shared_slots)
                row = one_run_row(connection, taken.id)
        if held:
            on_hold(held)
        # Read apart only now: others wait to write as long as the transaction lasts.
        self._found_work = row is not None
        return None if row is None else _claim_of(row)

    def waiting(self, sweep_ids: Sequence[int] = ()) -> bool:
        """Whether runs wait that a claim may take now or later: backing off, or to be trained alone."""
        with self._read() as connection:
            chosen = select(runs.c.id).where(WAITING, in_sweeps(connection, runs.c.sweep_id, sweep_ids))
            return connection.execute(chosen.limit(1)).first() is not None


def _clear_backoffs(connection: Connection, asked: dict[str, Any]) -> None:
    over = connection.execute(_LOCK_BACKOFFS, asked).scalars().all()
    cleared = {"backoff_from": None, "backoff_until": None}
    connection.execute(update(runs).where(one_of(connection, runs.c.id, over)).values(**cleared))


def _lock_device(connection: Connection, host: str, device: str) -> None:
    """Keep the device's other workers from claiming until this claim is over: each must see what the others hold."""
    if not is_sqlite(connection):  # SQLite lets one write at a time anyway
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{host} {device}", 0))))


def _take_next(connection: Connection, sweep_ids: Sequence[int], alone_ok: bool) -> Update:
    if alone_ok and not sweep_ids:
        return _TAKE_NEXT
    chosen = _NEXT.where(in_sweeps(connection, _QUEUE.c.sweep_id, sweep_ids))
    return _taking(chosen if alone_ok else chosen.where(~_QUEUE.c.alone))


def _other_code(connection: Connection, run: Any, code: str) -> str:
    """The digest by which the run's checkpoint was made, where the run must not go on by `code`; else empty."""
    parts = parts_up_to(read_code(run.code), run.checkpoint_step or 0) if code and run.checkpoint_step else ()
    if (
        not parts
        or run.across_code
        or parts[-1].digest == code
        or read_same_code(connection).equal(parts[-1].digest, code)
    ):
        return ""
    bookkeeping = connection.execute(select(sweeps.c.bookkeeping).where(sweeps.c.id == run.sweep_id)).scalar_one()
    return "" if read_bookkeeping(bookkeeping).resume_across_code else parts[-1].digest


def _hold(connection: Connection, run: Any, author: Author, its_code: str, code: str) -> None:
    """Give a run that was just taken back as it was, but paused."""
    before = select(attempts.c.reason).where(attempt_of(run.id, run.fence - 1)).scalar_subquery()
    values = {"state": State.PENDING.value, "worker_id": None, "fence": run.fence - 1, "paused": True, "held": code}
    connection.execute(update(runs).where(runs.c.id == run.id).values(**values, reason=before))
    why = f"it would go on from step {run.checkpoint_step} by code {code}; until there it was computed by {its_code}"
    record_event(connection, author, HOLD, sweep_id=run.sweep_id, run_id=run.id, why=why)
    note_results(connection, policies.c.sweep_id == run.sweep_id)


def _take(connection: Connection, take: Update, author: Author, code: str) -> tuple[Row[Any] | None, list[int]]:
    """The next run that may go on by `code`, and the numbers of those before it, which are held."""
    held: list[int] = []
    while (taken := connection.execute(take, {"worker": author.worker_id, "now": author.now}).first()) is not None:
        its_code = _other_code(connection, taken, code)
        if not its_code:
            break
        _hold(connection, taken, author, its_code, code)
        held.append(taken.id)
    return taken, held


def _begin_attempt(connection: Connection, run: Any, author: Author, *, shared_slots: int) -> None:
    start_step = run.checkpoint_step or 0
    row = {
        "run_id": run.id,
        "fence": run.fence,
        "worker_id": author.worker_id,
        "shared_slots": shared_slots,
        "started_at": author.now,
        "start_step": start_step,
        "step": start_step,
        "log_path": _log_path(run.uid, run.fence),
    }
    insert_one(connection, attempts, row)
    if start_step:
        last_losses_from_points(connection, run.id, attempt_of(run.id, run.fence))
    record_event(connection, author, Action.CLAIM.value, sweep_id=run.sweep_id, run_id=run.id)


def _claim_of(row: Row[Any]) -> Claim:
    run = run_record(row)
    return Claim(
        lease=Lease(run_id=run.id, run_uid=run.uid, fence=run.fence), run=run, log_path=_log_path(run.uid, run.fence)
    )


def _log_path(uid: str, fence: int) -> str:
    return f"logs/{uid}/{fence}.log"
