"""Settings as values: from a dictionary and back, defaults by recipe, keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import Settings, specs


def test_defaults_are_the_recipes_own() -> None:
    assert Settings.from_dict({}) == Settings()
    old = Settings.from_dict({"recipe": "0.3.0"})
    assert (old.max_sequence_length, old.sequence_growth_steps, old.num_heads) == (512, 195, 3)
    assert old.changed() == {"recipe": "0.3.0"}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "lr_mult": st.floats(1e-6, 1e6),
            "depth": st.integers(1, 100),
            "linear_value": st.booleans(),
            "max_steps": st.integers(1, 10**12),
            "recipe": st.sampled_from(["0.4.1", "0.3.0"]),
        },
    )
)
def test_to_dict_and_back(values: dict[str, object]) -> None:
    settings = Settings.from_dict(values)
    assert Settings.from_dict(settings.to_dict()) == settings
    assert all(getattr(settings, name) == value for name, value in values.items())


def test_a_value_at_its_default_changes_no_key() -> None:
    assert Settings.from_dict({"lr_mult": 2.62}).key() == Settings().key()
    assert Settings.from_dict({"lr_mult": 2.6}).key() != Settings().key()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dept": 3}, "Did you mean 'depth'"),
        ({"lr_mult": "nan"}, "not a finite number"),
        ({"lr_mult": "1e400"}, "not a finite number"),
        ({"num_heads": 0}, "too small"),
        ({"depth": 2.5}, "not a whole number"),
        ({"depth": "x"}, "for instance 4."),
        ({"lr_mult": "x"}, "for instance 2.62."),
        ({"position_distance": "exakt"}, "Did you mean 'exact'"),
    ],
)
def test_bad_values_are_refused_with_the_value(values: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_dict(values)
    assert said in str(caught.value)


def test_every_setting_has_a_help_text() -> None:
    assert all(spec.help.endswith(".") for spec in specs().values())
