"""Bad inputs are refused with a message, and change nothing; and those kinds that a draw can miss, one by one."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store import OpenMode, open_store
from tests.bad_inputs.__main__ import main
from tests.bad_inputs.draw import commands, draws
from tests.command_line import hlbq_in
from tests.sample_sweep import submit_sweep

NUMBERS_PAST_THE_END = (str(2**63), str(2**64), "9" * 400)


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.long)])
def test_a_seeded_draw_of_bad_inputs_breaks_no_promise(count: int) -> None:
    # In a process of its own: it forks, and a test's process may have threads.
    command = [sys.executable, "-m", "tests.bad_inputs", "--seed", "20", "--limit", "60", "--light"]
    command += ["--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    assert done.returncode == 0, done.stdout


def test_the_draw_knows_every_command_and_is_the_same_for_the_same_seed() -> None:
    names = {name for name, _ in commands()}
    assert {"submit", "data prepare", "db copy", "launch ray"} <= names
    first, again = ([next(source).words for _ in range(50)] for source in (draws(5), draws(5)))
    assert first == again and main is not None


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": 2}], name="\x1b[31mred\nline \x9b1m")
    return hlbq_in(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("number", NUMBERS_PAST_THE_END)
@pytest.mark.parametrize(
    "line", ["extend {}", "status --run {}", "cancel --sweep {}", "status --where seed={}", "priority {} --sweep 1"]
)
def test_a_number_past_the_end_is_refused(hlbq, line: str, number: str) -> None:  # type: ignore[no-untyped-def]
    done = hlbq(line.format(number))
    assert done.code == 2 and "too large" in done.err and number in done.err, done.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("status --run 0", "--run: 0 is too small"),
        ("cancel --run -1", "--run: -1 is too small"),
        ("wait --sweep 999", "there is no sweep 999"),
        ("wait --run 999", "there is no run 999"),
        ("cancel --sweep 1 999", "there is no sweep 999"),
        ("data prepare", "DATASET is missing"),
        ("code same here 1", "--why is missing"),
        ("priority --sweep 1", "VALUE is missing"),
        ("submit fifo", "'fifo' is empty"),
        ("submit /dev/zero", "it is a folder, a device or a socket"),
        ("submit ~nobody_of_that_name/x.toml", "unknown user"),
        ("plot --csv fifo", "'fifo' is a pipe"),
        ("plot --csv /dev/zero", "can't be read"),
        ("export fifo.csv --all", "a pipe or a socket that nobody reads"),
        ("export loop.csv", "symbolic links"),
        (f"export {'n' * 300}.csv", "name too long"),
        ("run --output dangling.csv --depth 2 --width 128", "there is no folder"),
        ("run --output table.txt --depth 2 --width 128", "is not a table format"),
        ("submit --depth 2 --width 128 -c --logfile loop.csv", "symbolic links"),
        ("db backup loop.csv", "exists already"),
        ("run --state_dir hlbq.db --depth 2 --width 128", "is not a folder"),
        ("status --db loop.csv", "symbolic links"),
        (f"db check --repair --state_dir {'p/' * 2_500}", "name too long"),
        ("wait --every 9223372036854775808", "is too large"),
        ("generate --model fifo", "there is no model at 'fifo'"),
        (f"generate --model {'n' * 300}", "name too long"),
        ("submit --depth 2 --width 128 -w --wandb_project a/b", "cannot name a W&B project: it holds '/'"),
        ("sync --sweep 1 --wandb_project a:b", "cannot name a W&B project: it holds ':'"),
    ],
)
def test_what_a_slip_leads_to(hlbq, tmp_path: Path, line: str, words: str) -> None:  # type: ignore[no-untyped-def]
    for name in ("fifo", "fifo.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "dangling.csv").symlink_to("missing/x.csv")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = hlbq(line)
    assert done.code == 2 and words.lower() in done.err.lower(), done.err
    assert done.err.startswith("error: ") and len(done.err.splitlines()) >= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_negative_priority_is_an_argument(hlbq) -> None:  # type: ignore[no-untyped-def]
    assert hlbq("priority -3 --sweep 1 --yes").out == "1 run now at priority -3\n"


def test_more_draws_than_there_are_combinations_are_told(hlbq) -> None:  # type: ignore[no-untyped-def]
    done = hlbq("submit --depth 2 3 4 5 6 --width 128 --random 20 --tokenizer bytes")
    assert done.code == 0 and "--random 20 draws more than there is: 5 different combinations" in done.err


@pytest.mark.parametrize("line", ["status", "show --sweep 1", "status --json", "show --sweep 1 --json", "compare"])
def test_a_name_moves_no_cursor(hlbq, line: str) -> None:  # type: ignore[no-untyped-def]
    done = hlbq(line)
    assert "".join(done.out.splitlines() + done.err.splitlines()).isprintable()


@pytest.mark.parametrize("limit", ["-n 8", "-f 0", "-v 300000"])
def test_a_limit_is_no_traceback(tmp_path: Path, limit: str) -> None:
    command = f"ulimit {limit}; {shlex.quote(sys.executable)} -m orchestrator.cli.main submit --depth 2 --width 128"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=_environment(), capture_output=True, text=True)
    assert "Traceback" not in done.stderr and done.returncode in (0, 2), done.stderr


@pytest.mark.parametrize("line", ["submit --name é日 --depth 2 --width 128", "status", "show --sweep 1 --json"])
def test_a_stdout_without_the_letter_prints_all_the_same(tmp_path: Path, line: str) -> None:
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": 2}], name="é日")
    command = [sys.executable, "-m", "orchestrator.cli.main", *line.split()]
    environment = _environment() | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "show" not in line or '"name": "\\u00e9\\u65e5"' in done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
