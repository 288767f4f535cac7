"""PostgreSQL as the shared queue: locks of the dead, roles, TLS, connections, servers that do not answer."""

import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from orchestrator.code.archive import pack
from orchestrator.errors import DatabaseBusyError, DatabaseError, DatabaseVersionError, UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewPolicy
from orchestrator.queue.workers import DeviceReading
from orchestrator.status.reading import read_status
from orchestrator.store import OpenMode, Store, open_store, parse_location
from orchestrator.store.changing.deletion import _remove
from orchestrator.store.changing.sweeps import insert_members, insert_policy
from orchestrator.store.opening import postgresql
from orchestrator.store.opening.engine import BUSY_TIMEOUT_SECONDS
from orchestrator.store.tables import code, runs, sync_marks
from orchestrator.store.working.endings import lock_runs
from tests.command_line import Hlbq, hlbq_in
from tests.faults.harness import Fleet, drained, new_sweep, read_ledger, wait_until
from tests.faults.worker_under_fault import Faults
from tests.migration.test_migrations import next_schema
from tests.postgresql_server import PostgresqlServer
from tests.stand_in_trainer import Plan
from tests.store_examples import ALL, claim, ending, point, progress, register, stored_points, submit
from tests.store_examples import new_sweep as stored_sweep

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"
psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")


@pytest.fixture
def url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    with postgresql_server.lend_database() as lent:
        yield lent


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(query)
        return answer.fetchall() if answer.description else []


@pytest.fixture
def beside(url: str) -> Iterator[Callable[[Callable[[], object]], "Future[object]"]]:
    """Begins a call that has to wait for what the test's transaction holds."""
    with ThreadPoolExecutor(1) as pool:

        def begin(call: Callable[[], object]) -> "Future[object]":
            begun = pool.submit(call)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            wait_until(lambda: len(ask(url, waiting)) == 1, seconds=60, what="it waits")
            return begun

        yield begin


def finished(store: Store) -> int:
    """A completed run of a new sweep of two; its number."""
    submit(store, seeds=2)
    lease = claim(store, register(store)).lease
    return store.finish(lease, ending(Reason.FINISHED), points=[point(1)]).id


