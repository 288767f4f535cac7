"""Schemas: made at once or by migrations they are the same; old databases come up to date or stay as they were."""

import contextlib
import math
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect

from hlbgpt_core.points import Split
from orchestrator.comparison.design import design_of
from orchestrator.errors import DatabaseError, DatabaseVersionError
from orchestrator.growth.by_hand import stored_arms
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.opening.schema import CURRENT, Schema
from orchestrator.store.tables import metadata
from tests.store_examples import ALL, claim, ending, point, register, saved, stored_points, submit
from tests.store_processes import open_schema_at_once, run_at_once

HERE = Path(__file__).parent
MIGRATIONS = HERE.parents[1] / "migrations"
KEPT = sorted(HERE.glob("schema_*.sqlite"))

NEXT_REVISION = '''
"""A made-up next revision."""
import os, signal
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("runs", sa.Column("mood", sa.Text(), server_default="calm"))
    with op.batch_alter_table("sweeps") as sweeps:
        sweeps.add_column(sa.Column("colour", sa.Text()))
    {and_then}
'''


def next_schema(folder: Path, and_then: str = "pass") -> Schema:
    """This program's migrations and one more, which ends with the statement `and_then`."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    revision = f"{int(CURRENT.head) + 1:04}"
    text = NEXT_REVISION.format(revision=revision, before=CURRENT.head, and_then=and_then)
    (folder / "versions" / f"{revision}_next.py").write_text(text)
    return Schema(head=revision, scripts=folder)


@pytest.fixture(params=KEPT, ids=lambda path: str(path.stem))
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a populated database of each released schema."""
    (tmp_path / "data").mkdir()
    return Path(shutil.copy(request.param, tmp_path / "data" / "hlbq.db"))


def columns_of(path: Path) -> dict[str, list[str]]:
    """The columns of each table, but for what the made-up revision adds."""
    raw = sqlite3.connect(path)
    known = {table.name: {column.name for column in table.c} for table in metadata.sorted_tables}
    found = {
        name: [column for _, column, *_ in raw.execute(f"PRAGMA table_info({name})") if column in known[name]]
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name in known
    }
    raw.close()
    return found


def content(path: Path, columns: dict[str, list[str]] | None = None) -> dict[str, list[Any]]:
    """Every row of every table, in these columns (all that there are)."""
    raw = sqlite3.connect(path)
    rows = {
        name: list(raw.execute(f"SELECT {', '.join(wanted)} FROM {name}"))
        for name, wanted in (columns or columns_of(path)).items()
    }
    raw.close()
    return rows


def revision_of(path: Path) -> str:
    raw = sqlite3.connect(path)
    (found,) = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    raw.close()
    return str(found)


def shape(store: Store) -> dict[str, Any]:
    """All that the database says of its tables."""
    with store._read() as connection:
        seen = inspect(connection)
        tables = {
            name: {
                "columns": [{**column, "type": repr(column["type"])} for column in seen.get_columns(name)],
                "key": seen.get_pk_constraint(name),
                "foreign": sorted(map(repr, seen.get_foreign_keys(name))),
                "unique": sorted(map(repr, seen.get_unique_constraints(name))),
                "indexes": sorted(map(_index_words, seen.get_indexes(name))),
                "checks": sorted(map(repr, seen.get_check_constraints(name))),
            }
            for name in seen.get_table_names()
        }
        if store.location.dialect == "sqlite":
            statements = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").scalars()
            # Alembic and SQLAlchemy write unique constraints and checks in different order, so words are compared.
            tables["sql"] = sorted(sorted(re.findall(r"[\w.']+|[^\w\s,]", statement)) for statement in statements)
    return tables


def _index_words(index: Any) -> str:
    # A partial index's condition comes as an object whose repr is its address.
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return repr({**index, "dialect_options": options})


def test_there_is_a_database_of_every_schema_and_revisions_count_up() -> None:
    revisions = sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    assert revisions[-1] == CURRENT.head
    assert [path.stem for path in KEPT] == [f"schema_{revision}" for revision in revisions]


