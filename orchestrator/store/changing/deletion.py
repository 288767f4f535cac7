"""Deleting runs, and sweeps with their last run. What happened stays in the events."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, Table, case, delete, exists, func, literal, select

from orchestrator.errors import UsageError
from orchestrator.queue.runs import DELETE, Deletion, RunFilter
from orchestrator.store.base import StoreBase
from orchestrator.store.events import record_event, record_events_of_runs
from orchestrator.store.filters import ENDED, conditions, one_of
from orchestrator.store.outgoing.csv_files import note_rows_gone
from orchestrator.store.tables import RUNNING, events, members, metadata, points, policies, runs, sweeps, sync_marks
from orchestrator.store.working.endings import lock_policies, lock_runs, note_end
from orchestrator.wording.numbers import counted

_MOST_NAMED = 10


class DeletionStore(StoreBase):
    """What `hlbq delete` asks for."""

    def deletable(self, wanted: RunFilter) -> Deletion:
        """What deleting the runs that match would remove. Raises UsageError if one is running."""
        with self._read() as connection:
            where = conditions(connection, wanted)
            ids = list(connection.execute(select(runs.c.id).where(*where).order_by(runs.c.id)).scalars())
            return _deletion(connection, ids)

    def delete(self, run_ids: Sequence[int], actor: str) -> Deletion:
        """Delete these runs, and sweeps that have no other, in one transaction. Raises UsageError if one is running."""
        author = self._author(actor)
        with self._write() as connection:
            ids = lock_runs(connection, one_of(connection, runs.c.id, run_ids), to_delete=True)
            found = _deletion(connection, ids)
            chosen = one_of(connection, runs.c.id, ids)
            # The uid lets leftovers tell the files of a deleted run from those of a run that is none of ours.
            record_events_of_runs(connection, chosen, author, DELETE, runs.c.uid)
            lock_policies(connection, policies.c.sweep_id.in_(select(runs.c.sweep_id).where(chosen)))
            for sweep_id, count, were_open in _by_sweep(connection, chosen):
                mine = sweeps.c.id == sweep_id
                # The lock that keeps `extend` from adding runs meanwhile.
                name, notifies = connection.execute(
                    select(sweeps.c.name, sweeps.c.notify_token).where(mine).with_for_update()
                ).one()
                _remove(connection, runs, chosen & (runs.c.sweep_id == sweep_id))
                why = counted(count, "run")
                if connection.execute(select(exists().where(runs.c.sweep_id == sweep_id))).scalar_one():
                    if were_open and notifies:
                        note_end(connection, sweep_id, author.now)
                    if were_open < count:
                        note_rows_gone(connection, sweep_id)
                else:
                    _remove(connection, sweeps, mine)
                    why += f", and the sweep{f' {name!r}' if name else ''}"
                record_event(connection, author, DELETE, sweep_id=sweep_id, why=why)
            return found

    def deleted_of(self, sweep_id: int) -> set[str]:
        """The uids of the sweep's deleted runs."""
        with self._read() as connection:
            of_runs = (events.c.action == DELETE, events.c.sweep_id == sweep_id, events.c.run_id.is_not(None))
            return set(connection.execute(select(events.c.why).where(*of_runs)).scalars())

    def deleted_among(self, uids: Iterable[str]) -> set[str]:
        """Those of these uids that are of deleted runs."""
        with self._read() as connection:
            query = select(events.c.why).where(events.c.action == DELETE, one_of(connection, events.c.why, uids))
            return set(connection.execute(query).scalars())


def _deletion(connection: Connection, run_ids: Sequence[int]) -> Deletion:
    chosen = one_of(connection, runs.c.id, run_ids)
    running = list(connection.execute(select(runs.c.id).where(chosen, RUNNING).order_by(runs.c.id)).scalars())
    if running:
        named = " ".join(map(str, running[:_MOST_NAMED]))
        more = f" and {len(running) - _MOST_NAMED:,} more" if len(running) > _MOST_NAMED else ""
        what = f"run {named} is" if len(running) == 1 else f"runs {named}{more} are"
        raise UsageError(f"{what} running; nothing was deleted", f"Cancel first: hlbq cancel --run {named}")
    stays = exists().where(runs.c.sweep_id == sweeps.c.id, ~chosen)
    empty = select(sweeps.c.id).where(sweeps.c.id.in_(select(runs.c.sweep_id).where(chosen)), ~stays)
    emptied = list(connection.execute(empty.order_by(sweeps.c.id)).scalars())
    _check_not_counted(connection, chosen, emptied)
    sent = select(func.count()).select_from(sync_marks).join(runs, runs.c.uid == sync_marks.c.run_uid)
    held = select(func.count()).select_from(points).where(one_of(connection, points.c.run_id, run_ids))
    return Deletion(
        run_ids=run_ids,
        sweeps=emptied,
        points=connection.execute(held).scalar_one(),
        on_wandb=connection.execute(sent.where(chosen, sync_marks.c.planned_step > 0)).scalar_one(),
    )


def _check_not_counted(connection: Connection, chosen: ColumnElement[bool], emptied: Sequence[int]) -> None:
    """Raise UsageError for a run that a sweep which stays counts: by its policy, or as a member."""
    of_policy = (
        select(runs.c.id, runs.c.sweep_id, literal("its policy").label("how"))
        .join(policies, policies.c.sweep_id == runs.c.sweep_id)
        .where(chosen)
    )
    lent = (
        select(runs.c.id, members.c.sweep_id, literal("--skip_existing").label("how"))
        .join(members, members.c.run_id == runs.c.id)
        .where(chosen)
    )
    for query in (of_policy, lent):
        for row in connection.execute(query.order_by(runs.c.id)):
            if row.sweep_id not in emptied:
                raise UsageError(
                    f"run {row.id} is counted by sweep {row.sweep_id} ({row.how}); nothing was deleted",
                    f"Delete that sweep as a whole, with this one: hlbq delete --sweep {row.sweep_id} ...",
                )


def _by_sweep(connection: Connection, chosen: ColumnElement[bool]) -> list[tuple[int, int, int]]:
    """Of each sweep of the chosen runs: its number, how many of them it has, and how many of these were open."""
    is_open = func.sum(case((ENDED, 0), else_=1))
    query = select(runs.c.sweep_id, func.count(), is_open).where(chosen).group_by(runs.c.sweep_id)
    return [(row[0], row[1], row[2]) for row in connection.execute(query.order_by(runs.c.sweep_id))]


def _remove(connection: Connection, parent: Table, chosen: ColumnElement[bool]) -> None:
    """Remove the chosen rows of `parent` and, in every table that refers to them, theirs."""
    for table in reversed(metadata.sorted_tables):
        for key in table.foreign_keys:
            if key.column.table is parent:
                connection.execute(delete(table).where(key.parent.in_(select(key.column).where(chosen))))
    connection.execute(delete(parent).where(chosen))
