"""What ends an attempt: the statements that finish, lose, release and cancel have in common; and what follows from an
ending in the very transaction in which it happens: notices, and due steps of policies.

Everybody locks runs first, then policies, then sweeps, each by number: no deadlocks.

Whoever ends a run of such a sweep locks the sweep's row before counting what is left: of two transactions that end the
last two runs at once, the later one sees the end of both, and exactly one notices that the sweep is over.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, insert, select, update

from orchestrator.queue.attempts import Ending
from orchestrator.queue.notices import NoticeKind
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import EndingOutcome, Reason, Spent, State, outcome_of_ending
from orchestrator.store.base import Author, storable, to_json
from orchestrator.store.events import record_event
from orchestrator.store.filters import OF_NEWEST_ATTEMPT, UNFINISHED
from orchestrator.store.points import read_metric
from orchestrator.store.rows import RUN_ROWS, read_bookkeeping, run_record, write_number
from orchestrator.store.tables import OPEN_POLICY, attempts, notices, points, policies, runs, sweeps


def note_results(connection: Connection, of_sweeps: ColumnElement[bool]) -> None:
    """Runs of these sweeps have ended, or people did something to them: their policies have a step due."""
    mine = and_(of_sweeps, OPEN_POLICY)
    if lock_policies(connection, mine):
        connection.execute(update(policies).where(mine).values(results=policies.c.results + 1))


def lock_policies(connection: Connection, where: ColumnElement[bool]) -> list[int]:
    """The numbers of the policies that match, locked until the transaction ends."""
    query = select(policies.c.id).where(where).order_by(policies.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def note_end(connection: Connection, sweep_id: int, now: float, *, failed: tuple[int, int] | None = None) -> None:
    """A run of a sweep that wants notices has reached a final state; `failed` is its number and fence if it failed.

    A sweep with an open policy may grow: the policy's next step notes its end.
    """
    connection.execute(select(sweeps.c.id).where(sweeps.c.id == sweep_id).with_for_update(key_share=True))
    may_grow = select(policies.c.id).where(policies.c.sweep_id == sweep_id, OPEN_POLICY)
    is_over = connection.execute(may_grow).first() is None and not _has_open_runs(connection, sweep_id)
    if failed is not None:
        run_id, fence = failed
        _insert_notice(connection, sweep_id, now, NoticeKind.RUN_FAILED, run_id=run_id, fence=fence)
    if is_over:
        _insert_notice(connection, sweep_id, now, NoticeKind.SWEEP_ENDED)


def note_if_over(connection: Connection, sweep_id: int, now: float) -> None:
    """A step of the sweep's policy added nothing: if the sweep wants notices and no run is open, it is over."""
    wants = select(sweeps.c.id).where(sweeps.c.id == sweep_id, sweeps.c.notify_token != "")
    if connection.execute(wants).first() is not None and not _has_open_runs(connection, sweep_id):
        _insert_notice(connection, sweep_id, now, NoticeKind.SWEEP_ENDED)


def _has_open_runs(connection: Connection, sweep_id: int) -> bool:
    still_open = select(runs.c.id).where(runs.c.sweep_id == sweep_id, UNFINISHED).limit(1)
    return connection.execute(still_open).first() is not None


def note_ends(connection: Connection, chosen: ColumnElement[bool], now: float) -> None:
    """The chosen runs were cancelled: note those of their sweeps that are over with that."""
    wanted = (
        select(sweeps.c.id)
        .where(sweeps.c.notify_token != "", sweeps.c.id.in_(select(runs.c.sweep_id).where(chosen)))
        .order_by(sweeps.c.id)
    )
    for sweep_id in connection.execute(wanted).scalars().all():
        note_end(connection, sweep_id, now)


def _insert_notice(connection: Connection, sweep_id: int, now: float, kind: NoticeKind, **failed: int) -> None:
    """Write a notice, with the sweep's runs by state as they are now."""
    counted = select(runs.c.state, func.count().label("number")).where(runs.c.sweep_id == sweep_id)
    counts = {row.state: row.number for row in connection.execute(counted.group_by(runs.c.state))}
    row = {"sweep_id": sweep_id, "at": now, "counts": to_json(counts), "happening": kind.value}
    connection.execute(insert(notices).values(**row, **failed))


_ONE_RUN = RUN_ROWS.where(runs.c.id == bindparam("run_id"))


def end_attempt(connection: Connection, run_id: int, ending: Ending, author: Author) -> RunRecord:
    """End the running attempt of a run that the caller has locked, and move the run as its policy says.

    Of a run that goes back to the queue, points past its checkpoint are removed: its next attempt makes them anew.
    """
    row = connection.execute(
        select(runs.c.fence, runs.c.sweep_id, runs.c.errors, runs.c.losses, runs.c.alone)
        .add_columns(sweeps.c.bookkeeping, sweeps.c.notify_token, attempts.c.shared_slots)
        .join(sweeps, sweeps.c.id == runs.c.sweep_id)
        .join(attempts, OF_NEWEST_ATTEMPT)
        .where(runs.c.id == run_id)
    ).one()
    outcome = outcome_of_ending(
        ending.reason,
        Spent(errors=row.errors, losses=row.losses),
        read_bookkeeping(row.bookkeeping).limits,
        permanent=ending.permanent,
        # Trained alone once already, a run that is still too large is too large for the device.
        shared_device=row.shared_slots > 1 and not row.alone,
    )
    goes_back = outcome.state is State.PENDING
    if goes_back:
        remove_points_past(connection, run_id)
    attempt = attempt_of(run_id, row.fence)
    _close_attempt(connection, attempt, ending, author)
    if goes_back:
        last_losses_from_points(connection, run_id, attempt)
    connection.execute(update(runs).where(runs.c.id == run_id).values(**_moved(outcome, ending.reason, author.now)))
    why = ": ".join(part for part in (ending.reason.value, ending.error_type, ending.error_message[:500]) if part)
    record_event(connection, author, outcome.action.value, sweep_id=row.sweep_id, run_id=run_id, why=why)
    if not goes_back:
        note_results(connection, policies.c.sweep_id == row.sweep_id)
    if row.notify_token and not goes_back:
        failed = (run_id, row.fence) if outcome.state is State.FAILED else None
        note_end(connection, row.sweep_id, author.now, failed=failed)
    return one_run(connection, run_id)


