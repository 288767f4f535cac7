"""Options from the fields of Settings, and what was typed as axes."""

import pytest

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import parse_value, specs
from orchestrator.cli.sweep_options import GivenSettings
from orchestrator.sweep.options import PANELS, axes_of, default_text, option_help, value_text


def test_every_setting_is_an_option_once() -> None:
    assert [parameter.name for parameter in GivenSettings.option_parameters("submit")] == list(specs())


def test_panels_name_only_settings_that_exist() -> None:
    named = [name for names in PANELS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) <= set(specs())


def test_values_are_typed_and_each_counts_once() -> None:
    given = {"depth": ("4", "8", "4"), "lr_mult": ("1e-4",), "linear_value": ("0", "1", "2", "3"), "width": ()}
    assert axes_of(given) == {"depth": (4, 8), "lr_mult": (1e-4,), "linear_value": (False, True)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num_heads", "0"),
        ("lr_mult", "nan"),
        ("lr_mult", "-1"),
        ("max_steps", "1e400"),
        ("depth", "4.5"),
        ("recipe", "1"),
    ],
)
def test_refusals_are_those_of_parse_value(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as direct:
        parse_value(specs()[name], text)
    with pytest.raises(SettingsError) as through_options:
        axes_of({name: (text,)})
    assert str(through_options.value) == str(direct.value)
    assert text in str(direct.value)


@pytest.mark.parametrize("name", ["depth", "dataset", "tokenizer"])
def test_an_empty_value_is_called_empty(name: str) -> None:
    for texts in ([""], ["", "4"]):
        with pytest.raises(SettingsError, match=f"{name}: the value is empty") as caught:
            axes_of({name: texts})
        assert "for instance" in caught.value.hint and "spaces" not in caught.value.hint
    with pytest.raises(SettingsError) as caught:
        axes_of({"depth": [","]})
    assert "spaces" not in caught.value.hint


def test_help_tells_default_choices_and_recipe() -> None:
    text = option_help(specs()["position_distance"])
    assert "choices: released, exact" in text
    assert "default: released" in text
    assert "recipe 0.4.1 only" in option_help(specs()["linear_value"])
    assert default_text(specs()["weight_decay"]) == "16 for 0.4.1, 0.03 for 0.3.0"


@pytest.mark.parametrize("spec", specs().values(), ids=str)
def test_values_are_shown_as_they_can_be_typed_again(spec: object) -> None:
    assert parse_value(spec, value_text(spec.default)) == spec.default


def test_numbers_keep_all_their_digits() -> None:
    assert value_text(0.1 + 0.2) == "0.30000000000000004"
    assert value_text(1_234_567) == "1234567"
    assert value_text(10**9) == "1e9"
