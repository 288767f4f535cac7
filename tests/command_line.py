"""`hlbq` within the test's own process: as fast as a call, and as close to the command as its arguments and output."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.main import run_program


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Hlbq = Callable[[str], Done]


def hlbq_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """What runs a line of `hlbq` in `folder`, its stdin no terminal."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HLBQ_DB", raising=False)

    def run(line: str) -> Done:
        arguments = shlex.split(line)
        monkeypatch.setattr(sys, "argv", ["hlbq", *arguments])
        with open(os.devnull) as nothing:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdin", nothing)
            code = run_program(arguments)
        printed = capsys.readouterr()
        return Done(code=code, out=printed.out, err=printed.err)

    return run
