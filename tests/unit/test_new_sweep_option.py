"""Whoever adds a field to SweepOptions has added it to the command line, to sweep files and to `orchestrator.submit`.

The made-up option lives in a child process, so that nothing of it reaches the other tests.
"""

from typing import Any

import pytest

from tests.child_program import answer_of_child

CHILD = """
import dataclasses, inspect, json
from pathlib import Path
from orchestrator.sweep import sweep_options

made_up = sweep_options.option(
    3,
    *("--made_up_option", "-x"),
    panel=sweep_options.SWEEP,
    minimum=1,
    maximum=9,
    help="An option that a test made up.",
)
sweep_options.SweepOptions = dataclasses.make_dataclass(
    "SweepOptions", [("made_up_option", int, made_up)], bases=(sweep_options.SweepOptions,), frozen=True, kw_only=True
)

import orchestrator
from hlbgpt_core.errors import HlbqError
from orchestrator.cli.main import run_program
from orchestrator.store import OpenMode, open_store

Path("sweep.toml").write_text("[sweep]\\nmade_up_option = 6\\n")
Path("wrong.toml").write_text("[sweep]\\nmade_up_option = 'six'\\n")
lines = ["--made_up_option 5", "--made-up-option=5", "-x 5", "sweep.toml", "sweep.toml --made_up_option 7", ""]
codes = [run_program(["submit", *line.split()]) for line in lines]
wrong = ["--made_up_option 10", "--made_up_option x", "wrong.toml"]
refused = [run_program(["submit", *line.split()]) for line in wrong]
orchestrator.submit({}, made_up_option=8)
try:
    orchestrator.submit({}, made_up_option=10)
except HlbqError as error:
    refused.append(error.message)
with open_store(None, mode=OpenMode.READ) as store:
    stored = [sweep.definition["options"].get("made_up_option") for sweep in store.sweeps()]
print(json.dumps({
    "codes": codes,
    "refused": refused,
    "stored": stored,
    "signature": str(inspect.signature(orchestrator.submit).parameters["made_up_option"]),
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where the option `made_up_option` turned up."""
    return answer_of_child(CHILD, folder=tmp_path_factory.mktemp("made_up"))


def test_it_is_an_option_a_key_of_sweep_files_and_a_keyword(seen: dict[str, Any]) -> None:
    assert seen["codes"] == [0] * 6
    assert seen["stored"] == [5, 5, 5, 6, 7, None, 8]
    assert seen["signature"] == "made_up_option: int = 3"


def test_it_is_refused_by_its_limits_in_all_three(seen: dict[str, Any]) -> None:
    assert seen["refused"] == [2, 2, 2, "made_up_option: 10 is too large"]
