"""The baseline of a sweep: the arm, or the values of some settings, that the other arms are compared with. Pure."""

import difflib
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.settings import DEFAULT_RECIPE, Settings, defaults, specs
from orchestrator.errors import UsageError
from orchestrator.sweep.definition import stored_axes, stored_shape
from orchestrator.sweep.options import setting_name, sought_value, value_text
from orchestrator.sweep.plan import Plan, first_arm
from orchestrator.sweep.shapes import Axes, Shape, tracks_of


def baseline_of(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The baseline of a sweep by its stored definition, as values by setting; empty if it has none.

    What --baseline named, else all settings of the base arm: the first value of each axis (or the first arm that can
    be trained). A sweep of random draws has no base arm. Readers use the settings by which they tell arms apart.
    """
    named = definition.get("options", {}).get("baseline", ())
    if named:
        return parse_baseline(named)
    return Settings.from_dict(base).to_dict() if (base := base_arm_of(definition)) else {}


def base_arm_of(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of the base arm that are not at their default, for the record; None if there is no such arm. A sweep
    that was stored before it was recorded gets it from its axes, if this program still reads them."""
    if "base_arm" in definition:
        return definition["base_arm"]  # type: ignore[no-any-return]  # from JSON
    try:
        arm = first_arm(stored_axes(definition), stored_shape(definition)) if "axes" in definition else None
    except HlbqError:
        return None
    return arm.settings.changed() if arm else None


def parse_baseline(texts: Sequence[str], known: Callable[[str], str] = setting_name) -> Mapping[str, Any]:
    """`["depth=8"]` as values by name; what is not a setting stays text. `known` checks a name. Raises UsageError
    without a value, SettingsError for a value out of range."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(
                f"--baseline {text}: no value", f"Write --baseline {name if name.isidentifier() else 'depth'}=VALUE."
            )
        name, wanted = known(name), value.strip()
        if name in specs():
            wanted = sought_value(name, wanted)
        if found.setdefault(name, wanted) != wanted:
            raise UsageError(
                f"--baseline names {name} twice: {value_text(found[name])} and {value_text(wanted)}",
                "There is one baseline: keep one of them.",
            )
    return found


def with_zipped(
    baseline: Mapping[str, Any], arms: Collection[Mapping[str, Any]], zips: Iterable[Sequence[str]]
) -> Mapping[str, Any]:
    """The baseline, of `depth=2` also the width that is zipped with it: that of the first of the arms of that depth."""
    found = dict(baseline)
    for names in zips:
        named = {name: baseline[name] for name in names if name in baseline}
        arm = next((arm for arm in arms if named.items() <= arm.items()), None) if named else None
        if arm is not None:
            found |= {name: arm[name] for name in names}
    return found


def check_baseline(baseline: Mapping[str, Any], plan: Plan) -> None:
    """Raise UsageError, naming the nearest arm's values, for a baseline that no arm of the plan has."""
    arms = [{name: getattr(arm.settings, name) for name in baseline} for arm in plan.arms]
    if baseline in arms:
        return
    nearest = min(arms, key=lambda arm: _distance(arm, baseline))
    raise UsageError(
        f"--baseline {baseline_text(baseline)}: no arm of the sweep has that",
        f"The nearest is --baseline {baseline_text(nearest)}",
    )


def search_start(axes: Axes, shape: Shape, baseline: Mapping[str, Any]) -> Axes:
    """The one value of each axis with which a search begins: its baseline.

    That is what `baseline` names; else a list's first value, and of a range the default, or its middle where the range
    does not hold that. Raises UsageError for a baseline that the search does not reach, and for nothing to search.
    """
    tracks = tracks_of(axes, shape)
    if all(track.count() == 1 for track in tracks):
        raise UsageError("--trials: there is nothing to search", "Give a setting a range or values: --lr_mult 0.5..8")
    found: dict[str, Any] = {}
    for track in sorted(tracks, key=lambda one: one.range is not None):  # the recipe before defaults of its settings
        if track.range is None:
            fitting = [
                choice
                for choice in track.choices
                if all(baseline.get(name, value) == value for name, value in zip(track.names, choice, strict=True))
            ]
            if not fitting:
                raise _unreached(baseline, track.names)
            found |= zip(track.names, fitting[0], strict=True)
        else:
            name, low, high = track.names[0], track.range.low, track.range.high
            default = defaults(found.get("recipe", DEFAULT_RECIPE))[name]
            found[name] = baseline.get(name, default if low <= default <= high else track.range.at(0.5))
            if not low <= found[name] <= high:
                raise _unreached(baseline, track.names)
    return {name: (found[name],) for name in axes}


def _unreached(baseline: Mapping[str, Any], names: Iterable[str]) -> UsageError:
    return UsageError(
        f"--baseline {baseline_text(restricted(baseline, names))}: the search does not reach that",
        "Name a value that it may try, or let it try more values.",
    )


def baseline_text(baseline: Mapping[str, Any]) -> str:
    """`depth=8 width=192`, as it is typed in a shell."""
    return shlex.join(baseline_texts(baseline))


def baseline_texts(baseline: Mapping[str, Any]) -> list[str]:
    """The values by name as `parse_baseline` reads them."""
    return [f"{name}={value_text(value)}" for name, value in baseline.items()]


def _distance(arm: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[int, float]:
    """How many values differ, then by how much."""
    differing = [name for name, value in wanted.items() if arm[name] != value]
    return len(differing), sum(_apart(arm[name], wanted[name]) for name in differing)


def _apart(one: Any, other: Any) -> float:
    """From 0 (the same) to 1."""
    if isinstance(one, str) or isinstance(other, str):
        return 1 - difflib.SequenceMatcher(None, str(one), str(other)).ratio()
    return float(abs(one - other) / max(abs(one), abs(other), 1e-12))


def restricted(baseline: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The baseline's values of these settings."""
    return {name: baseline[name] for name in names if name in baseline}
