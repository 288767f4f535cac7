"""The command that repeats a run, read back by the command line itself."""

import json
import shlex
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.scale import check, resolve
from hlbgpt_core.settings import Settings
from orchestrator.cli.main import run_program
from orchestrator.sweep.options import repeat_command

changes = st.fixed_dictionaries(
    {"recipe": st.sampled_from(["0.4.1", "0.3.0"])},
    optional={
        "model_scale": st.floats(0.5, 4.0),
        "num_heads": st.sampled_from([1, 3]),
        "max_sequence_length": st.sampled_from([256, 512, 1024]),
        "max_steps": st.integers(1, 10**12),
        "max_epochs": st.floats(1e-9, 1e9),
        "max_time_seconds": st.floats(1e-3, 1e300),
        "weight_decay": st.floats(0, 100),
        "precision": st.sampled_from(["auto", "float64"]),
        "tokenizer": st.sampled_from(["bytes", "gpt2", "bpe:8192"]),
        "dataset": st.sampled_from(["pystdlib", "hf:some/thing:part", "text:/a b/../it's $HOME; `x` 1..2/*.txt"]),
    },
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=changes, linear_value=st.booleans(), seed=st.integers(0, 2**62))
@example(values={"recipe": "0.4.1"}, linear_value=False, seed=1_000_000)
@example(values={"recipe": "0.4.1"}, linear_value=False, seed=2**62)
def test_it_comes_to_the_same_arm_with_the_same_seed(
    values: dict[str, Any],
    linear_value: bool,
    seed: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if values["recipe"] == "0.4.1":
        values = {**values, "linear_value": linear_value}
    arm = resolve(Settings.from_dict(values))
    try:
        check(arm)
    except SettingsError:
        return  # such an arm is never queued
    monkeypatch.setattr(sys, "stdin", None)
    # A text: path that is not on this host passes only where the workers are elsewhere.
    monkeypatch.setenv("HLBQ_DB", "postgresql://127.0.0.1:9/hlbq")
    words = shlex.split(repeat_command(arm.to_dict(), seed))
    assert words[:2] == ["hlbq", "submit"]
    code = run_program([*words[1:], "--dry-run", "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    planned = json.loads(printed.out)
    assert [one["key"] for one in planned["arms"]] == [arm.key()]
    assert (planned["runs"], planned["seed"]) == (1, seed)