@pytest.mark.parametrize("wrong_by", [-600.0, 600.0])
def test_a_worker_whose_clock_is_wrong_is_judged_by_the_server_s(
    url: str, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    """Workers ten minutes behind were called silent; one that died on a host ten minutes ahead was not."""
    true_time = time.time
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(time, "time", lambda: true_time() + wrong_by)
        with open_store(url, mode=OpenMode.CREATE) as store:
            beating, dead = register(store), register(store)
            ask(url, f"UPDATE workers SET beat_at = beat_at - 100 WHERE id = {dead}")
            store.beat(beating)
    with open_store(url, mode=OpenMode.READ) as store:
        first, second = read_status(store, RunFilter(), now=time.time()).workers
    assert (first.silent, second.silent) == (False, True)
    assert first.beat_age_seconds < 60 < second.beat_age_seconds < 160


def test_code_that_another_worker_keeps_at_the_same_moment_is_kept_once(url: str, beside: Any) -> None:
    """Workers of one array begin together, all by code that the database does not know yet: one of them ended so."""
    record = pack("aaaa000000000000", {"settings.py": b"DEPTH = 8"}, git_commit="")
    with open_store(url, mode=OpenMode.CREATE) as first, open_store(url, mode=OpenMode.WRITE) as second:
        with first._write() as connection:
            connection.execute(insert(code).values(**vars(record)))
            other = beside(lambda: second.keep_code(record))
        assert other.result(60) is None and [one.digest for one in first.codes()] == [record.digest]


def test_of_two_policies_declared_at_the_same_moment_one_is_refused(url: str, beside: Any) -> None:
    new = NewPolicy(kind="decide", definition={})
    with open_store(url, mode=OpenMode.CREATE) as first, open_store(url, mode=OpenMode.WRITE) as second:
        sweep = submit(first).id
        with first._write() as connection:
            insert_policy(connection, sweep, new, 0.0)
            other = beside(lambda: second.declare(sweep, new))
        with pytest.raises(UsageError, match="has a policy already"):
            other.result(60)
        assert len(first.policies([sweep])) == 1


def test_a_run_that_is_deleted_just_now_is_taken_by_no_other_sweep(url: str, beside: Any) -> None:
    """`submit --skip_existing` ended in a broken reference."""
    with open_store(url, mode=OpenMode.CREATE) as first, open_store(url, mode=OpenMode.WRITE) as second:
        run = finished(first)
        with first._write() as connection:
            [locked] = lock_runs(connection, runs.c.id == run, to_delete=True)
            other = beside(lambda: second.submit(stored_sweep(members=[run])))
            _remove(connection, runs, runs.c.id == locked)
        with pytest.raises(UsageError, match="was deleted meanwhile"):
            other.result(60)
        assert first.run(run) is None and len(first.sweeps()) == 1


def test_a_run_that_another_sweep_takes_just_now_is_not_deleted(url: str, beside: Any) -> None:
    """`hlbq delete` had looked before, saw nobody who counts the run, and ended in a broken reference."""
    with open_store(url, mode=OpenMode.CREATE) as first, open_store(url, mode=OpenMode.WRITE) as second:
        run, taker = finished(first), submit(first).id
        with first._write() as connection:
            insert_members(connection, taker, [run])
            other = beside(lambda: second.delete([run], "ada"))
        with pytest.raises(UsageError, match="is counted by sweep 2"):
            other.result(60)


def test_a_run_that_a_sync_takes_just_now_is_deleted_with_its_mark(url: str, beside: Any) -> None:
    with open_store(url, mode=OpenMode.CREATE) as first, open_store(url, mode=OpenMode.WRITE) as second:
        found = first.run(finished(first))
        assert found is not None
        with first._write() as connection:
            there = select(runs.c.id).where(runs.c.uid == found.uid).with_for_update(read=True, key_share=True)
            connection.execute(there)
            connection.execute(insert(sync_marks).values(run_uid=found.uid))
            other = beside(lambda: second.delete([found.id], "ada"))
        other.result(60)
        assert first.run(found.id) is None and first.sync_mark(found.uid) is None


# Locks of workers that were stopped, or cut off, inside a transaction.


def test_points_that_a_stopped_worker_never_committed_do_not_hold_its_run_for_good(url: str) -> None:
    with (
        open_store(url, mode=OpenMode.CREATE, busy_timeout_seconds=0.5) as stopped,
        open_store(url, mode=OpenMode.WRITE) as judge,
    ):
        submit(stopped)
        worker = register(stopped)
        lease = claim(stopped, worker).lease
        with contextlib.suppress(DatabaseBusyError), stopped._write() as connection:
            from orchestrator.store.working.held_run import _check_fence, _write_progress

            _check_fence(connection, lease)
            _write_progress(connection, lease, [point(step) for step in range(1, 20)], progress(19), None)
            # Here it is stopped. Those that would take its run away must not be held up for their own patience.
            began = time.monotonic()
            with pytest.raises(DatabaseBusyError):
                judge.reap(worker, seen_beat=0, why="a test")
            assert time.monotonic() - began < BUSY_TIMEOUT_SECONDS / 2

            def given_away() -> bool:
                with contextlib.suppress(DatabaseBusyError):
                    return bool(judge.reap(worker, seen_beat=0, why="a test"))
                return False

            wait_until(given_away, seconds=120, what="the server ends the stopped worker's transaction")
            connection.exec_driver_sql("SELECT 1")
        run = judge.run(lease.run_id)
        assert run is not None and (run.state, run.reason) == (State.PENDING, Reason.LOST)
        assert stored_points(judge, ALL) == []


def test_a_dead_judges_transaction_does_not_keep_a_worker_from_beating_for_good(url: str) -> None:
    with (
        open_store(url, mode=OpenMode.CREATE, busy_timeout_seconds=0.5) as stopped,
        open_store(url, mode=OpenMode.WRITE, busy_timeout_seconds=0.5) as other,
    ):
        worker = register(other)
        with contextlib.suppress(DatabaseBusyError), stopped._write() as connection:
            connection.exec_driver_sql("UPDATE workers SET ended_why = 'half' WHERE id = %s", (worker,))
            with pytest.raises(DatabaseBusyError):
                other.beat(worker)

            def beats() -> bool:
                with contextlib.suppress(DatabaseBusyError):
                    return other.beat(worker) > 0
                return False

            wait_until(beats, seconds=120, what="the beat gets through")
            connection.exec_driver_sql("SELECT 1")


# Roles: the page's own SQL, each role doing what it is for and nothing else.


@pytest.fixture
def roles(url: str) -> Iterator[dict[str, str]]:
    """The address of a database with its tables, by role."""
    administrator, owner = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = re.findall(r"CREATE ROLE (\w+)", administrator)
    found = {name: url.replace("hlbq@", f"{name}@") for name in names}
    ask(url, administrator)
    try:
        with open_store(found["hlbq_owner"], mode=OpenMode.CREATE):
            pass
        ask(found["hlbq_owner"], owner)
        yield found
    finally:
        for name in names:
            ask(url, f"DROP OWNED BY {name} CASCADE")
            ask(url, f"DROP ROLE {name}")


def test_each_role_does_what_it_is_for(
    roles: dict[str, str], hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    user, reader = roles["hlbq_user"], roles["hlbq_reader"]
    small = "--dataset pystdlib --tokenizer bytes --depth 1 2 --width 64 --max_steps 10 --yes"
    assert hlbq(f"submit --db {user} {small} --num_runs 2 -w --notify 'cat >> told'").code == 0
    with Fleet(db=roles["hlbq_worker"], folder=tmp_path, workers=0, plan=Plan(steps=10)) as fleet:
        assert fleet.start_one(watch=False).wait(timeout=120) == 0, fleet.log()
    assert "denied" not in fleet.log() and "Traceback" not in fleet.log()
    grown = hlbq(f"submit --db {user} {small} --num_runs 1 --decide --max_seeds 4 --first_look 2 --yes")
    assert grown.code == 0, grown.err
    with Fleet(db=roles["hlbq_worker"], folder=tmp_path, workers=0, plan=Plan(steps=10)) as fleet:
        assert fleet.start_one(watch=False).wait(timeout=120) == 0, fleet.log()
    assert "denied" not in fleet.log() and "Traceback" not in fleet.log()
    with open_store(reader, mode=OpenMode.READ) as store:
        wait_until(lambda: not store.undelivered(), seconds=120, what="the end of the sweep is told")
        assert store.counts(RunFilter(sweep_ids=(1,)))[State.COMPLETED] == 4
    with open_store(roles["hlbq_worker"], mode=OpenMode.WRITE) as store:  # as a worker on a GPU does
        worker = register(store)
        for _ in range(4):
            store.beat(worker, DeviceReading(use_percent=98.0))
        assert len(store.device_samples()) == 2
        store.end_worker(worker, "asked to stop")
    for line in ("status", "show 1", "export out.csv", "db info", "db check", "plot out.png", "status --json"):
        done = hlbq(f"{line} --db {reader}")
        assert done.code == 0, (line, done.err)
    seen = hlbq(f"compare --baseline depth=1 --db {reader}")
    assert seen.code == 0 and "permission denied" in seen.err, "a look that could not be written down is said"
    for line in ("cancel --run 1", "pause --all --yes", f"submit {small}"):
        refused = hlbq(f"{line} --db {reader}")
        assert refused.code == 2 and "Traceback" not in refused.err, (line, refused)
        assert "read-only" in refused.err or "permission denied" in refused.err, (line, refused.err)
    for line in (
        "compare --baseline depth=1",
        "extend 1 --num_runs 3",
        "priority 5 --all --yes",
        "pause --all --yes",
        "unpause --all --yes",
        "cancel --all --yes",
        "retry --all --yes",
        "rename 1 widths",
        "note 1 tried",
        "tag 1 +small",
        "decide 2",
        f"submit {small} --skip_existing",
    ):
        done = hlbq(f"{line} --db {user}")
        assert done.code in (0, 1) and "denied" not in done.err, (line, done.err)


def test_no_role_does_more(roles: dict[str, str]) -> None:
    for role, statement in [
        ("hlbq_reader", "UPDATE runs SET priority = 1"),
        ("hlbq_reader", "INSERT INTO events (at, actor, action) VALUES (0, 'x', 'look')"),
        ("hlbq_worker", "INSERT INTO sweeps (id) VALUES (99)"),
        ("hlbq_worker", "DELETE FROM runs"),
        ("hlbq_worker", "DELETE FROM events"),
        ("hlbq_worker", "ALTER TABLE runs ADD COLUMN x int"),
        ("hlbq_worker", "UPDATE alembic_version SET version_num = 'x'"),
        ("hlbq_user", "DELETE FROM runs"),
        ("hlbq_user", "UPDATE points SET loss = 0"),
        ("hlbq_user", "UPDATE events SET why = ''"),
        ("hlbq_user", "CREATE TABLE x (y int)"),
    ]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(roles[role], statement)
            pytest.fail(f"{role} may {statement}")


# TLS: a certificate made here.


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate and its key, for 127.0.0.1."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hlbq-test"
    target = folder / f"{name}.crt"
    command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {folder / name}.key -out {target}"
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def certificate(postgresql_server: PostgresqlServer, tmp_path: Path) -> Iterator[Path]:
    """The server speaks TLS for one test."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = make_certificate(tmp_path, "server")
    data = postgresql_server.folder / "data"
    owner = data.stat()
    for kind in ("crt", "key"):
        target = data / f"server.{kind}"
        target.write_bytes((tmp_path / f"server.{kind}").read_bytes())
        target.chmod(0o600)
        shutil.chown(target, owner.st_uid, owner.st_gid)
    postgresql_server.configure("ssl", "on")
    yield made
    postgresql_server.configure("ssl", "off")


def test_tls_by_url(certificate: Path, url: str, tmp_path: Path, hlbq: Hlbq) -> None:
    trusted = f"{url}?sslmode=verify-full&sslrootcert={certificate}"
    with open_store(trusted, mode=OpenMode.CREATE) as store:
        submit(store)
        with store._read() as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.exec_driver_sql(query).scalar_one() is True
    assert hlbq(f"status --db '{trusted}'").code == 0
    wrong_ca = f"{url}?sslmode=verify-full&sslrootcert={make_certificate(tmp_path, 'other')}"
    wrong_name = trusted.replace("@127.0.0.1", "@localhost")
    missing = f"{url}?sslmode=verify-full&sslrootcert={tmp_path}/nothing.crt"
    for wrong in (wrong_ca, wrong_name, missing):
        done = hlbq(f"status --db '{wrong}'")
        assert done.code == 2 and "no trusted connection to" in done.err, done.err
        assert "Traceback" not in done.err and len(done.err.splitlines()) == 2, done.err


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(url: str, hlbq: Hlbq) -> None:
    done = hlbq(f"status --db '{url}?sslmode=require'")
    assert done.code == 2 and "no trusted connection to" in done.err and len(done.err.splitlines()) == 2


# Connections.


def test_a_worker_keeps_one_connection_and_readers_leave_none(url: str, tmp_path: Path, hlbq: Hlbq) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hlbq' AND datname = current_database()"
    with open_store(url, mode=OpenMode.CREATE) as store:
        store.submit(new_sweep(6))
    plan = Plan(steps=20, step_seconds=0.02)
    with Fleet(db=url, folder=tmp_path, workers=3, plan=plan, faults=Faults()) as fleet:
        fleet.keep_up()

        def done() -> bool:
            # The server may need a moment to notice that a connection was closed.
            wait_until(lambda: ask(url, count)[0][0] <= 6, seconds=120, what="one each, and one more for the table")
            with psycopg.connect(url) as connection:
                left = connection.execute("SELECT count(*) FROM runs WHERE state <> 'completed'").fetchone()
            return left == (0,)

        wait_until(done, seconds=120, what="every run ends")
        wait_until(lambda: ask(url, count) == [(3,)], seconds=120, what="one connection a worker is left")
    for line in ("status", "status --json", "show 1", "db info", "export out.csv"):
        assert hlbq(f"{line} --db {url}").code == 0
        wait_until(lambda: ask(url, count) == [(0,)], seconds=120, what=f"no connection of '{line}' is left")
    assert read_ledger(url, plan).clean


# Servers that do not answer, and secrets.


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("line", ["status", "submit --depth 2 --width 64 --yes", "db copy hlbq.db"])
def test_a_server_that_says_nothing_is_given_up_without_its_password(
    silent_port: int, line: str, hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert postgresql.CONNECT_TIMEOUT_SECONDS <= 9, "with the start of the program no more than 10 s"
    monkeypatch.setattr(postgresql, "CONNECT_TIMEOUT_SECONDS", 2)
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE):
        pass
    where = f"postgresql://ada:pa55word@127.0.0.1:{silent_port}/x"
    done = hlbq(f"{line} {where}" if line.startswith("db copy") else f"{line} --db {where}")
    assert done.code == 2 and "cannot be reached" in done.err and f"127.0.0.1:{silent_port}" in done.err
    assert "pa55word" not in done.out + done.err and "Traceback" not in done.err


def test_a_closed_port_is_said_at_once(hlbq: Hlbq) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = hlbq(f"status --db postgresql://ada:pa55word@127.0.0.1:{port}/x")
    assert done.code == 2 and "cannot be reached" in done.err and "pa55word" not in done.err
    assert done.err.count("Is the server running") == 1, "libpq asks it too"


def test_a_password_in_a_url_goes_nowhere(url: str, tmp_path: Path, hlbq: Hlbq) -> None:
    secret = url.replace("hlbq@", "hlbq:pa55word@")  # the server trusts everybody
    settings = "--dataset pystdlib --tokenizer bytes --depth 1 --width 64 --max_steps 100000"
    command = [sys.executable, "-m", "orchestrator.cli.main", "run", "--db", secret, "--state_dir", "state", "--device"]
    with subprocess.Popen(
        [*command, "cpu", "--yes", *settings.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        lines: set[str] = set()

        def trains() -> bool:
            # A child that is about to become another program still has the command line that was typed here.
            lines.update(
                line for line in command_lines_of_children(running.pid) if "orchestrator.cli.main run" not in line
            )
            ready = any("worker.trainer" in line for line in lines)
            return (ready and has_running_run(url)) or running.poll() is not None

        wait_until(trains, seconds=120, what="a worker and its trainer run")
        running.terminate()  # once gives the run back, twice at once
        wait_until(lambda: running.poll() is not None or running.terminate() is not None, seconds=120, what="it ends")
        assert running.stdout is not None
        said = running.stdout.read()
    assert any("-m worker " in line for line in lines) and "pa55word" not in "".join(lines)
    assert "pa55word" not in said
    for line in ("status", "status --json", "show 1", "logs 1 --state_dir state", "db info", "doctor"):
        done = hlbq(f"{line} --db {secret}")
        assert "pa55word" not in done.out + done.err, line
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"pa55word" not in path.read_bytes(), path
    with open_store(url, mode=OpenMode.READ) as store, store._read() as connection:
        for table in ("sweeps", "events", "workers", "attempts"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert rows and "pa55word" not in repr(rows), table


def has_running_run(url: str) -> bool:
    """Whether a run is at work; not before somebody made the tables."""
    try:
        with open_store(url, mode=OpenMode.READ) as store:
            return bool(store.running(RunFilter()))
    except DatabaseError:
        return False


def command_lines_of_children(pid: int) -> list[str]:
    """The command lines of all that a process started, and of what these started."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode())
            found += command_lines_of_children(int(child))
    return found


# Schemas and program versions.


def test_nothing_but_the_upgrade_touches_an_older_schema(url: str, hlbq: Hlbq, tmp_path: Path) -> None:
    from orchestrator.store.opening.schema import Schema
    from tests.migration.test_migrations import MIGRATIONS

    with open_store(url, mode=OpenMode.CREATE, schema=Schema(head="0001", scripts=MIGRATIONS)):
        pass
    for mode in (OpenMode.READ, OpenMode.WRITE, OpenMode.CREATE, OpenMode.FILL):
        with pytest.raises(DatabaseVersionError, match="schema 0001, older") as refused:
            open_store(url, mode=mode)
        assert f"hlbq db upgrade --db {url}" in refused.value.hint
    worker = hlbq_worker(url, tmp_path)
    assert worker.returncode == 2 and "hlbq db upgrade" in worker.stderr and "Traceback" not in worker.stderr
    assert hlbq(f"db upgrade --db {url}").code == 0
    assert hlbq(f"status --db {url}").code == 0
    ask(url, "UPDATE alembic_version SET version_num = '0999'")
    worker = hlbq_worker(url, tmp_path)
    assert worker.returncode == 2 and "newer" in worker.stderr and "Update hlbq" in worker.stderr


def hlbq_worker(url: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "worker", "--db", url, "--state_dir", str(folder / "state"), "--device", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_worker_whose_database_is_upgraded_meanwhile_gives_its_run_back_and_ends(
    location: str, tmp_path: Path
) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        store.submit(new_sweep(1))
        plan = Plan(steps=1000, step_seconds=0.02, checkpoint_every=10)
        with Fleet(db=location, folder=tmp_path, workers=0, plan=plan) as fleet:
            worker = fleet.start_one()
            idle = fleet.start_one()

            def has_a_checkpoint() -> bool:
                run = store.run(1)
                return run is not None and run.checkpoint is not None

            wait_until(has_a_checkpoint, seconds=120, what="the run trains")
            with open_store(location, mode=OpenMode.UPGRADE, schema=next_schema(tmp_path / "scripts")):
                pass
            assert (worker.wait(timeout=120), idle.wait(timeout=120)) == (2, 2)
        assert fleet.log().count("but this program has") >= 2 and "Update hlbq here" in fleet.log()
        assert "Traceback" not in fleet.log()
        [run] = store.runs(RunFilter())
        assert (run.state, run.reason, run.spent.losses) == (State.PENDING, Reason.RELEASED, 0)
        assert run.checkpoint is not None and run.checkpoint.step == run.step
        assert not drained(store)


def test_another_programs_tables_are_left_as_they_are(url: str) -> None:
    ask(url, "CREATE TABLE events (id int)")
    with pytest.raises(DatabaseError, match="'events'"):
        open_store(url, mode=OpenMode.CREATE)
    assert ask(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]


# What a mistyped URL and a server's refusal say.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("sslmod=require", r"unknown option 'sslmod'\nDid you mean 'sslmode'\?"),
        ("autocommit=1", "unknown option 'autocommit'"),
        ("sslmode=require&sslmode=disable", "'sslmode' occurs 2 times"),
        ("connect_timeout=abc", "connect_timeout"),
        ("sslmode=foo", "invalid sslmode"),
        ("keepalives=abc", "keepalives"),
        ("target_session_attrs=foo", "target_session_attrs"),
        ("service=foo", "foo"),
    ],
)
def test_an_option_of_no_use_is_named(url: str, options: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=says) as refused:
        open_store(f"{url}?{options}", mode=OpenMode.READ)
    assert "server running" not in str(refused.value)


def test_a_servers_refusal_has_its_reason_and_a_way_out(url: str) -> None:
    name = url.rpartition("/")[2]
    ask(url, f"CREATE ROLE many_{name} LOGIN CONNECTION LIMIT 0")
    place = url.partition("@")[2]
    try:
        with pytest.raises(DatabaseBusyError, match=r"too many connections(.|\n)*raise that limit"):
            open_store(f"postgresql://many_{name}@{place}", mode=OpenMode.READ)
        with pytest.raises(DatabaseError, match=r"does not exist(.|\n)*createuser"):
            open_store(f"postgresql://nobody@{place}", mode=OpenMode.READ)
        with pytest.raises(DatabaseError, match=r"does not exist(.|\n)*createdb"):
            open_store(f"{url}x", mode=OpenMode.READ)
    finally:
        ask(url, f"DROP ROLE many_{name}")


def test_a_schema_that_is_not_there_is_a_refusal_and_one_that_is_holds_the_tables(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"no schema has been selected(.|\n)*CREATE SCHEMA"):
        open_store(f"{url}?options=-csearch_path%3Dlab", mode=OpenMode.CREATE)
    ask(url, "CREATE SCHEMA lab")
    with open_store(f"{url}?options=-csearch_path%3Dlab", mode=OpenMode.CREATE) as store:
        submit(store)
        assert store.matching(ALL) == 1
    ask(url, "DROP SCHEMA lab CASCADE")


def test_the_backup_of_a_server_is_a_command_for_a_shell(url: str, tmp_path: Path) -> None:
    with open_store(f"{url}?connect_timeout=9&keepalives=1", mode=OpenMode.CREATE) as store:
        with pytest.raises(DatabaseError) as refused:
            store.backup(tmp_path / "two words.dump")
        words = ["pg_dump", "--format=custom", f"--file={tmp_path}/two words.dump", store.location.display]
    assert shlex.split(refused.value.hint) == words, "an & that is not quoted would end the command"


@pytest.mark.parametrize(
    "words",
    [
        "the database system is not yet accepting connections",
        "the database system is starting up",
        "the database system is in recovery mode",
        "terminating connection due to administrator command",
    ],
)
def test_a_server_that_is_not_ready_yet_is_waited_for(words: str) -> None:
    error = psycopg.OperationalError(f'connection failed: connection to server at "127.0.0.1" failed: FATAL:  {words}')
    found = postgresql.plain_postgresql_error(error, parse_location("postgresql://db/q"), dropped=False)
    assert isinstance(found, DatabaseBusyError) and words in found.message


def test_a_table_of_another_program_with_a_name_of_ours_is_left_alone(url: str) -> None:
    ask(url, "CREATE TABLE notices (words TEXT)")
    with pytest.raises(DatabaseError, match=r"another program's database .it holds the table 'notices'"):
        open_store(url, mode=OpenMode.CREATE)


def test_another_programs_revisions_are_not_ours(url: str) -> None:
    ask(url, "CREATE TABLE alembic_version (version_num TEXT)")
    for revisions in ("('0004')", "('0004'), ('0003')", "('8b1c2d3e4f50')"):
        ask(url, f"DELETE FROM alembic_version; INSERT INTO alembic_version VALUES {revisions}")
        for mode in OpenMode:
            with pytest.raises(DatabaseError, match="another program's database"):
                open_store(url, mode=mode)
