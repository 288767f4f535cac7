"""`python -m tests.bad_inputs --count 2000 --seed 1`: draw bad inputs, run each, and print what broke a promise.

Exit code 1 if any did. What commands become (workers, commands of the core) is run too, unless `--light` is given.
`--only 17` runs one case again, and prints all of it.
"""

import argparse
import itertools
import json
import resource
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.bad_inputs.draw import Case, draws
from tests.bad_inputs.places import make_database
from tests.bad_inputs.running import UNNAMED, Outcome, Runner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.bad_inputs", allow_abbrev=False)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    parser.add_argument("--light", action="store_true", help="stop where a command becomes another program")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds; more on a machine that is busy")
    parser.add_argument("--accepted", action="store_true", help="list what was not refused, too")
    given = parser.parse_args(arguments)
    cases = list(itertools.islice(draws(given.seed), given.count if given.only is None else given.only + 1))
    chosen = list(enumerate(cases))[given.only or 0 :]
    with tempfile.TemporaryDirectory(prefix="hlbq-bad-") as made:
        database = Path(made, "made", "hlbq.db")
        database.parent.mkdir()
        make_database(database)
        _import_everything(whole=not given.light)
        runner = Runner(Path(made, "places"), database, whole=not given.light, limit_seconds=given.limit)
        faulty, codes, seconds = 0, Counter[str](), 0.0
        for number, case in chosen:
            done = runner.run(case)
            codes[str(done.code)] += 1
            seconds = max(seconds, done.seconds if done.code is not None else 0.0)
            if done.faults or given.only is not None or (given.accepted and done.code != 2):
                faulty += any(fault != UNNAMED for fault in done.faults)
                _print(number, done, whole=given.only is not None)
    cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    counts = ", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items()))
    print(f"{len(chosen)} inputs, seed {given.seed}: {faulty} faulty; {counts}")
    print(f"the longest took {seconds:.1f} s; {cpu:.0f} s of CPU in all")
    return int(bool(faulty))


def _print(number: int, done: Outcome, *, whole: bool) -> None:
    print(f"#{number} {done.code} {'; '.join(done.faults) or 'fine'}: {line_of(done.case)}")
    shown = (done.out + done.err).splitlines() if whole else done.err[-600:].splitlines()[-4:]
    print("".join(f"    {json.dumps(line)}\n" for line in shown))
    sys.stdout.flush()


def line_of(case: Case) -> str:
    """The case as a line for a shell, long values cut."""
    around = [f"{name}={value}" for name, value in case.environment.items()]
    around += [f"encoding={case.encoding}"] if case.encoding != "utf-8" else []
    around += [f"ulimit -{letter} {limit};" for letter, limit in case.limits.items()]
    words = [word if len(word) < 200 else f"{word[:60]}...({len(word)})" for word in (*around, "hlbq", *case.words)]
    text = shlex.join(words) + (f"   <- {case.sweep_file[:200]!r}" if case.sweep_file else "")
    return text.encode("unicode_escape").decode()


def _import_everything(*, whole: bool) -> None:
    """What a command would import: forked children have it at once."""
    import importlib

    names = ["orchestrator.cli.submit", "orchestrator.store", "orchestrator.export.writing"]
    names += ["orchestrator.plots", "orchestrator.report.page"]
    names += ["orchestrator.status.text", "orchestrator.status.reading", "orchestrator.copying"]
    names += ["orchestrator.comparison", "orchestrator.dashboard.serving.server", "rich.console", "psycopg", "pandas"]
    names += ["worker.__main__", "torch", "hlbgpt_core.commands.model_command"] if whole else []
    for name in names:
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
