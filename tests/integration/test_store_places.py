"""Where a database may be, and what is said where it can't be opened, read or written."""

import os
import shlex
import sqlite3
import stat
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import event

from orchestrator.errors import (
    DatabaseBusyError,
    DatabaseCorruptError,
    DatabaseError,
    DatabaseMissingError,
    DatabaseVersionError,
)
from orchestrator.files.state_folder import state_folder
from orchestrator.store import OpenMode, Store, has_wal_fault, open_store, parse_location
from orchestrator.store.opening.engine import sqlite_module
from orchestrator.store.opening.schema import CURRENT
from orchestrator.store.opening.sqlite_file import network_file_system
from tests.postgresql_server import PostgresqlServer
from tests.store_examples import ALL, claim, point, register, stored_points, submit
from tests.store_processes import open_at_once, run_at_once


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database is not yet."""
    return tmp_path / "hlbq.db"


def make(path: Path) -> None:
    """A database with one run at `path`."""
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit(store)


def test_without_a_name_it_is_the_variable_and_then_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HLBQ_DB", raising=False)
    assert parse_location(None).path == tmp_path / "hlbq.db"
    monkeypatch.setenv("HLBQ_DB", "other.db")
    assert parse_location(None).path == tmp_path / "other.db"
    assert parse_location("a?b#c %41.db").path == tmp_path / "a?b#c %41.db"
    assert parse_location(f"sqlite:///{tmp_path}/x.db").path == tmp_path / "x.db"


def test_odd_file_names_work(tmp_path: Path) -> None:
    path = tmp_path / "a?mode=ro&b#c %41 é.db"
    make(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with open_store(str(path), mode=OpenMode.READ) as store:
        assert store.matching(ALL) == 1


@pytest.mark.parametrize("text", ["mysql://host/name", "http://host/x.db", "sqlite://", "sqlite:///"])
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(DatabaseError):
        parse_location(text)


def test_files_are_for_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with open_store(str(path), mode=OpenMode.CREATE) as store:
            submit(store)
            store.backup(path.with_name("copy.db"))
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["hlbq.db", "hlbq.db-wal", "hlbq.db-shm", "copy.db"], 0o600)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["copy.db", "hlbq.db"]


@pytest.mark.parametrize("mode", [OpenMode.READ, OpenMode.WRITE])
def test_who_may_not_make_one_says_how_it_is_made(path: Path, mode: OpenMode) -> None:
    with pytest.raises(DatabaseMissingError, match=r"hlbq\.db.*\n.*hlbq submit"):
        open_store(str(path), mode=mode)
    path.touch()
    with pytest.raises(DatabaseMissingError):
        open_store(str(path), mode=mode)
    assert path.stat().st_size == 0 and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("mode", OpenMode)
def test_a_folder_or_a_missing_one_is_named(tmp_path: Path, mode: OpenMode) -> None:
    with pytest.raises(DatabaseError, match="is a folder"):
        open_store(str(tmp_path), mode=mode)
    with pytest.raises(DatabaseError, match=r"nowhere.*\n.*mkdir"):
        open_store(str(tmp_path / "nowhere" / "hlbq.db"), mode=mode)
    assert list(tmp_path.iterdir()) == []


def test_commands_in_hints_hold_for_names_with_spaces_and_dashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "two words"
    with pytest.raises(DatabaseError) as refused:
        open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE)
    assert shlex.split(refused.value.hint) == ["mkdir", "-p", str(folder)]
    folder.mkdir()
    with pytest.raises(DatabaseError) as refused:
        open_store(str(folder), mode=OpenMode.CREATE)
    assert shlex.split(refused.value.hint)[-2:] == ["--db", str(folder / "hlbq.db")]
    make(folder / "full.db")
    (folder / "full.db").chmod(0o400)
    with pytest.raises(DatabaseError) as refused:
        open_store(str(folder / "full.db"), mode=OpenMode.WRITE)
    assert refused.value.hint.startswith(f"chmod u+w '{folder}/full.db',")
    folder.chmod(0o500)
    with pytest.raises(DatabaseError) as refused:
        open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE)
    assert refused.value.hint.startswith(f"chmod u+w '{folder}',")
    assert parse_location("-x y.db").option == " --db='-x y.db'", "--db -x would be read as an option"


@pytest.mark.parametrize("mode", OpenMode)
@pytest.mark.parametrize("content", [b"step,loss\n1,2\n" * 100, b"x", b"\x00" * 5000])
def test_what_is_no_database_is_left_as_it_was(path: Path, mode: OpenMode, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DatabaseCorruptError, match="not a database"):
        open_store(str(path), mode=mode)
    assert path.read_bytes() == content and len(list(path.parent.iterdir())) == 1


OTHERS = {
    "a table": ("CREATE TABLE notes (words)",),
    "a table, and a log": ("PRAGMA journal_mode=WAL", "CREATE TABLE notes (words)"),
    "names of ours": ("CREATE TABLE runs (id)", "CREATE TABLE sweeps (id)"),
    "two heads": (
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0004'), ('0003')",
    ),
    "our revision": ("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('0004')"),
    "its own revision": (
        "CREATE TABLE notes (words)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('8b1c2d3e4f50')",
    ),
}


@pytest.mark.parametrize("mode", OpenMode)
@pytest.mark.parametrize("made_by", OTHERS.values(), ids=OTHERS)
def test_another_programs_database_is_left_as_it_was(path: Path, mode: OpenMode, made_by: tuple[str, ...]) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    for statement in made_by:
        other.execute(statement)
    other.close()
    content = path.read_bytes()
    with pytest.raises(DatabaseError, match=r"another program's database(.|\n)*left as it was"):
        open_store(str(path), mode=mode)
    assert path.read_bytes() == content and [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("mode", OpenMode)
def test_what_is_no_file_is_refused_at_once(path: Path, mode: OpenMode) -> None:
    pipe, ring = path.with_name("pipe"), path.with_name("ring")
    os.mkfifo(pipe)
    ring.symlink_to(ring)
    for name in (str(pipe), str(ring), "/dev/null", "/dev/zero", "x" * 300, "~nobody-of-that-name/hlbq.db"):
        with pytest.raises(DatabaseError, match=r"--db"):
            open_store(name, mode=mode)


@pytest.mark.parametrize("text", ["host=db password=pa55word", " dbname=q", "user=me password = pa55word"])
def test_a_connection_string_is_refused_and_not_repeated(text: str, path: Path) -> None:
    with pytest.raises(DatabaseError, match="postgresql://USER@HOST") as refused:
        open_store(text, mode=OpenMode.CREATE)
    assert "pa55word" not in str(refused.value) and list(path.parent.iterdir()) == []


def test_a_copied_place_is_as_safe_as_the_one_given() -> None:
    shown = parse_location("postgresql://me:pa55word@db/q?sslmode=verify-full&sslrootcert=/ca.pem&password=b").display
    assert shown == "postgresql://me@db/q?sslmode=verify-full&sslrootcert=%2Fca.pem"


def test_a_link_and_its_file_are_one_database(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "here" / "hlbq.db", tmp_path / "there" / "hlbq.db"
    link.symlink_to(file)
    with open_store(str(link), mode=OpenMode.CREATE) as store:  # made where the link points
        submit(store)
        assert file.is_file() and store.location.path == file
        assert state_folder(store.location.names) == file.with_name("hlbq.db.state")
    assert parse_location(str(link)).public == parse_location(str(file)).public
    # A folder that an earlier version made beside the link stays in use.
    link.with_name("hlbq.db.state").mkdir()
    assert state_folder(parse_location(str(link)).names) == link.with_name("hlbq.db.state")
    file.with_name("hlbq.db.state").mkdir()
    assert state_folder(parse_location(str(link)).names) == file.with_name("hlbq.db.state")


@pytest.mark.parametrize("mode", [OpenMode.CREATE, OpenMode.WRITE])
def test_a_read_only_file_is_refused_to_writers_by_its_mode_bits(path: Path, mode: OpenMode) -> None:
    make(path)
    path.chmod(0o400)
    with pytest.raises(DatabaseError, match="read-only"):
        open_store(str(path), mode=mode)
    with open_store(str(path), mode=OpenMode.READ) as store:
        assert store.matching(ALL) == 1


def test_readers_write_nothing_and_leave_nothing_behind(path: Path) -> None:
    make(path)
    before = path.read_bytes()
    with open_store(str(path), mode=OpenMode.READ) as store:
        assert store.matching(ALL) == 1
        with pytest.raises(DatabaseError):
            submit(store)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_database_is_reported_and_left_as_it_was(path: Path, damage: str) -> None:
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit(store, seeds=2000)
    whole = path.read_bytes()
    broken = whole[: len(whole) // 2 + 100] if damage == "truncated" else whole[:4096] + b"\xa5" * 8192 + whole[12288:]
    path.write_bytes(broken)
    with pytest.raises(DatabaseCorruptError, match="damaged"), open_store(str(path), mode=OpenMode.READ) as store:
        list(store.runs(ALL))
        store.counts(ALL)
    assert path.read_bytes() == broken


@pytest.mark.parametrize("mode", OpenMode)
@pytest.mark.parametrize("revision", ["0999", "abc"])
def test_a_newer_database_is_refused_and_left_as_it_was(path: Path, mode: OpenMode, revision: str) -> None:
    make(path)
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseVersionError, match=f"schema {revision}, newer"):
        open_store(str(path), mode=mode)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /home rw - nfs4 server:/home rw
41 40 8:2 / /home/ada/local rw - xfs /dev/sdb rw
42 22 0:41 / /mnt/a\\040b rw - fuse.sshfs host: rw
43 22 0:42 / /scratch rw - lustre x rw
44 22 0:43 / /scratch rw - tmpfs x rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/var/x.db", ""),
        ("/home/ada/x.db", "nfs4"),
        ("/home/ada/local/x.db", ""),
        ("/mnt/a b/x.db", "fuse.sshfs"),
        ("/homes/x.db", ""),
        ("/scratch/x.db", ""),
    ],
)
def test_network_file_systems_are_told_by_the_mount_that_holds_the_file(place: str, kind: str) -> None:
    assert network_file_system(Path(place), MOUNTS) == kind


def test_links_and_folders_above_do_not_hide_a_network_file_system(tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")
    (tmp_path / "file.db").symlink_to("link/hlbq.db")
    mounts = f"{MOUNTS}50 22 0:50 / {tmp_path}/far rw - nfs4 server:/far rw\n"
    for place in ("far/x.db", "far/deep/x.db", "link/x.db", "file.db", "far/../link/x.db"):
        assert network_file_system(tmp_path / place, mounts) == "nfs4", place
    assert network_file_system(tmp_path / "far" / ".." / "x.db", mounts) == ""


def test_a_network_file_system_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.opening.sqlite_file.network_file_system", lambda _: "cifs")
    with pytest.raises(DatabaseError, match=r"\(cifs\)"):
        open_store(str(path), mode=OpenMode.CREATE)


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 40, 1), True),
        ((3, 44, 6), False),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_versions_of_sqlite_with_the_wal_fault(version: tuple[int, int, int], faulty: bool) -> None:
    assert has_wal_fault(version) is faulty


def test_the_sqlite_in_use_is_sound(path: Path) -> None:
    make(path)
    with open_store(str(path), mode=OpenMode.READ) as store:
        version = store.info().engine_version
    assert not has_wal_fault([int(part) for part in version.split(".")])


def test_every_connection_has_the_pragmas_of_the_design(path: Path) -> None:
    with open_store(str(path), mode=OpenMode.CREATE) as store, store._read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 20_000}


def test_a_locked_database_is_busy_and_usable_afterwards(path: Path) -> None:
    make(path)
    # With the same library: two of them in one process would not see each other's locks.
    other = sqlite_module().connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with open_store(str(path), mode=OpenMode.WRITE, busy_timeout_seconds=0.05) as store:
        with pytest.raises(DatabaseBusyError, match="locked"):
            register(store)
        assert store.matching(ALL) == 1, "readers go on"
        other.execute("ROLLBACK")
        assert register(store) == 1
    other.close()


def test_a_log_that_a_stopped_process_holds_is_busy(path: Path) -> None:
    """SQLite tries for ten seconds, then calls it a locking protocol: workers ended with a traceback."""
    make(path)
    with open_store(str(path), mode=OpenMode.WRITE) as store:

        def refuse(*_: object) -> None:
            error = sqlite_module().OperationalError("locking protocol")
            error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
            raise error

        event.listen(store._engine, "before_cursor_execute", refuse)
        with pytest.raises(DatabaseBusyError, match="locked by another process"):
            store.sweeps()


def test_a_full_disk_is_busy_rolled_back_and_usable_afterwards(path: Path) -> None:
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit(store)
        lease = claim(store, register(store)).lease
        store.flush(lease, points=[point(0)])
        with store._read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(DatabaseBusyError, match="disk is full"):
            store.flush(lease, points=[point(step, extra={"x" * 500: 1.0}) for step in range(1, 200)])
        assert [one.point.step for one in stored_points(store, ALL)] == [0]
        assert store.integrity_check() == []
        with store._read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100000")
        store.flush(lease, points=[point(step) for step in range(1, 200)])
        assert len(stored_points(store, ALL)) == 200


def test_a_deleted_database_is_said_to_be_gone(path: Path) -> None:
    make(path)
    with open_store(str(path), mode=OpenMode.WRITE) as store:
        store.close()
        path.unlink()
        with pytest.raises(DatabaseMissingError, match="gone"):
            register(store)
    assert not path.exists()


def test_a_table_that_was_dropped_is_no_fault_of_the_program(store: Store) -> None:
    submit(store)

    def rename(one: str, other: str) -> None:
        with store._write() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {one} RENAME TO {other}")

    rename("points", "away")
    with pytest.raises(DatabaseMissingError, match=r"lacks a table of hlbq: .*points"):
        stored_points(store)
    rename("away", "points")  # the next test gets this database


def test_a_backup_is_whole_and_never_overwrites(path: Path) -> None:
    make(path)
    copy = path.with_name("copy.db")
    with open_store(str(path), mode=OpenMode.READ) as store:
        store.backup(copy)
        with pytest.raises(DatabaseError, match="exists already"):
            store.backup(copy)
    with open_store(str(copy), mode=OpenMode.WRITE) as store:
        assert store.matching(ALL) == 1 and store.integrity_check() == []


def test_a_store_serves_several_threads(store: Store) -> None:
    submit(store, seeds=40)
    workers = [register(store, number) for number in range(4)]
    taken: list[int] = []

    def work(worker: int) -> None:
        for _ in range(10):
            lease = claim(store, worker).lease
            taken.append(lease.run_id)
            store.cancel(type(ALL)(run_ids=(lease.run_id,)), "thread")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 41))


def test_sixteen_processes_make_the_tables_once(location: str, tmp_path: Path) -> None:
    assert run_at_once(16, open_at_once, location) == [CURRENT.head] * 16
    assert [entry.name for entry in tmp_path.iterdir()] in ([], ["hlbq.db"])


def test_postgresql_never_tells_the_password(postgresql_server: PostgresqlServer) -> None:
    url = postgresql_server.url("nothing_there").replace("hlbq@", "hlbq:pa55word@")
    for text in (url, f"{postgresql_server.url('nothing_there')}?password=pa55word"):
        with pytest.raises(DatabaseError) as caught:
            open_store(text, mode=OpenMode.CREATE)
        assert "nothing_there" in str(caught.value) and "pa55word" not in str(caught.value)
        assert "pa55word" not in repr(parse_location(text)) + parse_location(text).display
        assert caught.value.__suppress_context__


@pytest.mark.parametrize("password", ["pa@55word", "pa@ss/55word", "@55word", "a:b@c#55word?"])
def test_a_password_with_an_at_is_refused_before_a_part_of_it_is_taken_for_the_host(password: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        parse_location(f"postgresql://me:{password}@dbhost:5432/q?sslmode=require")
    assert "%40" in refused.value.hint and "55word" not in refused.value.message + refused.value.hint
    escaped = parse_location(f"postgresql://me:{quote(password, safe='')}@dbhost:5432/q")
    assert (escaped.url.password, escaped.url.host) == (password, "dbhost")
    assert parse_location("postgresql://me@dbhost/q?application_name=a@b").url.host == "dbhost"


@pytest.mark.parametrize("text", ["postgresql:/me:pa55word@dbhost/q", "Postgres:me:pa55word@dbhost/q"])
def test_a_url_that_lacks_a_slash_is_no_file_of_that_name(text: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        parse_location(text)
    assert "pa55word" not in str(refused.value) + refused.value.hint


def test_a_scheme_may_be_written_in_capitals() -> None:
    assert parse_location("POSTGRESQL://me:pa55word@dbhost/q").display == "postgresql://me@dbhost/q"


def test_statements_are_not_prepared_where_the_url_says_so(postgresql_server: PostgresqlServer) -> None:
    with postgresql_server.lend_database() as url, open_store(url, mode=OpenMode.CREATE) as store:
        for _ in range(12):  # psycopg prepares what was asked for more than five times
            list(store.workers())
        assert prepared(store) > 0
        with open_store(f"{url}?prepare_threshold=none", mode=OpenMode.WRITE) as pooled:
            for _ in range(12):
                list(pooled.workers())
            assert prepared(pooled) == 0


def prepared(store: Store) -> int:
    """How many statements the server holds prepared for the store's connection."""
    with store._read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one())


