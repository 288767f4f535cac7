"""Bars, sparklines and durations."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.status.text import bar, sparkline
from orchestrator.wording.numbers import duration, short_count


@given(st.floats(-1, 2), st.integers(1, 80))
def test_a_bar_always_has_its_width(fraction: float, width: int) -> None:
    assert len(bar(fraction, width)) == width


def test_a_bar_fills_up() -> None:
    assert bar(0, 4) == "····" and bar(0.5, 4) == "██··" and bar(1, 4) == "████"


@example([1.7e308, -1.7e308], 2)
@example([0.0, 5e-324], 2)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)), st.integers(2, 40))
def test_a_sparkline_is_no_longer_than_its_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


def test_a_sparkline_shows_a_falling_curve_and_where_it_broke() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([2.0, math.nan, 1.0]) == "█!▁"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (-3600, "0 s"),
        (4.2, "4 s"),
        (90, "2 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (190_000, "2 d 4 h"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(812, "812"), (30_823, "30.8K"), (46_009_736, "46.0M"), (1.2e9, "1.2B")])
def test_counts(number: float, words: str) -> None:
    assert short_count(number) == words
