"""The statements that run often read their indexes, not the table, also when the queue is long."""

import re

import pytest
from sqlalchemy import Select, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.queue.records import RunFilter
from orchestrator.store import Store
from orchestrator.store.claims import _LOCK_WORKER, _PRECHECK, _TAKE_NEXT
from orchestrator.store.tables import runs
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
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    given = {"worker": None, "worker_id": 1, "now": 1.0}
    literals = {name: given.get(name, value) for name, value in compiled.params.items()}
    words = re.sub(r"(?<!:):(\w+)", lambda found: _literal(literals[found[1]]), str(compiled))
    with store._read() as connection:
        rows = connection.exec_driver_sql(("EXPLAIN QUERY PLAN " if on_sqlite else "EXPLAIN ") + words)
        return "\n".join(str(row[-1]) for row in rows)


def _literal(value: object) -> str:
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