@pytest.fixture
def made_by_migrations(location: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty database on the same engine as `location`, made by the migrations alone."""
    schema = Schema(head=CURRENT.head, scripts=MIGRATIONS)
    with contextlib.ExitStack() as stack:
        other = str(tmp_path / "migrated.db")
        if location.startswith("postgresql"):
            other = stack.enter_context(request.getfixturevalue("postgresql_server").lend_database())
        yield stack.enter_context(open_store(other, mode=OpenMode.CREATE, schema=schema))


def test_migrations_and_tables_make_the_same(store: Store, made_by_migrations: Store) -> None:
    assert shape(made_by_migrations) == shape(store)
    assert "points" in shape(store) and len(shape(store)) >= 9


def test_migrations_leave_nothing_for_alembic_to_do(made_by_migrations: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with made_by_migrations._read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize("mode", [OpenMode.READ, OpenMode.WRITE])
def test_every_released_database_reads_as_it_was_written(old_database: Path, mode: OpenMode) -> None:
    if mode is OpenMode.READ and revision_of(old_database) != CURRENT.head:
        with pytest.raises(DatabaseVersionError) as refused:
            open_store(str(old_database), mode=mode)
        assert "hlbq db upgrade" in refused.value.hint
        return
    with open_store(str(old_database), mode=mode) as store:
        runs = list(store.runs(ALL))
        assert [(run.state, run.reason) for run in runs] == [
            (State.COMPLETED, Reason.FINISHED),
            (State.FAILED, Reason.DIVERGED),
            (State.RUNNING, None),
            (State.CANCELLED, Reason.CANCELLED),
            (State.PENDING, None),
            (State.PENDING, None),
        ]
        assert [run.settings["depth"] for run in runs] == [2, 4, 8, 2, 4, 8]
        assert (runs[2].checkpoint, runs[2].previous_checkpoint, runs[2].spent.losses) == (saved(9), saved(5), 1)
        assert (runs[4].paused, runs[5].priority, runs[0].facts["data_fingerprint"]) == (True, 7, "abc")
        first = [one.point for one in stored_points(store, RunFilter(run_ids=(1,)))]
        last = point(2, extra={"lr_head": 0.5, "odd": -math.inf})
        assert first == [point(1), last, point(1, Split.VAL, bits_per_byte=1.5)]
        [diverged] = [one.point for one in stored_points(store, RunFilter(run_ids=(2,)))]
        assert math.isnan(diverged.loss) and diverged.pplx == math.inf
        assert [one.point.step for one in stored_points(store, RunFilter(run_ids=(3,)))] == [5, 9]
        assert [attempt.reason for attempt in store.attempts(3)] == [Reason.LOST, None]
        assert store.integrity_check() == []
        assert design_of(store, [1]).first_seed is None  # the definition of this sweep was not kept
        assert stored_arms(store, store.sweep(1)).seeds == range(100, 102)


def test_runs_of_an_older_database_may_be_stopped_early(old_database: Path) -> None:
    """The check of the reasons was widened in place: the file stays whole, and refuses others as before."""
    with open_store(str(old_database), mode=OpenMode.WRITE) as store:
        taken = claim(store, register(store, 9))
        assert store.finish(taken.lease, ending(Reason.PRUNED)).state is State.CANCELLED
        assert store.integrity_check() == []
    raw = sqlite3.connect(old_database)
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("UPDATE runs SET reason = 'made up'")
    raw.close()


def test_runs_keep_the_code_that_their_attempts_told_of(tmp_path: Path) -> None:
    old = Path(shutil.copy(HERE / "schema_0004.sqlite", tmp_path / "hlbq.db"))
    raw = sqlite3.connect(old)
    told = (  # run 3 was taken up at step 9, run 2 was begun again
        ('{"core_digest":"aaaa","git_commit":"1234","git_dirty":"5678"}', 0, 3, 1),
        ('{"core_digest":"bbbb","git_commit":null}', 9, 3, 2),
        ('{"core_digest":"aaaa","git_commit":"1234","git_dirty":""}', 0, 2, 1),
    )
    raw.executemany("UPDATE attempts SET provenance = ?, start_step = ? WHERE run_id = ? AND fence = ?", told)
    raw.execute("UPDATE attempts SET step = 12 WHERE run_id = 3 AND fence = 2")
    raw.commit()
    raw.close()
    with open_store(str(old), mode=OpenMode.WRITE) as store:
        found = [[(part.digest, part.after, part.git_commit) for part in run.code] for run in store.runs(ALL)]
    assert found[1:3] == [[("aaaa", 0, "1234")], [("aaaa", 0, "1234-dirty"), ("bbbb", 9, "")]]
    assert found[0] == found[3] == []


def test_an_upgrade_keeps_every_row_and_a_backup_of_the_database_before(old_database: Path, tmp_path: Path) -> None:
    columns = columns_of(old_database)
    before, revision = content(old_database), revision_of(old_database)
    schema = next_schema(tmp_path / "scripts")
    with open_store(str(old_database), mode=OpenMode.WRITE, schema=schema) as store:
        assert store.info().schema_version == schema.head
        assert submit(store).id == 2
        with store._read() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
            assert connection.exec_driver_sql("SELECT DISTINCT mood FROM runs").scalars().all() == ["calm"]
    [backup] = [path for path in old_database.parent.iterdir() if path != old_database]
    assert backup.name.startswith(f"hlbq.db.before-{schema.head}-")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert content(backup) == before and revision_of(backup) == revision
    after = content(old_database, columns)
    assert {name: rows[: len(before[name])] for name, rows in after.items()} == before


def test_an_upgrade_works_on_both_engines(location: str, tmp_path: Path) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit(store, seeds=3)
    schema = next_schema(tmp_path / "scripts")
    with open_store(location, mode=OpenMode.UPGRADE, schema=schema) as store:
        assert store.info().schema_version == schema.head and store.matching(ALL) == 3


def test_readers_of_an_older_database_are_told_the_command(old_database: Path, tmp_path: Path) -> None:
    before = old_database.read_bytes()
    with pytest.raises(DatabaseVersionError, match=r"older than.*\n.*hlbq db upgrade"):
        open_store(str(old_database), mode=OpenMode.READ, schema=next_schema(tmp_path / "scripts"))
    assert old_database.read_bytes() == before


@pytest.mark.parametrize(
    ("and_then", "says"),
    [
        ("raise RuntimeError('no')", "no"),
        ('op.execute("UPDATE runs SET arm_id = 999 WHERE id = 1")', "would break references"),
    ],
)
def test_an_upgrade_that_fails_changes_nothing(old_database: Path, tmp_path: Path, and_then: str, says: str) -> None:
    before, revision = content(old_database), revision_of(old_database)
    with pytest.raises((RuntimeError, DatabaseError), match=says):
        open_store(str(old_database), mode=OpenMode.WRITE, schema=next_schema(tmp_path / "bad", and_then))
    assert (content(old_database), revision_of(old_database)) == (before, revision)
    with open_store(str(old_database), mode=OpenMode.WRITE, schema=next_schema(tmp_path / "good")) as store:
        assert store.integrity_check() == []


def test_an_upgrade_killed_midway_is_undone_and_can_be_done_again(location: str, tmp_path: Path) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit(store, seeds=3)
        before = shape(store)
    deadly = next_schema(tmp_path / "deadly", "os.kill(os.getpid(), signal.SIGKILL)")
    program = (
        "import sys; from pathlib import Path; from orchestrator.store import OpenMode, open_store\n"
        "from orchestrator.store.opening.schema import Schema\n"
        "schema = Schema(head=sys.argv[2], scripts=Path(sys.argv[3]))\n"
        "open_store(sys.argv[1], mode=OpenMode.UPGRADE, schema=schema)"
    )
    command = [sys.executable, "-c", program, location, deadly.head, str(deadly.scripts)]
    root = {**os.environ, "PYTHONPATH": str(MIGRATIONS.parent)}
    assert subprocess.run(command, env=root, timeout=240, check=False).returncode == -signal.SIGKILL
    with open_store(location, mode=OpenMode.WRITE) as store:
        assert shape(store) == before and store.matching(ALL) == 3
    schema = next_schema(tmp_path / "good")
    with open_store(location, mode=OpenMode.UPGRADE, schema=schema) as store:
        assert store.info().schema_version == schema.head and store.matching(ALL) == 3


def test_sixteen_processes_upgrade_once(location: str, tmp_path: Path) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit(store, seeds=3)
    schema = next_schema(tmp_path / "scripts")
    assert run_at_once(16, open_schema_at_once, location, schema.head, schema.scripts) == [(schema.head, 3)] * 16
    if not location.startswith("postgresql"):
        # Backups alone: of the log, the last two to close at once may leave its files.
        assert len([*Path(location).parent.glob("hlbq.db.before-*")]) == 1


def test_points_of_older_databases_have_no_time_and_newer_ones_keep_theirs(old_database: Path) -> None:
    knows = revision_of(old_database) >= "0015"
    with open_store(str(old_database), mode=OpenMode.WRITE) as store:
        train, val = store.curves([1], names=["loss", "recorded_at"])
        assert [at is not None for at in train["recorded_at"]] == [knows, False]
        assert val["recorded_at"] == (None,)
