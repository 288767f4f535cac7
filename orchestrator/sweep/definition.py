"""How a sweep was asked for, as its record in the database keeps it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from hlbgpt_core.settings import specs
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.shapes import Axes, Range, Shape
from orchestrator.sweep.sweep_file import SweepFile

# The options of what a shape calls otherwise.
_OPTION_OF = {"zips": "zip", "random_draws": "random"}


def definition_of(plan: Plan, axes: Axes, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sweep's definition for its record; `options` are the given sweep options."""
    is_drawn = plan.shape.random_draws is not None
    return {
        "axes": {name: [stored_value(value) for value in values] for name, values in axes.items()},
        "base_arm": None if is_drawn else plan.arms[0].settings.changed(),
        "shape": plan.shape.to_dict(),
        "num_runs": plan.num_runs,
        "seed": plan.first_seed,
        "options": dict(options),
    }


def stored_shape(definition: Mapping[str, Any]) -> Shape:
    """The shape in a sweep's record."""
    return Shape.from_dict(definition.get("shape", {}))


def is_search(definition: Mapping[str, Any]) -> bool:
    """Whether a search chooses the sweep's arms."""
    return definition.get("options", {}).get("trials") is not None


def stored_axes(definition: Mapping[str, Any]) -> Axes:
    """The axes in a sweep's record."""
    return axes_of(definition.get("axes", {}), repeated=stored_shape(definition).zipped())


def swept_axes(definition: Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    """The axes in a sweep's record that have several values, or a range, as they are stored."""
    axes: Mapping[str, Sequence[Any]] = definition.get("axes", {})
    return {name: values for name, values in axes.items() if len(values) > 1 or _is_range(name, values[0])}


def _is_range(name: str, stored: Any) -> bool:
    return isinstance(stored, str) and name in specs() and specs()[name].type in (int, float)


def sweep_file_of(definition: Mapping[str, Any]) -> SweepFile:
    """The sweep file that makes a sweep of this record again."""
    options = {"num_runs": definition.get("num_runs", 1), "seed": definition.get("seed", 100)}
    options |= {_OPTION_OF.get(name, name): value for name, value in definition.get("shape", {}).items()}
    return SweepFile(settings=definition.get("axes", {}), options=options | definition.get("options", {}))


def stored_value(value: Any) -> Any:
    """A value of an axis as JSON and TOML hold it."""
    return str(value) if isinstance(value, Range) else value
