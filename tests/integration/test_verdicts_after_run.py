"""The verdicts with which `hlbq run` ends: those of `hlbq compare`, of the sweep that it trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.points import Split
from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.main import run_program
from orchestrator.cli.run import say_verdicts
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from tests.integration.test_compare import train_all
from tests.integration.test_factorial_comparison import loss_by, submit_sweep
from tests.sample_sweep import register, sample_point, work

HEADS = ({"num_heads": 1}, {"num_heads": 2})


def said(folder: Path, arms: Sequence[Mapping[str, Any]], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What is printed after a sweep whose second arm is better, on stdout and stderr."""
    with open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE) as store:
        sweep = submit_sweep(store, arms, seeds=range(100, 106))
        train_all(store, loss_by({("num_heads", 2): -0.2}))
    say_verdicts(DatabaseOption(db=str(folder / "hlbq.db")), sweep)
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_the_last_lines_are_the_verdicts_and_are_a_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(tmp_path, HEADS, capsys)
    first, look = out.splitlines()
    assert first.startswith("num_heads 2 against num_heads 1: better, by 0.20") and err == ""
    assert look.startswith("look 1 at this question, recorded with the sweep")
    assert run_program(["compare", "--db", str(tmp_path / "hlbq.db")]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == out.splitlines()


def test_one_arm_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(tmp_path, [{}], capsys) == ("", "")


def test_runs_without_a_number_have_none_and_the_sweep_ends_as_it_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "hlbq.db")
    with open_store(db, mode=OpenMode.CREATE) as store:
        sweep = submit_sweep(store, HEADS, seeds=[1])
        worker = register(store)
        for _ in HEADS:
            points = [sample_point(Split.VAL, 10, loss=3.0)]
            work(store, worker, points, reason=Reason.ERROR, permanent=True, error_type="OSError")
    say_verdicts(DatabaseOption(db=db), sweep)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("no verdict: no run has a number for 'last val_loss'")
