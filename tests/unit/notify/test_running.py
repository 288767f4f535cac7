"""Calling a user's command: what it reads, and how every way in which it can go wrong is told."""

import json
import os
from pathlib import Path

import pytest

from orchestrator.notify.commands import UserCommand
from orchestrator.notify.running import call
from tests.faults.harness import wait_until
from worker.processes import ProcessState, process_state


def run(line: str, folder: Path, *, text: str = "{}", limit_seconds: float = 20.0, **environment: str) -> str:
    command = UserCommand(line=line, folder=str(folder))
    return call(command, text, environment, limit_seconds=limit_seconds)


def test_it_reads_the_text_in_the_folder_where_it_was_typed(tmp_path: Path) -> None:
    assert run('cat > told.json; printf %s "$WORD" > word', tmp_path, text='{"a": "é🙂"}', WORD='"é🙂"') == ""
    assert json.loads((tmp_path / "told.json").read_text(encoding="utf-8")) == {"a": "é🙂"}
    assert (tmp_path / "word").read_text(encoding="utf-8") == '"é🙂"'


def test_a_folder_that_is_gone_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("pwd > here", tmp_path / "gone") == ""
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("echo no such topic >&2; exit 7", "exit code 7: no such topic"),
        ("no-such-program-of-hlbq", "exit code 127"),
        ("kill -9 $$", "killed by SIGKILL"),
        (r"printf '\377\033[31m\000red\n'; exit 1", "red"),
    ],
)
def test_a_failure_is_told_in_one_printable_line(tmp_path: Path, line: str, says: str) -> None:
    error = run(line, tmp_path)
    assert says in error and error.isprintable()


def test_a_command_that_reads_nothing_and_prints_much_is_fine(tmp_path: Path) -> None:
    assert run("head -c 3000000 /dev/zero", tmp_path, text="x" * 1_000_000) == ""


def test_what_it_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    assert run("sleep 300 & echo $! > left", tmp_path, limit_seconds=60) == ""
    os.kill(int((tmp_path / "left").read_text()), 9)


def test_past_the_limit_the_whole_group_is_ended(tmp_path: Path) -> None:
    line = "sh -c 'trap \"\" TERM; echo $$ > deaf; while :; do sleep 0.1; done' & wait"
    error = run(line, tmp_path, limit_seconds=3.0)
    assert error.startswith("it took longer than 3 s and was killed")
    deaf = int((tmp_path / "deaf").read_text())
    wait_until(lambda: process_state(deaf, 0) is ProcessState.DEAD, seconds=120, what="the deaf one is ended")
