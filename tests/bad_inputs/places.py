"""A folder with a small database and with everything that a name should not lead to; and what is in it, as a digest."""

import hashlib
import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path

from orchestrator.store import OpenMode, open_store
from tests.bad_inputs.values import ENDINGS, KINDS_OF_PLACE
from tests.sample_sweep import register, sample_points, submit_sweep, work

DATABASE = "hlbq.db"


def make_database(path: Path) -> None:
    """Three sweeps: one with a completed, a failed, a running and pending runs, one whose name is hostile, one empty of
    results."""
    from orchestrator.queue.states import Reason

    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit_sweep(
            store,
            [{"depth": 2, "width": 128}, {"depth": 4, "width": 128}],
            seeds=(100, 101, 102),
            name="\x1b[31mred\x07\nsecond line",
        )
        worker = register(store, hostname="host\x1b[2J")
        work(store, worker, sample_points())
        failed = {"error_type": "Error", "error_message": "\x1b[31mbad\x07", "error_traceback": "tb \x9b31m"}
        work(store, worker, sample_points(), reason=Reason.ERROR, **failed)
        work(store, worker, sample_points(), reason=None)
        submit_sweep(store, [{"depth": 3}], name="日本語 \u202e")
        submit_sweep(store, [{"depth": 3, "width": 256}])
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def make_places(folder: Path, database: Path) -> None:
    """Fill `folder` with `work` (where commands run), `home`, `cache` and `tmp`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("work", "home", "cache", "tmp"):
        (folder / name).mkdir(parents=True)
    work = folder / "work"
    shutil.copy(database, work / DATABASE)
    (work / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 2_000, encoding="utf-8")
    (work / "results.csv").write_text("run_id,depth\n1,2\n", encoding="utf-8")
    (work / "locked").mkdir()
    (work / "locked").chmod(0o555)
    for kind in KINDS_OF_PLACE:
        for ending in ENDINGS:
            _make(kind, work / f"{kind}{ending}", database)


def _make(kind: str, path: Path, database: Path) -> None:
    match kind:
        case "loop":
            path.symlink_to(path.name)
        case "dangling":
            path.symlink_to("missing-folder/x")
        case "fifo":
            os.mkfifo(path)
        case "zero" | "null" | "full":
            path.symlink_to(f"/dev/{kind}")
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                # A short name: a socket's path may have 107 bytes.
                before = Path.cwd()
                os.chdir(path.parent)
                listening.bind(path.name)
                os.chdir(before)
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "binary":
            path.write_bytes(bytes(range(256)) * 4)
        case "readonly":
            path.write_text("x\n", encoding="utf-8")
            path.chmod(0o444)
        case "cut":
            path.write_bytes(database.read_bytes()[:5_000])
        case _:
            shutil.copy(_databases(database)[kind], path)


def _databases(database: Path) -> Mapping[str, Path]:
    """Databases that are not ours, newer than the program, or without tables; made once, beside `database`."""
    statements = {
        "foreign": "CREATE TABLE songs (name TEXT)",
        "newer": "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('9999')",
        "blank": "PRAGMA user_version = 7",
    }
    found = {}
    for kind, statement in statements.items():
        found[kind] = database.with_name(f"{kind}.sqlite")
        if not found[kind].exists():
            connection = sqlite3.connect(found[kind])
            connection.executescript(statement)
            connection.close()
    return found


def digest(folder: Path) -> Mapping[str, str]:
    """What is in `folder`, by path: kind, rights, and content. Not SQLite's index of its log, nor a log without
    content (a reader that is stopped leaves them), nor what wandb's own process logs, even after its end."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            state = path.lstat()
            if "wandb" in path.parts or name.endswith("-shm") or (name.endswith("-wal") and not state.st_size):
                continue
            content = ""
            if stat.S_ISLNK(state.st_mode):
                content = str(path.readlink())
            elif stat.S_ISREG(state.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{state.st_mode:o} {content}"
    return found


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The paths that came, went or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
