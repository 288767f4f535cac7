"""The statements that run often read their indexes, not the table, also when the queue is long."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store
from orchestrator.store.reading.pages import PAGED, chosen, next_page
from orchestrator.store.reading.runs import _completed
from orchestrator.store.tables import runs
from orchestrator.store.working.claims import _LOCK_WORKER, _PRECHECK, _TAKE_NEXT
from tests.store_examples import register, submit


@pytest.fixture
def long_queue(store: Store) -> Store:
    """Many runs, most of them over, and the statistics that PostgreSQL's planner needs to prefer an index to a scan."""
    submit(store, depths=range(1, 11), seeds=400)
    store.cancel(RunFilter(where={"depth": tuple(range(2, 11))}), "user")
    if store.location.dialect == "postgresql":
        with store._write() as connection:
            connection.execute(text("ANALYZE runs"))
    return store


def plan(store: Store, statement: object) -> str:
    """The engine's own description of how it runs a statement."""
    on_sqlite = store.location.dialect == "sqlite"
    dialect = sqlite.dialect(paramstyle="named") if on_sqlite else postgresql.dialect(paramstyle="named")
    render = {"render_postcompile": True}
    compiled = statement.compile(dialect=dialect, compile_kwargs=render)  # type: ignore[attr-defined]
    given = {"worker": None, "worker_id": 1, "now": 1.0}
    literals = {name: given.get(name, value) for name, value in compiled.params.items()}
    words = re.sub(r"(?<!:):(\w+)", lambda found: _literal(literals[found[1]]), str(compiled))
    with store._read() as connection:
        rows = connection.exec_driver_sql(("EXPLAIN QUERY PLAN " if on_sqlite else "EXPLAIN ") + words)
        return "\n".join(str(row[-1]) for row in rows)


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]::bigint[]"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def test_a_claim_takes_the_first_of_its_index(long_queue: Store) -> None:
    found = plan(long_queue, _TAKE_NEXT)
    assert "runs_claimable" in found
    assert not re.search(r"Seq Scan|SCAN (queue|runs)\b(?!.*INDEX)|TEMP B-TREE|\bSort\b", found), found


def test_an_idle_look_reads_indexes_only(long_queue: Store) -> None:
    found = plan(long_queue, _PRECHECK)
    assert {"runs_claimable", "runs_backing_off", "runs_held"} <= set(re.findall(r"runs_\w+", found)), found


def test_a_claim_reads_its_neighbours_and_not_all_workers(store: Store) -> None:
    for number in range(300):
        register(store, number, device=f"cuda:{number}")
    if store.location.dialect == "postgresql":
        with store._write() as connection:
            connection.execute(text("ANALYZE workers"))
    found = plan(store, _LOCK_WORKER)
    assert "workers_live" in found
    assert re.search(r"Index Cond: .*host.* = .*device.* = |host=\? AND device=\?", found), found


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "counted",
    [
        select(runs.c.state, func.count()).group_by(runs.c.state),
        select(runs.c.sweep_id, runs.c.state, func.count()).group_by(runs.c.sweep_id, runs.c.state),
        select(runs.c.state, func.count()).where(runs.c.sweep_id == 1).group_by(runs.c.state),
    ],
)
def test_counting_reads_one_index_and_never_the_table(long_queue: Store, counted: Select[tuple[str, int]]) -> None:
    found = plan(long_queue, counted)
    assert "COVERING INDEX runs_by_state" in found, found


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_what_is_completed_is_found_by_the_arms_keys(long_queue: Store) -> None:
    with long_queue._read() as connection:
        found = plan(long_queue, _completed(connection, ["one key", "another"], range(100, 102)))
    assert "arms_by_key" in found
    assert re.search(r"SEARCH runs USING INDEX \S+ \(arm_id=\? AND seed>\? AND seed<\?\)", found), found


PAGE = 50
FILTERS: Mapping[str, dict[str, Any]] = {
    "none": {},
    "a sweep": {"sweep_ids": (1,)},
    "a state": {"states": (State.CANCELLED,)},
    "a state of a sweep": {"sweep_ids": (1,), "states": (State.CANCELLED,)},
    "states of a sweep": {"sweep_ids": (1,), "states": (State.COMPLETED, State.CANCELLED)},
    "a reason": {"sweep_ids": (1,), "reasons": (Reason.CANCELLED,)},
    "a setting": {"sweep_ids": (1,), "where": {"depth": 8}},
    "a setting of all sweeps": {"where": {"depth": 8}},
    "a seed": {"sweep_ids": (1,), "where": {"seed": 100}},
    "numbers": {"run_ids": (3, 1, 2)},
}


@pytest.fixture
def many_runs(long_queue: Store) -> Store:
    """The long queue, and what the planner needs to know of the tables beside it."""
    if long_queue.location.dialect == "postgresql":
        with long_queue._write() as connection:
            for table in ("arms", "sweeps", "attempts", "sync_marks", "points", "members"):
                connection.execute(text(f"ANALYZE {table}"))
    return long_queue


def test_no_page_of_runs_is_sorted(many_runs: Store) -> None:
    """A page that is sorted reads all that is left of the sweep: reading all of its pages is then quadratic.

    PostgreSQL weighs: it may sort the rows of a filter that lets through no more than a page.
    """
    sorted_pages = []
    for name in PAGED:
        for which, filters in FILTERS.items():
            if name == "members" and "sweep_ids" not in filters:
                continue
            with many_runs._read() as connection:
                query = chosen(connection, name, RunFilter(**filters))
            statement = next_page(name, query, after_id=10, size=PAGE)
            found = plan(many_runs, statement)
            sizes = [int(rows) for rows in re.findall(r"\bSort  .*rows=(\d+)", found)]
            if "TEMP B-TREE" in found or any(size > PAGE for size in sizes):
                sorted_pages.append(f"{name}, {which}:\n{found}")
    assert not sorted_pages, "\n".join(sorted_pages)
