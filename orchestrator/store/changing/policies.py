"""Policies: how sweeps grow by themselves. The store does not know what a step decides; it writes each step once."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, or_, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import UsageError
from orchestrator.queue.sweeps import AGAIN, NewPolicy, PolicyRecord, PolicyStep
from orchestrator.store.base import StoreBase, to_json
from orchestrator.store.changing.sweeps import add_runs, insert_members, insert_policy
from orchestrator.store.events import record_event
from orchestrator.store.filters import UNFINISHED, WAITING, in_sweeps, one_of
from orchestrator.store.rows import record_of
from orchestrator.store.tables import OPEN_POLICY, RUNNING, policies, runs, sweeps
from orchestrator.store.working.endings import lock_runs, note_if_over


def has_a_policy(sweep_id: int) -> UsageError:
    """The error for a second declaration."""
    what = f"sweep {sweep_id} has a policy already, and a change is a new declaration"
    return UsageError(what, f"To replace it: add --redeclare. To see it: hlbq decide {sweep_id}")


class PolicyStore(StoreBase):
    """Declares policies, lists them, and writes their steps."""

    def declare(self, sweep_id: int, new: NewPolicy, *, replace: bool = False) -> PolicyRecord:
        """Make a policy of a sweep; its first step is due at once.

        Raises UsageError where the sweep has an open one already, unless that is to be replaced.
        """
        author = self._author("user")
        with self._write() as connection:
            # Whoever ends one of these just now does not see this policy: it must see that end in its first step.
            lock_runs(connection, runs.c.sweep_id == sweep_id, UNFINISHED)
            earlier = connection.execute(
                select(policies.c.id).where(policies.c.sweep_id == sweep_id, OPEN_POLICY)
            ).scalar_one_or_none()
            if earlier is not None and not replace:
                raise has_a_policy(sweep_id)
            if earlier is not None:
                ended = {"ended_at": author.now, "ended_why": AGAIN}
                connection.execute(update(policies).where(policies.c.id == earlier).values(**ended))
            try:
                row = insert_policy(connection, sweep_id, new, author.now)
            except IntegrityError:  # somebody declared one at the same moment
                raise has_a_policy(sweep_id) from None
            record_event(connection, author, new.kind, sweep_id=sweep_id, why="declared")
            return _record(row)

    def policies(self, sweep_ids: Sequence[int] = (), *, only_open: bool = False) -> list[PolicyRecord]:
        """The policies of these sweeps (or of all), oldest first."""
        listed = select(policies).where(OPEN_POLICY) if only_open else select(policies)
        with self._read() as connection:
            query = listed.where(in_sweeps(connection, policies.c.sweep_id, sweep_ids))
            return [_record(row) for row in connection.execute(query.order_by(policies.c.id))]

    def policy(self, sweep_id: int) -> PolicyRecord | None:
        """The newest policy of a sweep, open or ended; None where it has none."""
        query = select(policies).where(policies.c.sweep_id == sweep_id).order_by(policies.c.id.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(query).first()
            return None if row is None else _record(row)

    def due_policies(self, sweep_ids: Sequence[int] = ()) -> list[PolicyRecord]:
        """The open policies of these sweeps (or of all) with results that no step has seen."""
        return [record for record in self.policies(sweep_ids, only_open=True) if record.is_due]

    def may_grow(self, sweep_ids: Sequence[int] = (), *, without: Sequence[int] = ()) -> bool:
        """Whether a policy of these sweeps (or of any), `without` those of these numbers, may add runs: a step is due,
        or runs are under way.

        One whose missing runs are all paused, cancelled or failed waits for a person, and adds nothing by itself. One
        statement: between two, a step could make runs of what was due.
        """
        awaited = select(runs.c.id).where(runs.c.sweep_id == policies.c.sweep_id, or_(RUNNING, WAITING))
        growing = select(policies.c.id).where(OPEN_POLICY, or_(policies.c.results != policies.c.seen, awaited.exists()))
        with self._read() as connection:
            query = growing.where(in_sweeps(connection, policies.c.sweep_id, sweep_ids))
            if without:
                query = query.where(~one_of(connection, policies.c.id, without))
            return connection.execute(query.limit(1)).first() is not None

    def take_step(self, step: PolicyStep, actor: str) -> int | None:
        """Write a step, all or nothing; returns how many runs it added.

        None, and nothing is written, where the policy has moved on or ended meanwhile: somebody else took the step.
        """
        author, read = self._author(actor), step.read
        values: dict[str, Any] = {
            "version": read.version + 1,
            "state": to_json(dict(step.state)),
            "seen": read.results,
        }
        if step.ended_why:
            values |= {"ended_at": author.now, "ended_why": step.ended_why}
        if step.members:  # results that no step has seen
            values["results"] = policies.c.results + 1
        matching = policies.c.id == read.id, policies.c.version == read.version, OPEN_POLICY
        with self._write() as connection:
            if not connection.execute(update(policies).where(*matching).values(**values)).rowcount:
                return None
            definition = select(sweeps.c.definition).where(sweeps.c.id == read.sweep_id)
            first_seed = json.loads(connection.execute(definition).scalar_one())["seed"]
            insert_members(connection, read.sweep_id, step.members)
            wanted = [(key, seed - first_seed + 1, seed) for key, seed in step.runs]
            added = add_runs(connection, read.sweep_id, step.arms, wanted, author.now)
            for sentence in step.events:
                record_event(connection, author, read.kind, sweep_id=read.sweep_id, why=sentence)
            if step.successor is not None:
                insert_policy(connection, read.sweep_id, step.successor, author.now)
            elif not added and not step.members:
                note_if_over(connection, read.sweep_id, author.now)
            return added


def _record(row: Row[Any]) -> PolicyRecord:
    return record_of(
        PolicyRecord,
        row,
        definition=json.loads(row.definition),
        state=json.loads(row.state),
        is_due=row.ended_at is None and row.results != row.seen,
    )