def _moved(outcome: EndingOutcome, reason: Reason, now: float) -> dict[str, Any]:
    waits = outcome.backoff_seconds > 0
    values: dict[str, Any] = {
        "state": outcome.state.value,
        "reason": reason.value,
        "worker_id": None,
        "errors": outcome.spent.errors,
        "losses": outcome.spent.losses,
        "ended_at": None if outcome.state is State.PENDING else now,
        "backoff_from": now if waits else None,
        "backoff_until": now + outcome.backoff_seconds if waits else None,
    }
    if outcome.alone:
        values["alone"] = True
    return values


def _close_attempt(connection: Connection, attempt: ColumnElement[bool], ending: Ending, author: Author) -> None:
    values: dict[str, Any] = {
        "ended_at": author.now,
        "reason": ending.reason.value,
        "error_type": storable(ending.error_type),
        "error_message": storable(ending.error_message),
        "error_traceback": storable(ending.error_traceback),
    }
    if ending.reason is Reason.FINISHED:
        values["fraction"] = 1.0
    connection.execute(update(attempts).where(attempt).values(**values))


def remove_points_past(connection: Connection, run_id: int) -> None:
    """Remove what the run's next attempt will make anew: points past the checkpoint, or all without one."""
    resume_step = select(func.coalesce(runs.c.checkpoint_step, -1)).where(runs.c.id == run_id).scalar_subquery()
    connection.execute(delete(points).where(points.c.run_id == run_id, points.c.step > resume_step))


def tell_what_is_left(connection: Connection, chosen: ColumnElement[bool]) -> None:
    """Points of the chosen runs were removed: their newest attempts tell the last losses of what is left of them, and
    the tokens seen there."""
    told: dict[int, dict[str, Any]] = {}
    for split in ("train", "val"):
        of_split = points.alias()
        last = select(func.max(of_split.c.step)).where(of_split.c.run_id == runs.c.id, of_split.c.split == split)
        of_last = and_(points.c.run_id == runs.c.id, points.c.split == split, points.c.step == last.scalar_subquery())
        query = select(runs.c.id, runs.c.fence, points.c.loss, points.c.nonfinite, points.c.tokens_seen)
        query = query.select_from(runs).outerjoin(points, of_last)
        for row in connection.execute(query.where(chosen, runs.c.fence > 0)):
            own = told.setdefault(row.id, {"of_run": row.id, "of_fence": row.fence, "tokens": 0})
            own[split] = write_number(read_metric("loss", row.loss, row.nonfinite))
            own["tokens"] = max(own["tokens"], row.tokens_seen or 0)
    newest = and_(attempts.c.run_id == bindparam("of_run"), attempts.c.fence == bindparam("of_fence"))
    names = {"last_train_loss": "train", "last_val_loss": "val", "tokens_seen": "tokens"}
    if told:
        values: dict[str, Any] = {column: bindparam(name) for column, name in names.items()}
        connection.execute(update(attempts).where(newest).values(values), list(told.values()))


def last_losses_from_points(connection: Connection, run_id: int, attempt: ColumnElement[bool]) -> None:
    """Set an attempt's last losses to those of the run's stored curve."""
    values = {}
    for split in ("train", "val"):
        row = connection.execute(
            select(points.c.loss, points.c.nonfinite)
            .where(points.c.run_id == run_id, points.c.split == split)
            .order_by(points.c.step.desc())
            .limit(1)
        ).first()
        loss = read_metric("loss", row.loss, row.nonfinite) if row else None
        values[f"last_{split}_loss"] = write_number(loss)
    connection.execute(update(attempts).where(attempt).values(**values))


def lock_runs(connection: Connection, *where: ColumnElement[bool], to_delete: bool = False) -> list[int]:
    """The numbers of the runs that match, locked until the transaction ends (in one order: no deadlocks). Those that
    are locked `to_delete` no other transaction refers to meanwhile."""
    query = select(runs.c.id).where(and_(*where)).order_by(runs.c.id)
    query = query.with_for_update(key_share=not to_delete, of=runs)
    return list(connection.execute(query).scalars())


def attempt_of(run_id: int, fence: int) -> ColumnElement[bool]:
    """The attempt of a run under this fence."""
    return and_(attempts.c.run_id == run_id, attempts.c.fence == fence)


def one_run(connection: Connection, run_id: int) -> RunRecord:
    """The run of that number, which exists."""
    return run_record(one_run_row(connection, run_id))


def one_run_row(connection: Connection, run_id: int) -> Row[Any]:
    """Its row of RUN_ROWS, for those who hold a lock while they ask, and read it afterwards."""
    return connection.execute(_ONE_RUN, {"run_id": run_id}).one()


def lose_held_runs(connection: Connection, worker_id: int, author: Author, why: str) -> list[RunRecord]:
    """End as lost whatever a worker still holds."""
    held = lock_runs(connection, runs.c.worker_id == worker_id, runs.c.state == State.RUNNING.value)
    ending = Ending(reason=Reason.LOST, error_message=why)
    return [end_attempt(connection, run_id, ending, author) for run_id in held]
