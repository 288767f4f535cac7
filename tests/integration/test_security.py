"""Who can read what hlbq writes, what it never writes, what it never runs: docs/security.md in tests."""

import ast
import csv
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.points import SavedCheckpoint
from hlbgpt_core.text.token_cache import cache_entry
from hlbgpt_core.training.checkpoint import inside
from orchestrator.export.cells import cell, read_text_cell, text_cell
from orchestrator.files.state_folder import make_state_folder
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import new_sweep, submit, wait_until

ROOT = Path(__file__).parents[2]
PACKAGES = ("hlbgpt_core", "orchestrator", "worker", "migrations")
SECRET = "open-sesame-42"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_below(folder: Path) -> dict[str, str]:
    """What is not for its owner alone: 0700 for folders, 0600 for files."""
    wrong = {}
    for path in [folder, *folder.rglob("*")]:
        try:
            found = mode(path)
        except FileNotFoundError:  # the worker tidies up meanwhile
            continue
        if found != (0o700 if path.is_dir() else 0o600):
            wrong[str(path.relative_to(folder))] = oct(found)
    return wrong


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a real worker trains, logs and leaves checkpoints, under a umask that forbids nothing."""
    folder = tmp_path_factory.mktemp("worked")
    db = folder / "hlbq.db"
    before = os.umask(0)
    try:
        submit(str(db), new_sweep(1, checkpoint_every_seconds=0.1, max_steps=100_000))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HLBQ_CACHE": str(folder / "cache" / "below"),
            "WANDB_API_KEY": SECRET,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "MY_OWN_SETTING": SECRET,
        }
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker", "--db", str(db), "--device", "cpu"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.umask(before)
    try:
        with open_store(str(db), mode=OpenMode.READ) as store:

            def has_checkpoint() -> bool:
                run = store.run(1)
                return run is not None and run.checkpoint is not None

            wait_until(has_checkpoint, seconds=120, what="the run has a checkpoint")
            # While the worker lives, so that -wal and -shm are there too.
            assert {"hlbq.db", "hlbq.db-wal", "hlbq.db-shm"} <= {path.name for path in folder.iterdir()}
            assert {path.name: oct(mode(path)) for path in folder.glob("hlbq.db*") if path.is_file()} == {
                name: oct(0o600) for name in ("hlbq.db", "hlbq.db-wal", "hlbq.db-shm")
            }
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=120)
    return folder


def test_state_files_are_for_their_owner_alone(worked: Path) -> None:
    state = worked / "hlbq.db.state"
    assert list(state.glob("checkpoints/*/*/*")) and list(state.glob("logs/*/*.log"))
    assert modes_below(state) == {}


def test_token_caches_are_for_their_owner_alone(worked: Path) -> None:
    assert list(worked.glob("cache/below/tokens/*/*"))
    assert modes_below(worked / "cache") == {}


def test_the_environment_is_written_nowhere(worked: Path) -> None:
    files = [path for path in worked.rglob("*") if path.is_file()]
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []


def test_folders_above_the_state_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_state_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [oct(mode(folder)) for folder in (made, made.parent, made.parent.parent)] == [oct(0o700)] * 3


def test_credentials_of_the_command_line_are_not_stored(tmp_path: Path) -> None:
    db = tmp_path / "hlbq.db"
    settings = "--dataset pystdlib --depth 1 --width 64 --max_steps 1".split()
    notes = ["--note", f"see https://me:{SECRET}@files.example/x?token={SECRET}"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", "submit", "--db", str(db), *settings, *notes],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    with open_store(str(db), mode=OpenMode.READ) as store:
        sweep = store.latest_sweep()
    assert sweep is not None
    assert SECRET not in json.dumps(list(sweep.argv)) and "https://me:***@files.example" in json.dumps(list(sweep.argv))


def test_a_password_of_the_database_is_neither_shown_nor_stored(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "orchestrator.cli.main",
            "status",
            "--db",
            f"postgresql://me:{SECRET}@127.0.0.1:9/x",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode != 0
    assert SECRET not in done.stdout + done.stderr and "postgresql://me" in done.stderr


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "text:/a/../../b", "..", "a b\n;rm -rf *", "\u202ename", "." * 300, "CON"],
)
def test_names_become_slugs_and_stay_inside_the_cache(tmp_path: Path, name: str) -> None:
    folder = cache_entry(tmp_path, dataset=name, identity=name, tokenizer=name).folder
    assert folder.parent == tmp_path / "tokens"
    assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert folder.name.strip(".") and len(folder.name) < 200


@pytest.mark.parametrize("path", ["../outside", "/etc", "checkpoints/../../outside", "checkpoints/a/../../../b"])
def test_a_checkpoint_outside_the_state_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match="not inside"):
        inside(tmp_path, SavedCheckpoint(path=path, sha256="0" * 64, step=1))


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_texts_that_a_spreadsheet_would_run_get_an_apostrophe(start: str) -> None:
    text = f"{start}cmd|' /C calc'!A0"
    assert text_cell(text) == f"'{text}"
    assert read_text_cell(text_cell(text)) == text
    assert read_text_cell(text_cell(f"'{text}")) == f"'{text}"


def test_numbers_and_lists_get_none() -> None:
    assert [cell(value) for value in (-1.5, -2, [-1.0, 2.0], True)] == ["-1.5", "-2", "[-1.0, 2.0]", "true"]


def test_an_exported_name_is_harmless(tmp_path: Path) -> None:
    db = tmp_path / "hlbq.db"
    sweep = new_sweep(1)
    submit(str(db), type(sweep)(**{**vars(sweep), "name": "=1+1"}))
    table = tmp_path / "results.csv"
    subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", "export", "--db", str(db), "--all", str(table)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=240,
    )
    with table.open(newline="") as file:
        cells = [text for row in csv.reader(file) for text in row]
    assert len(cells) > 30
    assert [text for text in cells if text[:1] in tuple("=+@\t\r")] == []


def test_nothing_unsafe_is_loaded_or_evaluated() -> None:
    """No pickle but torch's reader of plain tensors, no eval, no shell."""
    forbidden = {"pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "yaml.load", "os.system", "os.popen"}
    found = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            options = {one.arg: ast.unparse(one.value) for one in node.keywords if one.arg}
            unsafe = (
                name in forbidden | {"eval", "exec", "compile", "__import__"}
                or (name == "torch.load" and options.get("weights_only") != "True")
                or options.get("allow_pickle") == "True"
                or options.get("trust_remote_code") == "True"
                or options.get("shell") == "True"
            )
            if unsafe:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert found == []


def test_a_database_made_by_hand_with_wide_rights_is_not_widened_further(tmp_path: Path) -> None:
    """The rights of a file that its owner made are the owner's business; its log gets the same."""
    db = tmp_path / "hlbq.db"
    submit(str(db), new_sweep(1))
    db.chmod(0o640)
    with open_store(str(db), mode=OpenMode.WRITE) as store:
        store.sweeps()
        connection = sqlite3.connect(db)
        connection.execute("CREATE TABLE other (id INTEGER)")
        assert oct(mode(db)) == oct(mode(tmp_path / "hlbq.db-wal")) == oct(0o640)
        connection.close()
