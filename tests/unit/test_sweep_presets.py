"""The sweep files that come with hlbq: each can be read, says what it is for, and explains every line."""

import re
import tomllib

import pytest

from orchestrator.errors import UsageError
from orchestrator.sweep.plan import make_plan
from orchestrator.sweep.submission import given_axes
from orchestrator.sweep.sweep_file import preset_names, preset_path, preset_summary, preset_text, read_sweep_file


def test_there_is_one_for_a_small_cpu() -> None:
    assert "tiny-cpu" in preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_makes_one_arm_and_needs_no_download(name: str) -> None:
    file = read_sweep_file(str(preset_path(name)))
    assert len(make_plan(given_axes(file.settings)).arms) == 1
    assert file.settings["dataset"] == ["pystdlib"]
    assert file.options == {}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_explains_itself(name: str) -> None:
    text = preset_text(name)
    assert text.startswith(f"# {preset_summary(name)}\n")
    given = tomllib.loads(text)["settings"]
    assert [setting for setting in given if not re.search(rf"^{setting} = \S+ +# \w", text, re.MULTILINE)] == []


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        preset_path("tiny-cup")
    assert "Did you mean 'tiny-cpu'?" in str(caught.value) and "Use one of: " in str(caught.value)
    with pytest.raises(UsageError):
        preset_path("../presets/tiny-cpu")
