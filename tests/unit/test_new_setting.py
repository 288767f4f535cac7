"""Whoever adds a field to Settings has added an option, an axis, JSON, a CSV column and a row of the reference.

The made-up field lives in a child process, so that nothing of it reaches the other tests.
"""

from typing import Any

import pytest

from tests.child_program import answer_of_child

CHILD = """
import dataclasses, json, sys
from hlbgpt_core import settings as core

old = core.Settings
old_keys = [old.from_dict({}).key(), old.from_dict({"depth": 4, "width": 192}).key()]
made_up = core.setting(0.5, above=0, unit="degrees", help="A field that a test made up.")
core.Settings = dataclasses.make_dataclass(
    "Settings", [("warmth", float, made_up)], bases=(old,), frozen=True, kw_only=True
)

from orchestrator.sweep import plan
plan.Settings = core.Settings
from orchestrator.export.columns import run_columns
from orchestrator.cli.sweep_options import GivenSettings
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.settings_reference import settings_reference
from orchestrator.store import OpenMode, open_store
from orchestrator.queue.runs import RunFilter
from orchestrator.cli.main import run_program

code = run_program(["submit", "--db", "made-up.db", "--warmth", "0.25", "0.5", "--num_heads", "1"])
with open_store("made-up.db", mode=OpenMode.READ) as store:
    stored = [dict(run.settings) for run in store.runs(RunFilter())]
    found = [run.settings["warmth"] for run in store.runs(RunFilter(where={"warmth": 0.25}))]
refused = run_program(["submit", "--db", "made-up.db", "--warmth", "-1"])

print(json.dumps({
    "code": code,
    "refused": refused,
    "options": [parameter.name for parameter in GivenSettings.option_parameters("submit")],
    "axes": {name: list(values) for name, values in axes_of({"warmth": ["0.25", "1e-1"]}).items()},
    "stored": [settings["warmth"] for settings in stored],
    "found": found,
    "columns": [column.name for column in run_columns()],
    "reference": settings_reference(),
    "old_keys": old_keys,
    "new_keys": [core.Settings.from_dict({}).key(), core.Settings.from_dict({"depth": 4, "width": 192}).key()],
    "read_before_it_existed": core.Settings.from_dict({"depth": 4, "width": 192}).to_dict()["warmth"],
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Where the made-up setting `warmth` turned up."""
    return answer_of_child(CHILD, folder=tmp_path_factory.mktemp("made_up"))


def test_it_is_an_option_and_an_axis(seen: dict[str, Any]) -> None:
    assert "warmth" in seen["options"]
    assert seen["axes"] == {"warmth": [0.25, 0.1]}
    assert seen["refused"] == 2


def test_it_is_swept_stored_and_found_again(seen: dict[str, Any]) -> None:
    assert seen["code"] == 0
    assert sorted(seen["stored"]) == [0.25, 0.5]
    assert seen["found"] == [0.25]


def test_it_is_a_column_and_a_row_of_the_reference(seen: dict[str, Any]) -> None:
    assert "warmth" in seen["columns"]
    assert "| `warmth` | number, above 0 | 0.5 | degrees | all | A field that a test made up. |" in seen["reference"]


def test_it_changes_no_key_and_older_runs_read_as_its_default(seen: dict[str, Any]) -> None:
    assert seen["new_keys"] == seen["old_keys"]
    assert seen["read_before_it_existed"] == 0.5
