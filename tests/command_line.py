"""`hlbq` within the test's own process: as fast as a call, and as close to the command as its arguments and output."""

import os
import shlex
import subprocess
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


def hlbq_and_workers_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """As `hlbq_in`, with the line in words; a `worker` and a `run`, which become other programs, are child processes.

    A call checks the exit code, 0 unless `code` is given, and that nothing was printed in a traceback.
    """
    here = hlbq_in(folder, monkeypatch, capsys)

    def call(*words: str, code: int = 0) -> Done:
        if words[0] in ("worker", "run"):
            line = [sys.executable, "-P", "-m", "orchestrator.cli.main", *words]
            ended = subprocess.run(line, cwd=folder, capture_output=True, text=True)
            done = Done(code=ended.returncode, out=ended.stdout, err=ended.stderr)
        else:
            done = here(shlex.join(words))
        assert done.code == code, f"{done.code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err
        return done

    return call