def test_a_threshold_that_is_none_is_refused() -> None:
    with pytest.raises(DatabaseError, match="prepare_threshold=soon"):
        open_store("postgresql://ada@127.0.0.1:1/x?prepare_threshold=soon", mode=OpenMode.WRITE)


def test_postgresql_that_is_not_there_is_busy() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(DatabaseBusyError, match="cannot be reached"):
        open_store("postgresql://ada:secret@127.0.0.1:1/x", mode=OpenMode.WRITE)


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"pip install 'hlbq\[postgresql\]'"):
        open_store("postgresql://ada@127.0.0.1/x", mode=OpenMode.READ)


def test_a_server_whose_disk_fails_is_busy(postgresql_server: PostgresqlServer) -> None:
    """As SQLite's file is. Workers ended with a traceback, and their runs counted as lost."""
    fails = "DO $$ BEGIN RAISE 'could not read block 1: Input/output error' USING ERRCODE = 'io_error'; END $$"
    with postgresql_server.lend_database() as url, open_store(url, mode=OpenMode.CREATE) as store:
        register(store)
        with pytest.raises(DatabaseBusyError, match="Input/output error"), store._write() as connection:
            connection.exec_driver_sql(fails)
        assert len(store.workers()) == 1


def test_a_dropped_postgresql_connection_is_busy_and_the_next_call_reconnects(
    postgresql_server: PostgresqlServer,
) -> None:
    import psycopg

    with postgresql_server.lend_database() as url, open_store(url, mode=OpenMode.CREATE) as store:
        submit(store)
        lease = claim(store, register(store)).lease
        with pytest.raises(DatabaseBusyError), store._write() as connection, psycopg.connect(url) as other:
            mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            other.execute("SELECT pg_terminate_backend(%s)", [mine])
            connection.exec_driver_sql("SELECT 1")
        store.flush(lease, points=[point(1)])
        assert len(stored_points(store, ALL)) == 1
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hlbq'")
        store.flush(lease, points=[point(2)])
        assert len(stored_points(store, ALL)) == 2
