"""Runs a case as a process of its own, forked from this one, which has imported the program; and judges how it went."""

import io
import json
import os
import re
import resource
import runpy
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from tests.bad_inputs.draw import SWEEP_FILE, Case
from tests.bad_inputs.places import changes, digest, make_places

LIMIT_SECONDS = 10.0
# A command that goes on until it is stopped has passed its checks by then.
GOES_ON_SECONDS = 4.0
_LIMITS = {"n": resource.RLIMIT_NOFILE, "f": resource.RLIMIT_FSIZE, "v": resource.RLIMIT_AS}
_ENDLESS = ("dashboard", "worker", "run", "launch ray")
_RESTING = ("wait",)
# What moves a cursor, changes a colour, or reorders what is read.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HANDED_OVER = "handed over to"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one case ended. `faults` are the promises that it broke; `code` is None where it was stopped."""

    case: Case
    code: int | None
    seconds: float
    out: str
    err: str
    faults: Sequence[str]


class Runner:
    """Runs cases in `folder`, which it makes again after each case that changed it.

    `whole`: what a command becomes (a worker, a command of the core) is run too, not only reached.
    """

    def __init__(self, folder: Path, database: Path, *, whole: bool) -> None:
        self._folder, self._database, self._whole = folder, database, whole
        self._printed = folder.with_name("printed")
        self._printed.mkdir(exist_ok=True)
        make_places(folder, database)
        self._before = digest(folder)

    def run(self, case: Case) -> Outcome:
        """Run and judge one case."""
        work = self._folder / "work"
        if case.sweep_file:
            (work / SWEEP_FILE).write_text(case.sweep_file, encoding="utf-8")
            self._before = digest(self._folder)
        began = time.monotonic()
        code, stopped, out, err = self._run(case)
        seconds = time.monotonic() - began
        written = changes(self._before, digest(self._folder))
        faults = list(_faults(case, code, out, err, written, stopped=stopped))
        if code == 2 and not any(_is_named(name, value, err) for name, value in case.wrong):
            # Unless it is refused for something else.
            if err != self._run(replace(case, words=case.plain_words, environment={}, limits={}, encoding="utf-8"))[3]:
                faults.append("the value is not named")
        if written or case.sweep_file:
            make_places(self._folder, self._database)
            self._before = digest(self._folder)
        return Outcome(case=case, code=code, seconds=seconds, out=out, err=err, faults=faults)

    def _run(self, case: Case) -> tuple[int | None, bool, str, str]:
        child = os.fork()
        if child == 0:
            self._be_the_command(case, self._folder / "work")
        code, stopped = _wait(child, GOES_ON_SECONDS if _goes_on(case) else LIMIT_SECONDS)
        out, err = ((self._printed / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
        return code, stopped, out, err

    def _be_the_command(self, case: Case, work: Path) -> NoReturn:
        code = 70
        try:
            os.setsid()
            self._set_the_scene(case, work)
            from orchestrator.cli.main import main

            main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            # As Python does at its end.
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    code = 120
            os._exit(code)

    def _set_the_scene(self, case: Case, work: Path) -> None:
        os.chdir(work)
        for number, name in ((1, "out"), (2, "err")):
            opened = os.open(self._printed / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
            os.close(opened)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.environ.update(_environment(self._folder), **case.environment)
        time.tzset()
        sys.stdin = open(0, closefd=False)  # noqa: PTH123, SIM115
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), case.encoding)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w", closefd=False)), case.encoding, "backslashreplace", line_buffering=True
        )
        sys.argv = ["hlbq", *case.words]
        _replace_starts(whole=self._whole)
        for letter, limit in case.limits.items():
            resource.setrlimit(_LIMITS[letter], (limit, limit))


def _environment(folder: Path) -> dict[str, str]:
    places = {"HOME": "home", "HLBQ_CACHE": "cache", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "home"}
    found = {name: str(folder / place) for name, place in (places | {"TMPDIR": "tmp"}).items()}
    stand_in = Path(__file__).parents[1] / "stand_in_site"
    return found | {
        "WANDB_MODE": "offline",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(stand_in), os.environ.get("PYTHONPATH", "")]),
        "STAND_IN": json.dumps({"steps": 3}),
    }


def _replace_starts(*, whole: bool) -> None:
    """A command that becomes another program goes on in this process, or ends there."""
    from orchestrator.cli import run

    def become(path: str, argv: Sequence[str], environment: Any = None) -> NoReturn:
        module, words = argv[3], argv[4:]
        print(f"{_HANDED_OVER} {module}", file=sys.stderr)
        if whole:
            if environment is not None:
                os.environ.update(environment)
            sys.argv = [module, *words]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        raise SystemExit(0)

    def start_nothing(*_given: Any, **_named: Any) -> NoReturn:
        raise SystemExit(0)

    os.execv, os.execve = become, become  # type: ignore[assignment]
    if whole:
        import worker.trainer.trainer_handle

        stand_in = (sys.executable, "-m", "tests.stand_in_trainer")
        worker.trainer.trainer_handle.trainer_command = lambda *_: stand_in
    else:
        run.PrestartedWorkers.__init__ = lambda *_, **__: None  # type: ignore[method-assign]
        run.PrestartedWorkers.__exit__ = lambda *_: None  # type: ignore[method-assign]
        run.work_off = start_nothing
        run.PrestartedWorkers.processes = []  # type: ignore[attr-defined]


def _goes_on(case: Case) -> bool:
    return case.command in (*_ENDLESS, *_RESTING) or "--watch" in case.words


def _wait(child: int, limit_seconds: float) -> tuple[int | None, bool]:
    """The exit code, and whether the child had to be stopped; all of its group is gone afterwards."""
    watched = os.pidfd_open(child)
    try:
        ended = bool(select.select([watched], [], [], limit_seconds)[0])
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(watched)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return (os.waitstatus_to_exitcode(status), False) if ended else (None, True)


def _faults(case: Case, code: int | None, out: str, err: str, written: Sequence[str], *, stopped: bool) -> Any:
    if stopped and not _goes_on(case):
        yield "hang"
    if "Traceback (most recent call last)" in out + err:
        yield "traceback"
    elif not stopped and code not in (0, 1, 2):
        yield f"exit code {code}"
    if "logs" not in case.words and _CONTROL.search(out + err.replace("\r", "")):
        yield "control characters"
    if code == 2:
        yield from _faults_of_a_refusal(case, err, written)
    if code in (0, 1) and "--json" in case.words and out and not _is_json(out):
        yield "not JSON"


def _faults_of_a_refusal(case: Case, err: str, written: Sequence[str]) -> Any:
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(("warning:", "note:"))]
    messages = [place for place, line in enumerate(lines) if "error: " in line]
    if len(messages) != 1:
        yield f"{len(messages)} messages"
    elif len(lines) == messages[0] + 1:
        yield "no next step"
    if written:
        yield f"wrote {', '.join(written[:3])}"


def _is_named(name: str, value: str, err: str) -> bool:
    shown = value.encode("utf-8", "backslashreplace").decode()[:20]
    bare = name.lstrip("-").replace("_", " ")
    return name.startswith("ulimit") or bare.lower() in err.lower().replace("_", " ") or (shown.strip() in err)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
