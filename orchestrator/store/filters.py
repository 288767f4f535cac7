"""Conditions on rows: RunFilter, and those that several statements share."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, Text, and_, bindparam, func, or_, select, true
from sqlalchemy import any_ as sql_any

from hlbgpt_core.settings import Settings, parse_value, specs, unknown_setting
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import OPEN, TERMINAL, State
from orchestrator.store.base import is_sqlite
from orchestrator.store.tables import arms, attempts, runs, sweeps

ENDED = runs.c.state.in_([state.value for state in TERMINAL])
UNFINISHED = runs.c.state.in_([state.value for state in OPEN])
# Runs that are claimed now or later, unless a person keeps them from it.
WAITING = and_(runs.c.state == State.PENDING.value, ~runs.c.paused)
OF_NEWEST_ATTEMPT = and_(attempts.c.run_id == runs.c.id, attempts.c.fence == runs.c.fence)

# Columns of the run that a filter may name besides the settings.
_RUN_NUMBERS = {"seed": runs.c.seed, "run_num": runs.c.run_num}


def one_of(connection: Connection, column: ColumnElement[Any], values: Iterable[int | str]) -> ColumnElement[bool]:
    """`column IN (values)` as one parameter, however many there are."""
    several = sorted(set(values))
    if is_sqlite(connection):
        listed = func.json_each(bindparam(None, json.dumps(several))).table_valued("value")
        return column.in_(select(listed.c.value))
    kind = Text if isinstance(column.type, Text) else BigInteger
    return column == sql_any(bindparam(None, several, type_=ARRAY(kind)))


def in_sweeps(connection: Connection, column: ColumnElement[Any], sweep_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether `column` names one of these sweeps; of none, any will do."""
    return one_of(connection, column, sweep_ids) if sweep_ids else true()


def conditions(connection: Connection, wanted: RunFilter, *, by_number: bool = False) -> list[ColumnElement[bool]]:
    """What must hold of a row of `runs`. Raises SettingsError for an unknown setting or a value it can't have.

    `by_number` is for statements that give the runs by number: it hides columns whose indexes give another order.
    """
    state, arm_id = (runs.c.state + "", runs.c.arm_id + 0) if by_number else (runs.c.state, runs.c.arm_id)
    found: list[ColumnElement[bool]] = []
    if wanted.sweep_ids:
        found.append(_few(connection, runs.c.sweep_id, wanted.sweep_ids))
    if wanted.run_ids:
        found.append(_few(connection, runs.c.id, wanted.run_ids))
    if len(wanted.states) == 1:
        found.append(runs.c.state == wanted.states[0].value)
    elif wanted.states:
        found.append(state.in_([one.value for one in wanted.states]))
    if wanted.reasons:
        found.append(runs.c.reason.in_([reason.value for reason in wanted.reasons]))
    if wanted.tags:
        found.append(or_(*map(_carries, wanted.tags)))
    for name, value in wanted.where.items():
        if name in _RUN_NUMBERS:
            found.append(_few(connection, _RUN_NUMBERS[name], [int(one) for one in _several(value)]))
    settings = {name: value for name, value in wanted.where.items() if name not in _RUN_NUMBERS}
    if settings:
        found.append(one_of(connection, arm_id, _matching_arms(connection, wanted.sweep_ids, settings)))
    return found


def _carries(tag: str) -> ColumnElement[bool]:
    """Whether a row of `runs` has a tag, or its sweep has it."""
    # Not LIKE, which takes upper case for lower case on SQLite.
    run, sweep = (func.replace(table.c.tags, f" {tag} ", "") != table.c.tags for table in (runs, sweeps))
    return run | runs.c.sweep_id.in_(select(sweeps.c.id).where(sweep))


def _few(connection: Connection, column: ColumnElement[Any], numbers: Collection[int]) -> ColumnElement[bool]:
    # A plain comparison lets the planner use its indexes best.
    if len(numbers) == 1:
        return column == next(iter(numbers))
    return one_of(connection, column, numbers)


def _matching_arms(connection: Connection, sweep_ids: Collection[int], where: Mapping[str, Any]) -> list[int]:
    """Arms by their settings, read as the program reads them: what is not stored is at its default."""
    tests = {name: _test(name, value) for name, value in where.items()}
    query = select(arms.c.id, arms.c.settings)
    if sweep_ids:
        query = query.where(_few(connection, arms.c.sweep_id, sweep_ids))
    matching = []
    for arm_id, text in connection.execute(query):
        stored = json.loads(text)
        if any(name not in stored for name in tests):
            stored = Settings.from_dict(stored).to_dict()
        if all(test(stored[name]) for name, test in tests.items()):
            matching.append(arm_id)
    return matching


def _test(name: str, value: Any) -> Callable[[Any], bool]:
    spec = specs().get(name)
    if spec is None:
        raise unknown_setting(name)
    wanted = [parse_value(spec, one) for one in _several(value)]
    return lambda stored: stored in wanted


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
