"""`hlbq db copy`: everything arrives, on either engine, whatever interrupts it; and a difference is seen."""

import json
import math
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, event, insert, inspect, select, update
from sqlalchemy.exc import ProgrammingError

from orchestrator.copying import database_copy as copying
from orchestrator.copying import digests
from orchestrator.copying.database_copy import TABLES, CopyReport, compare_databases, copy_database
from orchestrator.errors import DatabaseBusyError, DatabaseError, DatabaseVersionError
from orchestrator.queue.notices import NoticeKind
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewPolicy
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.tables import points, runs, sweeps
from tests.command_line import hlbq_in
from tests.conftest import VirtualClock
from tests.migration.make_database import fill
from tests.postgresql_server import PostgresqlServer
from tests.store_examples import ALL, claim, ending, point, register, saved, stored_points, submit

Content = Mapping[str, list[tuple[Any, ...]]]


def quiet(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@contextmanager
def place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A location where there is no database yet, on one of the engines."""
    if kind == "sqlite":
        number = len(list(folder.glob("*.db")))
        yield str(folder / f"copy-{number}.db")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    with server.lend_database() as url:
        yield url


CROSSWISE = ["sqlite-postgresql", "postgresql-sqlite"]
crosswise = pytest.mark.parametrize("both", CROSSWISE, indirect=True)


@pytest.fixture(params=[*CROSSWISE, "sqlite-sqlite", "postgresql-postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Where the source and the destination are, in every pair of engines."""
    one, other = request.param.split("-")
    with ExitStack() as stack:
        source = stack.enter_context(place(one, tmp_path, request))
        (tmp_path / "there").mkdir()
        yield source, stack.enter_context(place(other, tmp_path / "there", request))


def make(location: str, clock: VirtualClock) -> None:
    """A database that has seen everything once; nothing in it is in use."""
    with open_store(location, mode=OpenMode.CREATE, clock=clock) as store:
        fill(store, clock)
        submit(store, depths=(2, 3), seeds=4, members=[1], policy=NewPolicy(kind="decide", definition={"arms": []}))
        store.record_look([1], "depth 2 against 4")
        lease = claim(store, 1).lease
        store.finish(lease, ending(Reason.ERROR, error_message="π: a\tmessage\nwith 'quotes'", error_traceback="\\x"))
        store.end_worker(1, "asked to stop")


def content(store: Store) -> Content:
    """Every row of every table, sorted."""
    with store._read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr) for table in TABLES
        }


def content_at(location: str) -> Content:
    with open_store(location, mode=OpenMode.READ) as store:
        return content(store)


def copy(source: str, destination: str, **rest: Any) -> CopyReport:
    with (
        open_store(source, mode=OpenMode.READ) as old,
        open_store(destination, mode=OpenMode.FILL) as new,
    ):
        return copy_database(old, new, **{"report": quiet, **rest})


def test_everything_arrives_and_the_copy_goes_on_numbering(both: tuple[str, str], clock: VirtualClock) -> None:
    source, destination = both
    make(source, clock)
    report = copy(source, destination)
    assert report.equal and {one.table for one in report.tables} == {table.name for table in TABLES}
    assert all(one.rows for one in report.tables), "a table without rows proves nothing"
    assert content_at(destination) == content_at(source)
    with open_store(destination, mode=OpenMode.WRITE) as new, open_store(source, mode=OpenMode.WRITE) as old:
        assert new.info().schema_version == old.info().schema_version
        with new._read() as connection:
            assert not inspect(connection).has_table("copy_progress")
        [diverged] = [one.point for one in stored_points(new, type(ALL)(run_ids=(2,)))]
        assert math.isnan(diverged.loss) and diverged.pplx == math.inf
        assert len(new.looks(1)) == 1
        assert (submit(new).id, register(new)) == (submit(old).id, register(old))
        assert claim(new, 3).run.id == claim(old, 3).run.id
        assert new.integrity_check() == []


def test_numbers_of_deleted_runs_are_not_given_again_in_the_copy(both: tuple[str, str], clock: VirtualClock) -> None:
    source, destination = both
    with open_store(source, mode=OpenMode.CREATE, clock=clock) as store:
        submit(store, seeds=3)
        store.delete([3], "ada")
        submit(store, seeds=2)
        store.delete([4, 5], "ada")
    copy(source, destination)
    with open_store(destination, mode=OpenMode.WRITE) as new:
        assert (submit(new).id, [run.id for run in new.runs(ALL)]) == (3, [1, 2, 6])


