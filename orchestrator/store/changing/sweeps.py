"""Sweeps: making them, adding to them, listing them."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, func, insert, literal, select, true, update

from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import CsvTarget, EverySeed, NewArm, NewPolicy, NewRun, NewSweep, SweepRecord
from orchestrator.store.base import Author, StoreBase, insert_many, is_sqlite, to_json
from orchestrator.store.events import highest_number, record_event
from orchestrator.store.filters import UNFINISHED, one_of
from orchestrator.store.outgoing.csv_files import read_csv_states, replaced_by
from orchestrator.store.rows import record_of
from orchestrator.store.tables import arms, members, policies, runs, sweeps

_ARM_COLUMNS = ("sweep_id", "number", "key", "settings", "num_params", "num_non_embedding_params")
_RUN_COLUMNS = ("uid", "sweep_id", "arm_id", "run_num", "seed", "priority", "created_at")


class SweepStore(StoreBase):
    """Sweeps and what they consist of."""

    def submit(self, new: NewSweep) -> SweepRecord:
        """Store a sweep with its arms and runs, all or nothing. Runs are numbered in the order given."""
        author, is_written = self._author("user"), False
        try:
            with self._write() as connection:
                found = _insert_whole(connection, new, author)
                is_written = True
        except DatabaseBusyError as error:
            if not is_written:
                raise
            # The answer to the commit was lost.
            way_out = "The sweep may be stored anyway: check with hlbq status before you submit it again."
            raise DatabaseBusyError(error.message, way_out) from None
        return found

    def extend(
        self,
        sweep_id: int,
        *,
        arms: Sequence[NewArm],
        runs: Iterable[NewRun],
        definition: Mapping[str, Any] | None = None,
    ) -> int:
        """Add to a sweep the runs that it lacks, by arm and seed; returns how many.

        `NewRun.arm` is a place in `arms`; a `definition` replaces the sweep's own. Raises UsageError where there is
        no such sweep.
        """
        author = self._author("user")
        now = author.now
        with self._write() as connection:
            wanted = [(arms[run.arm].key, run.run_num, run.seed) for run in runs]
            added = add_runs(connection, sweep_id, arms, wanted, now)
            if definition is not None:
                changed = update(sweeps).where(sweeps.c.id == sweep_id)
                connection.execute(changed.values(definition=to_json(dict(definition))))
            record_event(connection, author, "extend", sweep_id=sweep_id, why=f"{added} runs")
            return added

    def runs_by_seed(self, sweep_id: int) -> set[tuple[str, int]]:
        """The sweep's runs by arm key and seed, its members among them."""
        with self._read() as connection:
            return _arms_and_seeds(connection, sweep_id)

    def sweeps(self) -> list[SweepRecord]:
        """All sweeps, oldest first."""
        with self._read() as connection:
            return _sweep_records(connection)

    def sweep(self, sweep_id: int) -> SweepRecord | None:
        """The sweep of that number, or None."""
        with self._read() as connection:
            return next(iter(_sweep_records(connection, sweep_id)), None)

    def any_sweep(self, sweep_ids: Iterable[int]) -> bool:
        """Whether one of these sweeps is there. Workers that wait ask it again and again: no run is counted."""
        with self._read() as connection:
            found = select(sweeps.c.id).where(one_of(connection, sweeps.c.id, sweep_ids)).limit(1)
            return connection.execute(found).first() is not None

    def latest_sweep(self) -> SweepRecord | None:
        """The sweep submitted last, or None where there is none."""
        with self._read() as connection:
            newest = connection.execute(select(func.max(sweeps.c.id))).scalar_one()
            return None if newest is None else _sweep_records(connection, newest)[0]


def _insert_whole(connection: Connection, new: NewSweep, author: Author) -> SweepRecord:
    now = author.now
    before = replaced_by(new.csv, read_csv_states(connection, new.csv.host)) if new.csv else ()
    sweep_id = _insert_sweep(connection, new, now)
    _insert_arms(connection, sweep_id, new.arms, first_number=1)
    if isinstance(new.runs, EverySeed) and new.runs.arms == len(new.arms):
        _insert_every_seed(connection, sweep_id, new.runs, new.priority, now)
    else:
        numbers = _arm_ids(connection, sweep_id)
        ids = [numbers[arm.key] for arm in new.arms]
        rows = ((ids[run.arm], run.run_num, run.seed) for run in new.runs)
        _insert_runs(connection, sweep_id, rows, new.priority, now)
    insert_members(connection, sweep_id, new.members)
    if new.policy is not None:
        insert_policy(connection, sweep_id, new.policy, now)
    record_event(connection, author, "submit", sweep_id=sweep_id, why=f"{len(new.runs)} runs")
    for other in before:
        why = f"'{other.target.path}' belongs to sweep {sweep_id} from now on: no more rows are written there"
        record_event(connection, author, "CSV taken", sweep_id=other.sweep_id, why=why)
    return _sweep_records(connection, sweep_id)[0]


