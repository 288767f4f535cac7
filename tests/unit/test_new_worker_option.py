"""Whoever adds a field to WorkerOptions has added an option of the commands, the worker, its parent and its trainer.

The made-up fields live in a child process, so that nothing of them reaches the other tests.
"""

from typing import Any

import pytest

from tests.child_program import answer_of_child

CHILD = """
import contextlib, dataclasses, io, json, os, sys
from orchestrator.launch import worker_command

old = worker_command.WorkerOptions
warmth = worker_command.option(20, minimum=5, trainer=True, help="A number that a test made up.")
nicknames = worker_command.option((), commands=("worker",), help="Texts that a test made up.")
worker_command.WorkerOptions = dataclasses.make_dataclass(
    "WorkerOptions",
    [("warmth", int, warmth), ("nicknames", tuple[str, ...], nicknames)],
    bases=(old,),
    frozen=True,
    kw_only=True,
)

import worker.__main__
import worker.trainer.__main__
from orchestrator.cli.main import run_program
from worker import trainer_process
from worker.pool import plan_places
from worker.trainer.trainer_handle import trainer_command


def help_of(*command):
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        run_program([*command, "--help"])
    return printed.getvalue()


started = []
os.execve = lambda program, argv, environment: started.append(argv)
typed = ["worker", "--device", "cpu", "--slots", "2", "--no-memory-check", "--nicknames", "a", "b"]
run_program([*typed, "--warmth", "30"])
refused = run_program([*typed, "--warmth", "1"])
argv = started[0]

parsed = []
worker.__main__._be_a_parent = lambda options: parsed.append(options) or 0
worker.__main__.main(argv[argv.index("worker") + 1:])
places = plan_places(parsed[0], lambda text: None)
worker.__main__._be_a_worker = lambda options: parsed.append(options) or 0
worker.__main__.die_with_parent = lambda *given: None
worker.__main__.main(places[1].argv[places[1].argv.index("worker") + 1:])
command = trainer_command("cpu", parsed[1])

trained = []
trainer_process.Surroundings = lambda **given: trained.append(given["options"]) or 1 / 0
read, write = os.pipe()
trainer_process.load_trainer = lambda *given: None
pipes = ["--read-fd", str(read), "--write-fd", str(os.dup(write)), "--parent-pid", "1"]
worker.trainer.__main__.die_with_parent = lambda *given: None
sys.argv = [*command[command.index("worker.trainer"):], *pipes]
with contextlib.suppress(ZeroDivisionError):
    worker.trainer.__main__.main()

print(json.dumps({
    "help": {name: help_of(*name.split()) for name in ("worker", "run", "launch slurm", "launch ray")},
    "refused": refused,
    "argv": argv,
    "parsed": [[options.warmth, options.nicknames, options.slot] for options in parsed],
    "trainer": command,
    "trained": [trained[0].warmth, trained[0].nicknames],
}), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where the made-up options `warmth` (for all) and `nicknames` (for `hlbq worker` alone) turned up."""
    return answer_of_child(CHILD, folder=tmp_path_factory.mktemp("made_up"), COLUMNS="200")


def test_it_is_an_option_of_the_commands_that_take_it(seen: dict[str, Any]) -> None:
    assert [name for name, text in seen["help"].items() if "--warmth" in text] == list(seen["help"])
    assert [name for name, text in seen["help"].items() if "--nicknames" in text] == ["worker"]
    assert "A number that a test made up." in seen["help"]["worker"]
    assert seen["refused"] == 2


def test_it_reaches_the_worker_and_through_a_parent_each_of_its_workers(seen: dict[str, Any]) -> None:
    assert "--warmth 30 --nicknames a --nicknames b" in " ".join(seen["argv"])
    assert seen["parsed"] == [[30, ["a", "b"], None], [30, ["a", "b"], 1]]


def test_it_reaches_the_trainer_where_it_is_marked_for_it(seen: dict[str, Any]) -> None:
    assert "--warmth 30" in " ".join(seen["trainer"]) and "--nicknames" not in seen["trainer"]
    assert seen["trained"] == [30, []]