def test_a_round_trip_changes_nothing(tmp_path: Path, clock: VirtualClock, postgresql_server: PostgresqlServer) -> None:
    first, last = str(tmp_path / "first.db"), str(tmp_path / "last.db")
    make(first, clock)
    with postgresql_server.lend_database() as url:
        assert copy(first, url).equal and copy(url, last).equal
    with open_store(first, mode=OpenMode.READ) as old, open_store(last, mode=OpenMode.READ) as new:
        assert compare_databases(old, new, report=quiet).equal
    assert content_at(first) == content_at(last)


# Random databases: a value for every column of every table, by its type, whatever the columns are.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
BIG = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-(2**31), 2**31 - 1)


def values_of(table: Table, number: int, rows: Mapping[str, int], draw: Callable[..., Any]) -> dict[str, Any]:
    """One row with made-up values; keys and references come from `number` and from what there is."""
    row: dict[str, Any] = {}
    for column in table.c:
        kind = type(column.type).__name__
        if column.foreign_keys:
            [reference] = column.foreign_keys
            row[column.name] = draw(st.integers(1, rows[reference.column.table.name]))
        elif column.nullable and draw(st.booleans()):
            row[column.name] = None
        else:
            row[column.name] = draw({"Text": TEXTS, "Float": FINITE, "Boolean": st.booleans()}.get(kind, SMALL))
            if kind == "BigInteger":
                row[column.name] = draw(BIG)
    unique = {"id": number, "uid": f"{number:04x}", "number": number, "key": str(number), "seed": number}
    row |= {name: value for name, value in unique.items() if name in row}
    row |= {"fence": number} if "fence" in row else {}
    row |= {"step": number} if table is points else {}
    row |= {"reason": draw(st.sampled_from([None, *(one.value for one in Reason)]))} if "reason" in row else {}
    if table is runs:
        row |= {"state": draw(st.sampled_from([one.value for one in State if one is not State.RUNNING]))}
        row |= {"worker_id": None}
    if "happening" in row:
        row |= {"happening": draw(st.sampled_from([one.value for one in NoticeKind]))}
    if table.name == "workers":
        row |= {"ended_at": 1.0}
    return row


