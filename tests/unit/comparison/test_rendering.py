"""A comparison as text."""

import pytest

from orchestrator.comparison.reporting.rendering import _p_value


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (None, ""),
        (0.0, "<0.001"),
        (0.0499, "0.050"),
        (0.05, "0.050"),
        (0.0502, ">0.050"),
        (0.0506, "0.051"),
        (1.0, "1.000"),
    ],
)
def test_a_p_value_looks_decided_only_where_it_is(p: float | None, text: str) -> None:
    assert _p_value(p) == text
