"""Expressions over settings, for `hlbq submit --where "width / num_heads >= 64"`.

simpleeval evaluates them; this module narrows first what it may see: numbers, texts,
names of settings, arithmetic on numbers, comparisons, `and`, `or`, `not`, `in`. No calls, no attributes, no
indexing, no comprehensions. Powers are taken in floats, so none grows without bound.
"""

import ast
import difflib
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hlbgpt_core.settings import specs
from orchestrator.errors import PlanError

if TYPE_CHECKING:
    from simpleeval import SimpleEval

MAX_CHARACTERS = 1_000
# What an expression may name in addition to settings.
SIZE_NAMES = ("num_params", "num_non_embedding_params")

_EXAMPLE = 'For instance: --where "width / num_heads >= 64", or --where "depth == 8"'
_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Call: "calls",
    ast.Attribute: "attributes (a dot after a name)",
    ast.Subscript: "indexing",
    ast.Lambda: "functions",
    ast.NamedExpr: "assignments",
    ast.JoinedStr: "formatted text",
    ast.ListComp: "comprehensions",
    ast.SetComp: "comprehensions",
    ast.DictComp: "comprehensions",
    ast.GeneratorExp: "comprehensions",
}
_ALLOWED = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List, ast.Compare, ast.cmpop, ast.IfExp),
    *(ast.BoolOp, ast.boolop, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.operator),
)


@dataclass(frozen=True)
class Expression:
    """One checked expression; `text` is as it was typed."""

    text: str

    def __post_init__(self) -> None:
        """Raise PlanError for anything that is not an expression, names no setting, or could do more than compare
        values."""
        _check_names(self.text, _parsed(self.text))

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true for an arm's `values` (settings and SIZE_NAMES, by name). Raises PlanError if it cannot be
        evaluated, or is neither true nor false."""
        from simpleeval import InvalidExpression

        try:
            self._evaluator.names = values
            result = self._evaluator.eval(self.text, previously_parsed=self._tree)
        except (ArithmeticError, TypeError, ValueError, RecursionError, InvalidExpression) as error:
            raise PlanError(f"--where '{self.text}': {error}", _with_values(self._tree, values)) from None
        if not isinstance(result, bool):
            raise PlanError(f"--where '{self.text}' gives {result!r}, not true or false", f"Compare it. {_EXAMPLE}")
        return result

    @cached_property
    def _tree(self) -> ast.expr:
        return _parsed(self.text)

    @cached_property
    def _evaluator(self) -> "SimpleEval":
        from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes

        return EvalWithCompoundTypes(operators=DEFAULT_OPERATORS | _NUMBER_OPERATORS, functions={})


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_CHARACTERS:
        raise PlanError(f"--where: {len(text):,} characters are too many", f"Use at most {MAX_CHARACTERS:,}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `width is 3` is refused below, with our own message
            tree = ast.parse(text.strip(), mode="eval")
        for node in ast.walk(tree):
            _check_node(text, node)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        too_deep = isinstance(error, RecursionError | MemoryError)
        reason = "it is nested too deeply" if too_deep else getattr(error, "msg", error)
        raise PlanError(f"--where '{_short(text)}' is not an expression: {reason}", _EXAMPLE) from None
    return tree.body


def _check_node(text: str, node: ast.AST) -> None:
    if not isinstance(node, _ALLOWED) or isinstance(node, ast.Is | ast.IsNot | ast.MatMult | ast.LShift | ast.RShift):
        what = _REFUSED.get(type(node), f"'{type(node).__name__}'")
        raise PlanError(f"--where '{_short(text)}': {what} can't be used", f"Compare settings. {_EXAMPLE}")
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
        raise PlanError(f"--where '{_short(text)}': {node.value!r} can't be compared with a setting", _EXAMPLE)


def _check_names(text: str, tree: ast.expr) -> None:
    known = (*specs(), *SIZE_NAMES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            near = difflib.get_close_matches(node.id, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "See all names: hlbq submit --help; quote texts: 'gpt2'."
            raise PlanError(f"--where '{_short(text)}': there is no setting '{node.id}'", hint)


def _with_values(tree: ast.expr, values: Mapping[str, Any]) -> str:
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    return "With " + ", ".join(f"{name} = {values[name]}" for name in names) + "." if names else ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _of_numbers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` for numbers only: on a text, `*` repeats and `%` pads until memory runs out."""

    def applied(left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError("arithmetic needs numbers on both sides")
        return function(left, right)

    return applied


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        raise OverflowError(f"{base} ** {exponent} is too large") from None


_NUMBER_OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: _of_numbers(operator.add),
    ast.Sub: _of_numbers(operator.sub),
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: _of_numbers(operator.truediv),
    ast.FloorDiv: _of_numbers(operator.floordiv),
    ast.Mod: _of_numbers(operator.mod),
    ast.Pow: _of_numbers(_power),
}
