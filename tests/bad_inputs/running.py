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

from orchestrator.wording.plain import printable
from tests.bad_inputs.draw import SWEEP_FILE, Case
from tests.bad_inputs.places import changes, digest, make_places

# A command that goes on until it is stopped has passed its checks by then.
GOES_ON_SECONDS = 3.0
_LIMITS = {"n": resource.RLIMIT_NOFILE, "f": resource.RLIMIT_FSIZE, "v": resource.RLIMIT_AS}
# For people to judge, and no broken promise by itself: a line may be wrong in another way too.
UNNAMED = "the value is not named"
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

    def __init__(self, folder: Path, database: Path, *, whole: bool, limit_seconds: float) -> None:
        self._folder, self._database, self._whole = folder, database, whole
        self._limit_seconds = limit_seconds
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
            plain = replace(case, words=case.plain_words, environment={}, limits={}, encoding="utf-8")
            if self._run(plain)[3] != err:  # it is refused for nothing else
                faults.append(UNNAMED)
            written = ["what the plain line made"]
        if written or case.sweep_file:
            make_places(self._folder, self._database)
            self._before = digest(self._folder)
        return Outcome(case=case, code=code, seconds=seconds, out=out, err=err, faults=faults)

    def _run(self, case: Case) -> tuple[int | None, bool, str, str]:
        pipes = os.pipe(), os.pipe()  # not files: `ulimit -f` would silence it
        child = os.fork()
        if child == 0:
            self._be_the_command(case, self._folder / "work", [writing for _, writing in pipes])
        for _, writing in pipes:
            os.close(writing)
        code, stopped, printed = _wait(child, [reading for reading, _ in pipes], self._limit_of(case))
        out, err = (text.decode("utf-8", errors="replace") for text in printed)
        return code, stopped, out, err

    def _limit_of(self, case: Case) -> float:
        if case.command == "doctor":  # it loads torch in a process of its own
            return 6 * self._limit_seconds
        return min(GOES_ON_SECONDS, self._limit_seconds) if _goes_on(case) else self._limit_seconds

    def _be_the_command(self, case: Case, work: Path, streams: Sequence[int]) -> NoReturn:
        code = 70
        try:
            os.setsid()
            self._set_the_scene(case, work, streams)
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

    def _set_the_scene(self, case: Case, work: Path, streams: Sequence[int]) -> None:
        os.chdir(work)
        for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
            os.dup2(stream, number)
        os.closerange(3, 256)
        os.environ.update(_environment(self._folder), **case.environment)
        time.tzset()
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
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
    return case.command in (*_ENDLESS, *_RESTING) or any(word.startswith("--watch") for word in case.words)


def _wait(child: int, pipes: Sequence[int], limit_seconds: float) -> tuple[int | None, bool, Sequence[bytes]]:
    """The exit code, whether the child had to be stopped, and what it printed; all of its group is gone afterwards."""
    watched, until = os.pidfd_open(child), time.monotonic() + limit_seconds
    printed = dict.fromkeys(pipes, b"")
    waiting, code = {watched, *pipes}, None
    while waiting and time.monotonic() < until:
        for ready in select.select(waiting, [], [], until - time.monotonic())[0]:
            part = os.read(ready, 1 << 16) if ready != watched else b""
            if part:
                printed[ready] += part
                continue
            waiting.remove(ready)
            if ready == watched:
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                _end_group(child)  # what it left at work may hold the pipes
    if code is None:
        _end_group(child)
        os.waitpid(child, 0)
    for descriptor in (watched, *pipes):
        os.close(descriptor)
    return code, code is None, list(printed.values())


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


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
    if "://" in value or value.startswith(("postgres", "host=")):
        return True  # not repeated: it may hold a password
    bare = name.lstrip("-").replace("_", " ").lower()
    parts = [printable(part)[:20].strip() for part in (value.removeprefix("text:"), *value.split("="))]
    try:  # `007` and `٣` are numbers, and shown as such
        parts.append(f"{int(value):,}")
    except ValueError:
        pass
    said = err + err.replace("_", "-")  # names are read with either
    return name.startswith("ulimit") or bare in err.lower().replace("_", " ") or any(map(said.__contains__, parts))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