@st.composite
def databases(draw: Callable[..., Any]) -> Mapping[str, list[dict[str, Any]]]:
    """Rows by table. Every table that others refer to has some."""
    counts = {table.name: draw(st.integers(1, 4)) for table in TABLES}
    found = {}
    for table in TABLES:
        found[table.name] = [values_of(table, number, counts, draw) for number in range(1, counts[table.name] + 1)]
    for number, row in enumerate(found["sync_marks"], 1):
        row["run_uid"] = f"{number:04x}"
    del found["sync_marks"][counts["runs"] :]
    for table in TABLES:  # one row a key
        keys = [column.name for column in table.primary_key]
        by_key = {tuple(row.get(key, number) for key in keys): row for number, row in enumerate(found[table.name])}
        found[table.name] = list(by_key.values())
    for row in found["policies"]:
        row["ended_at"] = 1.0  # a sweep has one that is open at most
    return found


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=databases())
def test_any_database_survives_the_way_there_and_back(
    rows: Mapping[str, list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: PostgresqlServer,
) -> None:
    folder = tmp_path_factory.mktemp("random")
    first, last = str(folder / "first.db"), str(folder / "last.db")
    with open_store(first, mode=OpenMode.CREATE) as store, store._write() as connection:
        for table in TABLES:
            for row in rows[table.name]:
                connection.execute(insert(table), row)
    with postgresql_server.lend_database() as url:
        there = copy(first, url)
        back = copy(url, last)
    assert there.equal and back.equal
    assert [one.digest for one in there.tables] == [one.digest for one in back.tables]
    zeros = str.maketrans({"\x00": "�"})
    expected = {
        name: [tuple(one.translate(zeros) if isinstance(one, str) else one for one in row) for row in found]
        for name, found in content_at(first).items()
    }
    assert content_at(last) == {name: sorted(found, key=repr) for name, found in expected.items()}


def copy_and_die(source: str, destination: str, commits: int) -> bool:
    """Copy in a process that is killed before its commit of that number; True if it came to its end before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open_store(source, mode=OpenMode.READ) as old, open_store(destination, mode=OpenMode.FILL) as new:
                left = [commits]

                def count(connection: Any) -> None:
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

                event.listen(new._engine, "commit", count)
                code = 0 if copy_database(old, new, report=quiet).equal else 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@crosswise
def test_a_copy_that_is_killed_before_any_commit_goes_on(
    both: tuple[str, str], clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = both
    make(source, clock)
    monkeypatch.setattr(digests, "PAGE_ROWS", 4)
    kills = 0
    # Each life gets a little further: four commits more than the last (of which those that only read do nothing).
    while not copy_and_die(source, destination, 3 + 4 * kills):
        kills += 1
        with pytest.raises(DatabaseError, match="unfinished copy"):
            open_store(destination, mode=OpenMode.CREATE)
        assert kills < 40
    assert kills >= 3
    assert content_at(destination) == content_at(source)


def cut_at(monkeypatch: pytest.MonkeyPatch, pages: int) -> Callable[[], None]:
    """Have copies break off before they write another page than the first `pages`; returns what mends that."""
    whole, left = copying._write_page, [pages]

    def broken(*rest: Any) -> None:
        if left[0] == 0:
            raise DatabaseBusyError("cut off")
        left[0] -= 1
        whole(*rest)

    monkeypatch.setattr(copying, "_write_page", broken)
    return lambda: monkeypatch.setattr(copying, "_write_page", whole)


@pytest.mark.parametrize("pages", [1, 4, 6, 9])
def test_what_the_source_changed_meanwhile_is_copied_anew(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    source, destination = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    make(source, clock)
    monkeypatch.setattr(digests, "PAGE_ROWS", 3)
    mend = cut_at(monkeypatch, pages)
    with pytest.raises(DatabaseBusyError, match="cut off"):
        copy(source, destination)
    mend()
    with open_store(source, mode=OpenMode.WRITE) as old, old._write() as connection:
        connection.execute(update(sweeps).where(sweeps.c.id == 1).values(note="changed meanwhile"))
        connection.execute(update(runs).where(runs.c.id == 2).values(priority=5))
    assert copy(source, destination).equal
    assert content_at(destination) == content_at(source)


def test_a_dropped_connection_is_said_and_the_next_try_goes_on(
    tmp_path: Path, clock: VirtualClock, postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    source = str(tmp_path / "hlbq.db")
    make(source, clock)
    monkeypatch.setattr(digests, "PAGE_ROWS", 3)
    with postgresql_server.lend_database() as url:
        whole, dropped = copying._insert, []

        def cut(connection: Any, table: Any, *rest: Any) -> None:
            whole(connection, table, *rest)
            if table.name == "points" and not dropped:
                mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
                with psycopg.connect(url) as other:
                    dropped.append(other.execute("SELECT pg_terminate_backend(%s)", [mine]).fetchone())

        monkeypatch.setattr(copying, "_insert", cut)
        with pytest.raises(DatabaseBusyError):
            copy(source, url)
        assert dropped and copy(source, url).equal
        assert content_at(url) == content_at(source)


@crosswise
def test_a_row_that_arrives_changed_is_seen_and_the_copy_stays_unfit_for_use(
    both: tuple[str, str], clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = both
    make(source, clock)
    whole = copying._insert

    def careless(connection: Any, table: Any, rows: Any) -> None:
        whole(connection, table, rows)
        if table is points:
            connection.execute(update(points).where(points.c.run_id == 1, points.c.step == 1).values(lr=0.0010000001))

    monkeypatch.setattr(copying, "_insert", careless)
    report = copy(source, destination)
    assert [one.table for one in report.tables if not one.equal] == ["points"]
    with pytest.raises(DatabaseError, match="unfinished copy"):
        open_store(destination, mode=OpenMode.WRITE)


@crosswise
def test_of_two_copies_at_once_one_gives_way(both: tuple[str, str], clock: VirtualClock) -> None:
    source, destination = both
    make(source, clock)
    second: list[CopyReport] = []

    def overtaken(what: str, done: int, total: int) -> None:
        if what == "copying attempts" and not second:
            second.append(copy(source, destination))

    with pytest.raises(DatabaseBusyError, match="another `hlbq db copy`"):
        copy(source, destination, report=overtaken)
    assert second[0].equal and content_at(destination) == content_at(source)


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def test_the_command_copies_compares_and_says_what_is_left(
    hlbq: Any,
    tmp_path: Path,
    clock: VirtualClock,
    postgresql_server: PostgresqlServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.cli.db.SECONDS_BETWEEN_LINES", 0)
    make(str(tmp_path / "hlbq.db"), clock)
    (tmp_path / "hlbq.db.state").mkdir()
    with postgresql_server.lend_database() as url:
        done = hlbq(f"db copy sqlite:///hlbq.db {shlex.quote(url)}")
        assert done.code == 0 and done.out.count("equal") == len(TABLES)
        assert f"--state_dir {tmp_path}/hlbq.db.state" in done.err and "copying points" in done.err
        assert hlbq(f"db copy --verify_only hlbq.db {url}").code == 0
        assert json.loads(hlbq(f"db copy --verify_only --json hlbq.db {url}").out)["equal"] is True
        again = hlbq(f"db copy hlbq.db {url}")
        assert again.code == 2 and "holds data already" in again.err and "--verify_only" in again.err
        with open_store(url, mode=OpenMode.WRITE) as store, store._write() as connection:
            connection.execute(update(points).where(points.c.run_id == 1, points.c.step == 1).values(acc=0.2500001))
        differs = hlbq(f"db copy hlbq.db {url} --verify-only")
        assert differs.code == 1
        assert [line.split()[0] for line in differs.out.splitlines() if "DIFFERS" in line] == ["points"]


@crosswise
def test_a_database_in_use_is_refused_or_its_runs_are_given_back_in_the_copy(
    both: tuple[str, str], clock: VirtualClock
) -> None:
    source, destination = both
    with open_store(source, mode=OpenMode.CREATE, clock=clock) as old:
        submit(old, seeds=2)
        lease = claim(old, register(old)).lease
        old.commit_checkpoint(lease, saved(3), points=[point(3)])
        old.flush(lease, points=[point(4)])
        with pytest.raises(DatabaseError, match=r"in use by 1 worker \(1 run running\)") as refused:
            copy(source, destination)
        assert f"hlbq status --db {shlex.quote(old.location.display)} " in refused.value.hint
        assert "--release" in refused.value.hint
        before = content(old)
        report = copy(source, destination, release=True)
        assert report.equal and report.released_runs == 1
        assert content(old) == before
    with open_store(destination, mode=OpenMode.WRITE) as new:
        assert new.workers() == []
        [given_back, other] = new.runs(ALL)
        assert (given_back.state, given_back.reason, given_back.spent.losses) == (State.PENDING, Reason.RELEASED, 0)
        assert [one.point.step for one in stored_points(new, ALL)] == [3]
        assert claim(new, register(new)).lease.fence == lease.fence + 1
        assert other.state is State.PENDING


def test_a_source_of_another_schema_is_refused_with_the_way_out(hlbq: Any, tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "migration" / "schema_0001.sqlite"
    (tmp_path / "old.db").write_bytes(kept.read_bytes())
    done = hlbq("db copy old.db new.db")
    assert done.code == 2 and "hlbq db upgrade --db old.db" in done.err
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(DatabaseVersionError, match="older"):
        open_store(str(tmp_path / "old.db"), mode=OpenMode.FILL)


def test_a_refused_copy_leaves_nothing_behind(hlbq: Any, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE) as store:
        register(store)
    done = hlbq("db copy hlbq.db new.db")
    assert done.code == 2 and "in use by 1 worker (0 runs running)" in done.err
    assert not (tmp_path / "new.db").exists()


def test_copies_that_make_no_sense_are_refused(hlbq: Any, tmp_path: Path, clock: VirtualClock) -> None:
    make(str(tmp_path / "hlbq.db"), clock)
    (tmp_path / "link.db").symlink_to("hlbq.db")
    for line, words in {
        "db copy hlbq.db ./hlbq.db": "into itself",
        "db copy hlbq.db link.db": "into itself",
        "db copy nothing.db new.db": "there is no database at 'nothing.db'",
        "db copy hlbq.db mysql://x/y": "does not know",
        "db copy hlbq.db ''": "the name of the destination is empty",
        "db copy '' new.db": "the name of the source is empty",
        "db copy hlbq.db /nowhere/new.db": "mkdir -p /nowhere",
    }.items():
        done = hlbq(line)
        assert done.code == 2 and words in done.err and "Traceback" not in done.err, line
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["hlbq.db", "link.db"]


def test_ctrl_c_is_no_error_even_where_the_driver_makes_one_of_it(
    hlbq: Any, tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(str(tmp_path / "hlbq.db"), clock)

    def interrupted(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:  # as SQLAlchemy's ping does
            raise ProgrammingError("SELECT 1", {}, Exception("connection in transaction status ACTIVE")) from None

    monkeypatch.setattr("orchestrator.copying.database_copy.copy_database", interrupted)
    done = hlbq("db copy hlbq.db new.db")
    assert (done.code, done.out, done.err) == (130, "", "")


def test_an_unfinished_copy_of_another_source_is_left_as_it_is(
    tmp_path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(str(tmp_path / "a.db"), clock)
    make(str(tmp_path / "b.db"), clock)
    mend = cut_at(monkeypatch, 2)
    with pytest.raises(DatabaseBusyError):
        copy(str(tmp_path / "a.db"), str(tmp_path / "c.db"))
    mend()
    with pytest.raises(DatabaseError, match="unfinished copy of"):
        copy(str(tmp_path / "b.db"), str(tmp_path / "c.db"))
    assert copy(str(tmp_path / "a.db"), str(tmp_path / "c.db")).equal
