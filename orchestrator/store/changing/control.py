"""What people do to many runs at once: cancel, pause, retry, priority. One transaction each."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, func, or_, select, update

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Action, Reason, Retry, State, sources
from orchestrator.store.base import StoreBase
from orchestrator.store.events import record_events_of_runs
from orchestrator.store.filters import OF_NEWEST_ATTEMPT, UNFINISHED, conditions, one_of
from orchestrator.store.rows import checkpoint_columns
from orchestrator.store.tables import attempts, points, policies, runs
from orchestrator.store.working.endings import lock_runs, note_ends, note_results, tell_what_is_left


class ControlStore(StoreBase):
    """Each method returns how many runs it changed; runs for which it is not legal are left alone."""

    def matching(self, wanted: RunFilter, *legal: ColumnElement[bool]) -> int:
        """How many runs match, and meet the store's own conditions."""
        with self._read() as connection:
            query = select(func.count()).select_from(runs).where(*legal, *conditions(connection, wanted))
            return connection.execute(query).scalar_one()

    def cancel(self, wanted: RunFilter, actor: str) -> int:
        """Cancel pending and running runs. It holds at once: the fence stops the trainers."""
        now = self._clock()

        def change(connection: Connection, chosen: ColumnElement[bool]) -> None:
            newest = select(runs.c.id).where(OF_NEWEST_ATTEMPT, chosen)
            ended = {"ended_at": now, "reason": Reason.CANCELLED.value}
            connection.execute(update(attempts).where(attempts.c.ended_at.is_(None), exists(newest)).values(**ended))
            values = {"worker_id": None, "backoff_from": None, "backoff_until": None}
            connection.execute(update(runs).where(chosen).values(state=State.CANCELLED.value, **ended, **values))
            note_ends(connection, chosen, now)

        return self._change(wanted, _legal(Action.CANCEL), Action.CANCEL.value, actor, change)

    def retriable(self, wanted: RunFilter, how: Retry = Retry.AS_BEFORE) -> int:
        """How many runs `retry` would put back."""
        return self.matching(wanted, _retriable(wanted, how))

    def retry(self, wanted: RunFilter, actor: str, how: Retry = Retry.AS_BEFORE) -> int:
        """Put failed and cancelled runs back into the queue, their limits afresh, from their checkpoints on; or from
        step 0, or by any code: then runs too that are held because their code has changed. Pruned ones only where
        `wanted` names that reason."""

        def change(connection: Connection, chosen: ColumnElement[bool]) -> None:
            if how is Retry.FROM_START:
                # Before the points go by the checkpoint's step, of which there is none any more.
                none = checkpoint_columns("checkpoint", None) | checkpoint_columns("previous", None)
                connection.execute(update(runs).where(chosen).values(**none, code=None))
            resumes = select(runs.c.id).where(
                runs.c.id == points.c.run_id, points.c.step > func.coalesce(runs.c.checkpoint_step, -1)
            )
            connection.execute(
                delete(points).where(points.c.run_id.in_(select(runs.c.id).where(chosen)), exists(resumes))
            )
            tell_what_is_left(connection, chosen)
            afresh: dict[str, Any] = {"reason": None, "errors": 0, "losses": 0, "alone": False, "ended_at": None}
            if how is not Retry.AS_BEFORE:
                afresh |= {"paused": case((runs.c.held != "", False), else_=runs.c.paused), "held": ""}
            if how is Retry.ACROSS_CODE:
                afresh["across_code"] = True
            connection.execute(update(runs).where(chosen).values(state=State.PENDING.value, **afresh))

        return self._change(wanted, _retriable(wanted, how), Action.RETRY.value, actor, change, how.value)

    def pause(self, wanted: RunFilter, actor: str) -> int:
        """Keep unfinished runs from being claimed; those that run go on."""
        return self._set(wanted, and_(UNFINISHED, ~runs.c.paused), "pause", actor, "", paused=True)

    def unpause(self, wanted: RunFilter, actor: str) -> int:
        """Let paused runs be claimed again."""
        return self._set(wanted, and_(UNFINISHED, runs.c.paused), "unpause", actor, "", paused=False, held="")

    def set_priority(self, wanted: RunFilter, priority: int, actor: str) -> int:
        """Set the priority (greater is sooner) of unfinished runs that have another one."""
        legal = and_(UNFINISHED, runs.c.priority != priority)
        return self._set(wanted, legal, "priority", actor, str(priority), priority=priority)

    def _set(
        self, wanted: RunFilter, legal: ColumnElement[bool], action: str, actor: str, why: str, **values: Any
    ) -> int:
        def change(connection: Connection, chosen: ColumnElement[bool]) -> None:
            connection.execute(update(runs).where(chosen).values(**values))

        return self._change(wanted, legal, action, actor, change, why)

    def _change(
        self,
        wanted: RunFilter,
        legal: ColumnElement[bool],
        action: str,
        actor: str,
        change: Callable[[Connection, ColumnElement[bool]], None],
        why: str = "",
    ) -> int:
        """Lock the runs that match and may be changed, change them, and write an event for each."""
        with self._write() as connection:
            ids = lock_runs(connection, legal, *conditions(connection, wanted))
            if ids:
                chosen = one_of(connection, runs.c.id, ids)
                record_events_of_runs(connection, chosen, self._author(actor), action, why)
                note_results(connection, policies.c.sweep_id.in_(select(runs.c.sweep_id).where(chosen)))
                change(connection, chosen)
            return len(ids)


def _retriable(wanted: RunFilter, how: Retry) -> ColumnElement[bool]:
    """What `retry` may take; what a search stopped only where it is asked for by that reason."""
    legal = _legal(Action.RETRY)
    if Reason.PRUNED not in wanted.reasons:
        legal = and_(legal, func.coalesce(runs.c.reason, "") != Reason.PRUNED.value)
    if how is Retry.AS_BEFORE:
        return legal
    return or_(legal, and_(runs.c.state == State.PENDING.value, runs.c.held != ""))


def _legal(action: Action) -> ColumnElement[bool]:
    return runs.c.state.in_([state.value for state in sources(action)])
