"""Numbers for people."""

import pytest

from orchestrator.wording.numbers import measured_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.68, "2.6800"),
        (0.03718, "0.037180"),
        (226312.4, "226,312"),
        (35854.2, "35,854"),
        (1234.56, "1,234.6"),
        (3.0, "3"),
        (0.0, "0"),
        (-1e-7, "-1.0000e-07"),
    ],
)
def test_measured_numbers_keep_their_digits(value: float, text: str) -> None:
    assert measured_text(value) == text


def test_signs_are_shown_where_wanted() -> None:
    assert measured_text(0.5, signed=True) == "+0.50000" and measured_text(-35854.2, signed=True) == "-35,854"
