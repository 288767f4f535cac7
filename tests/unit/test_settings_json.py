"""The JSON of many arms' settings, of which each value is written once."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.base import to_json
from orchestrator.store.changing.sweeps import SettingsJson

# Some that Python takes for equal and JSON does not.
VALUES = st.sampled_from([0, 0.0, -0.0, False, 1, 1.0, True, "1", 'a "b"', "é", None]) | st.floats(allow_nan=False)
SETTINGS = st.dictionaries(st.sampled_from(["depth", "lr_mult", "dataset"]), VALUES)


@given(st.lists(SETTINGS, max_size=6))
def test_it_is_that_of_each_arm_alone(arms: list[dict[str, Any]]) -> None:
    settings_json = SettingsJson()
    assert [settings_json(settings) for settings in arms] == [to_json(settings) for settings in arms]
