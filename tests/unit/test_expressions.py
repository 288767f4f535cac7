"""Expressions over settings: what they can say, and what they refuse before anything is evaluated."""

import sys
from typing import Any

import pytest

from hlbgpt_core.settings import defaults
from orchestrator.errors import PlanError
from orchestrator.sweep.expressions import MAX_CHARACTERS, Expression

VALUES: dict[str, Any] = {**defaults("0.4.1"), "depth": 8, "width": 384, "num_heads": 3}
VALUES |= {"num_params": 46_009_736, "num_non_embedding_params": 7_000_000}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width / num_heads >= 64", True),
        ("width / num_heads > 128", False),
        ("64 <= width // num_heads <= 128 and depth != 4", True),
        ("width in (192, 384) or depth in [4]", True),
        ("recipe == '0.4.1' and not linear_value", True),
        ("num_params < 50e6", True),
        ("depth ** 2 == 64", True),
        ("(width if depth > 4 else 0) % 5 == 4", True),
        ("-depth + 9 - 1 == 0 * lr_mult", True),
    ],
)
def test_what_an_expression_can_say(text: str, expected: bool) -> None:
    assert Expression(text).holds(VALUES) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("widht > 64", "Did you mean 'width'?"),
        ("head_size > 64", "no setting 'head_size'"),
        ("__import__('os').system('true') == 0", "calls can't be used"),
        ("open('x') == 1", "calls"),
        ("abs(width) > 1", "calls"),
        ("width.__class__ == 1", "attributes"),
        ("dataset.startswith('w')", "calls"),
        ("().__class__.__bases__ == 1", "attributes"),
        ("dataset[0] == 'w'", "indexing"),
        ("[x for x in (1, 2)] == 1", "comprehensions"),
        ("(lambda: 1) == 1", "functions"),
        ("(width := 3) == 3", "assignments"),
        ("f'{width:1000000000}' == ''", "formatted text"),
        ("1 << 1000000000 > 2", "can't be used"),
        ("width is 3", "can't be used"),
        ("width = 3", "not an expression"),
        ("depth; width", "not an expression"),
        ("", "not an expression"),
        ("width >", "not an expression"),
        ("\0", "not an expression"),
        ("None == width", "can't be compared"),
        ("(" * 400 + "1" + ")" * 400, "not an expression"),
        ("x" * (MAX_CHARACTERS + 1), "too many"),
        ("width > 1 and " * 10_000_000 + "True", "too many"),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_refused_when_it_is_read(text: str, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        Expression(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400, "a long expression is not repeated whole"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9**9**9 > 1", "too large"),
        ("10.0**400 > 1", "too large"),
        ("dataset * 10**9 == 1", "needs numbers"),
        ("'%1000000000d' % 1 == 1", "needs numbers"),
        ("depth / (num_heads - 3) > 1", "depth = 8, num_heads = 3"),
        ("width > 'a'", "not supported"),
        ("width", "not true or false"),
    ],
    ids=lambda text: text[:30],
)
def test_what_cannot_be_worked_out(text: str, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        Expression(text).holds(VALUES)
    assert words in str(caught.value)


def test_what_is_nested_too_deeply_cannot_be_worked_out() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's own: libraries that other tests load raise it
    try:
        with pytest.raises(PlanError):
            Expression("-" * 950 + "1 > 2").holds(VALUES)
    finally:
        sys.setrecursionlimit(before)