def add_runs(
    connection: Connection, sweep_id: int, arms: Sequence[NewArm], wanted: Sequence[tuple[str, int, int]], now: float
) -> int:
    """Add what a sweep lacks of `arms`, and of `wanted` runs by arm key, run number and seed; returns how many runs.
    They take the priority that the sweep's runs have now.

    Raises UsageError where there is no such sweep.
    """
    at_submission = connection.execute(
        select(sweeps.c.priority).where(sweeps.c.id == sweep_id).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if at_submission is None:
        raise UsageError(f"there is no sweep {sweep_id}", "`hlbq status` lists them.")
    ids = _arm_ids(connection, sweep_id)
    _insert_arms(connection, sweep_id, [arm for arm in arms if arm.key not in ids], len(ids) + 1)
    ids = _arm_ids(connection, sweep_id)
    there = _arms_and_seeds(connection, sweep_id)
    missing = [(ids[key], number, seed) for key, number, seed in wanted if (key, seed) not in there]
    now_at = _priority_now(connection, sweep_id)
    _insert_runs(connection, sweep_id, missing, at_submission if now_at is None else now_at, now)
    return len(missing)


def _priority_now(connection: Connection, sweep_id: int) -> int | None:
    """The priority of the sweep's newest run that has not ended, or else of its newest; None where it has no run."""
    for legal in (UNFINISHED, true()):
        newest = select(func.max(runs.c.id)).where(runs.c.sweep_id == sweep_id, legal).scalar_subquery()
        found = connection.execute(select(runs.c.priority).where(runs.c.id == newest)).scalar_one_or_none()
        if found is not None:
            return int(found)
    return None


def insert_policy(connection: Connection, sweep_id: int, new: NewPolicy, now: float) -> Row[Any]:
    """The row of a new policy; its first step is due at once."""
    declared = {"kind": new.kind, "declared_at": now, "definition": to_json(dict(new.definition))}
    row = insert(policies).values(sweep_id=sweep_id, **declared)
    return connection.execute(row.returning(*policies.c)).one()


def _insert_sweep(connection: Connection, new: NewSweep, now: float) -> int:
    row = insert(sweeps).values(
        **({"id": highest_number(connection, sweeps) + 1} if is_sqlite(connection) else {}),
        uid=f"s{os.urandom(8).hex()}",
        name=new.name,
        note=new.note,
        created_at=now,
        argv=to_json(list(new.argv)),
        priority=new.priority,
        bookkeeping=to_json(asdict(new.bookkeeping)),
        csv_path=new.csv.path if new.csv else None,
        csv_append=new.csv.append if new.csv else None,
        csv_host=new.csv.host if new.csv else None,
        wandb_project=new.wandb_project,
        definition=to_json(dict(new.definition)),
        notify_token=new.notify.token if new.notify else "",
        notify_by=new.notify.by if new.notify else "",
    )
    return int(connection.execute(row.returning(sweeps.c.id)).scalar_one())


def _insert_arms(connection: Connection, sweep_id: int, new: Iterable[NewArm], first_number: int) -> None:
    settings_json = SettingsJson()
    rows = (
        (sweep_id, number, arm.key, settings_json(arm.settings), arm.num_params, arm.num_non_embedding_params)
        for number, arm in enumerate(new, start=first_number)
    )
    insert_many(connection, arms, _ARM_COLUMNS, rows)


class SettingsJson:
    """The JSON of one arm's settings after the other. Arms share most values, and each of these is written once."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[Any, str]] = {}

    def __call__(self, settings: Mapping[str, Any]) -> str:
        """What `to_json` makes of them."""
        return "{" + ",".join([self._member(name, value) for name, value in settings.items()]) + "}"

    def _member(self, name: str, value: Any) -> str:
        last, text = self._written.get(name, (None, ""))
        # The very same value: one that is only equal may be written otherwise, as 1 and 1.0 are.
        if last is not value or not text:
            text = f"{to_json(name)}:{to_json(value)}"
            self._written[name] = value, text
        return text


def _insert_runs(
    connection: Connection, sweep_id: int, new: Iterable[tuple[int, int, int]], priority: int, now: float
) -> None:
    """Insert runs by the number of their arm's row, run number and seed."""
    # A letter in front, so that no uid reads as a run's number.
    rows = ((f"r{os.urandom(8).hex()}", sweep_id, *run, priority, now) for run in new)
    if is_sqlite(connection):
        first = highest_number(connection, runs) + 1
        insert_many(connection, runs, ("id", *_RUN_COLUMNS), ((id_, *row) for id_, row in enumerate(rows, first)))
    else:
        insert_many(connection, runs, _RUN_COLUMNS, rows)


def _insert_every_seed(connection: Connection, sweep_id: int, new: EverySeed, priority: int, now: float) -> None:
    """All arms of the sweep with every seed. The database makes the rows: half the time of handing it each."""
    columns = ", ".join(_RUN_COLUMNS)
    rows = [(seed + 1, new.first_seed + seed, priority, now, sweep_id) for seed in range(new.num_runs)]
    if is_sqlite(connection):
        before = highest_number(connection, runs)
        connection.exec_driver_sql(
            f"INSERT INTO runs (id, {columns}) SELECT ? + number, 'r' || lower(hex(randomblob(8))), sweep_id, id, "
            "?, ?, ?, ? FROM arms WHERE sweep_id = ? ORDER BY number",
            [(before + seed * new.arms, *row) for seed, row in enumerate(rows)],
        )
    else:
        # As random as os.urandom: its uuid has a few bits that are fixed, which the digest spreads.
        connection.exec_driver_sql(
            f"INSERT INTO runs ({columns}) SELECT 'r' || substr(md5(gen_random_uuid()::text), 1, 16), sweep_id, id, "
            "%s, %s, %s, %s FROM arms WHERE sweep_id = %s ORDER BY number",
            rows,
        )


def insert_members(connection: Connection, sweep_id: int, run_ids: Sequence[int]) -> None:
    """Make runs of other sweeps stand for runs that this one leaves out. Raises UsageError where one is not there any
    more, or is deleted just now."""
    if run_ids:
        there = select(literal(sweep_id), runs.c.id).where(one_of(connection, runs.c.id, run_ids))
        there = there.with_for_update(read=True, key_share=True, of=runs)
        inserted = insert(members).from_select(["sweep_id", "run_id"], there).returning(members.c.run_id)
        if len(connection.execute(inserted).all()) < len(run_ids):
            what = "a run that was to stand for one of this sweep was deleted meanwhile; nothing was stored"
            raise UsageError(what, "Give the same command again: that run is then trained here.")


def _arm_ids(connection: Connection, sweep_id: int) -> dict[str, int]:
    rows = connection.execute(select(arms.c.key, arms.c.id).where(arms.c.sweep_id == sweep_id))
    return {row.key: row.id for row in rows}


def _arms_and_seeds(connection: Connection, sweep_id: int) -> set[tuple[str, int]]:
    """The sweep's runs by arm key and seed, its members among them."""
    keys = {number: key for key, number in _arm_ids(connection, sweep_id).items()}
    # From the index of arm and seed alone: by sweep each run would be read.
    own = select(runs.c.arm_id, runs.c.seed).where(
        runs.c.arm_id.in_(select(arms.c.id).where(arms.c.sweep_id == sweep_id))
    )
    lent = select(arms.c.key, runs.c.seed).join(arms, arms.c.id == runs.c.arm_id)
    lent = lent.join(members, members.c.run_id == runs.c.id).where(members.c.sweep_id == sweep_id)
    its_own = {(keys[arm_id], seed) for arm_id, seed in connection.execute(own)}
    return its_own | {(key, seed) for key, seed in connection.execute(lent)}


def _sweep_records(connection: Connection, sweep_id: int | None = None) -> list[SweepRecord]:
    listed = select(sweeps).order_by(sweeps.c.id)
    counted = select(runs.c.sweep_id, runs.c.state, func.count().label("number"))
    if sweep_id is not None:
        listed = listed.where(sweeps.c.id == sweep_id)
        counted = counted.where(runs.c.sweep_id == sweep_id)
    counts: dict[int, dict[State, int]] = {}
    for row in connection.execute(counted.group_by(runs.c.sweep_id, runs.c.state)):
        counts.setdefault(row.sweep_id, dict.fromkeys(State, 0))[State(row.state)] = row.number
    none = dict.fromkeys(State, 0)
    return [_sweep_record(row, counts.get(row.id, none)) for row in connection.execute(listed)]


def _sweep_record(row: Row[Any], counts: Mapping[State, int]) -> SweepRecord:
    csv = None
    if row.csv_path is not None:
        csv = CsvTarget(path=row.csv_path, append=bool(row.csv_append), host=row.csv_host or "")
    return record_of(
        SweepRecord,
        row,
        argv=json.loads(row.argv),
        csv=csv,
        definition=json.loads(row.definition),
        counts=counts,
        tags=row.tags.split(),
    )
