"""From settings and seeds to runs: what a sweep holds, what was left out, and why. Pure.

A sweep is the product of its axes (each setting's values) or another shape of them (shapes.py), and every arm gets the
same seeds. Combinations that cannot be trained, or that `where` excludes, are left out with the reason. Combinations
with the same resolved settings are one arm.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.scale import Sizes, check, resolve, unpadded_vocabulary_size
from hlbgpt_core.settings import DEFAULT_RECIPE, Settings, defaults, key_of_changed, specs
from orchestrator.errors import PlanError
from orchestrator.queue.sweeps import EverySeed, NewArm, NewRun
from orchestrator.sweep.expressions import Expression
from orchestrator.sweep.shapes import PRODUCT, Axes, Shape, combinations, count
from orchestrator.wording.numbers import counted

MAX_RUNS = 5_000_000
MAX_SEED = 2**63 - 1
# No host holds a millionth of such a microbatch.
MOST_CAPACITY = 1e12
SHOWN_REASONS = 5
# What another recipe has in the place of a setting.
_COUNTERPARTS: Mapping[str, str] = {"learning_rate": "lr_mult", "lr_mult": "learning_rate"}

# The settings that scale.py reads, which decide a combination's sizes; a test compares the two.
SIZED_BY = frozenset(
    "recipe model_scale depth width num_heads qk_dim_div expand_factor tokenizer max_sequence_length "
    "initial_sequence_length gpu_capacity_scalar num_eval_tokens eval_sequence_length test_tokens".split()
)


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """One combination of settings as it is trained, with its sizes and its key."""

    settings: Settings
    sizes: Sizes
    key: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A combination that cannot be trained or was excluded: its values, and why."""

    given: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep before it is stored. Run k (from 1) of every arm has seed `first_seed + k - 1`. `skipped` are runs, by
    arm key and seed, that are not made because they exist already."""

    arms: tuple[PlannedArm, ...]
    left_out: tuple[LeftOut, ...] = ()
    shape: Shape = PRODUCT
    skipped: frozenset[tuple[str, int]] = frozenset()
    duplicates: int = 0
    warnings: tuple[str, ...] = ()
    first_seed: int
    num_runs: int

    @property
    def total_runs(self) -> int:
        """How many runs the sweep holds."""
        return len(self.arms) * self.num_runs - len(self.skipped)

    def runs_of(self, arm: PlannedArm) -> int:
        """How many runs of the arm the sweep holds."""
        return sum((arm.key, seed) not in self.skipped for seed in self.seeds) if self.skipped else self.num_runs

    @property
    def seeds(self) -> range:
        """The seeds of every arm."""
        return range(self.first_seed, self.first_seed + self.num_runs)

    def new_arms(self) -> list[NewArm]:
        """The arms that have runs, as the store takes them."""
        return [
            NewArm(
                key=arm.key,
                settings=arm.settings.to_dict(),
                num_params=arm.sizes.num_params,
                num_non_embedding_params=arm.sizes.num_non_embedding_params,
            )
            for arm in self._arms_with_runs()
        ]

    def new_runs(self) -> Sequence[NewRun] | EverySeed:
        """The runs seed by seed: every arm's first seed comes before any arm's second."""
        if not self.skipped:
            return EverySeed(arms=len(self.arms), first_seed=self.first_seed, num_runs=self.num_runs)
        keys = [arm.key for arm in self._arms_with_runs()]
        return [
            NewRun(arm=arm, run_num=run_num, seed=seed)
            for run_num, seed in enumerate(self.seeds, start=1)
            for arm, key in enumerate(keys)
            if (key, seed) not in self.skipped
        ]

    def without(self, runs: Collection[tuple[str, int]]) -> "Plan":
        """The plan without those of these runs that are its own, by arm key and seed."""
        keys = {arm.key for arm in self.arms}
        return replace(self, skipped=frozenset(run for run in runs if run[0] in keys and run[1] in self.seeds))

    def _arms_with_runs(self) -> Sequence[PlannedArm]:
        return [arm for arm in self.arms if self.runs_of(arm)]

    def varying(self) -> tuple[str, ...]:
        """The settings that differ between arms, in the order of the fields."""
        values = [arm.settings.to_dict() for arm in self.arms]
        return tuple(name for name in specs() if len({row[name] for row in values}) > 1)

    def varying_given(self) -> tuple[str, ...]:
        """The settings that differ between the combinations, those left out among them."""
        trained = [arm.settings.to_dict() for arm in self.arms]
        given = [left.given for left in self.left_out]
        return tuple(name for one in given[:1] for name in one if len({row[name] for row in (*given, *trained)}) > 1)

    def reasons(self) -> Mapping[str, int]:
        """Every reason for leaving combinations out, with how many it left out."""
        return Counter(left.reason for left in self.left_out)


def make_plan(axes: Axes, *, shape: Shape = PRODUCT, num_runs: int = 1, first_seed: int = 100) -> Plan:
    """The combinations of `axes` that `shape` makes (typed values by setting; missing ones at the recipe's default),
    times the seeds.

    Arms are in the product's order; the last axis changes fastest. Raises PlanError if the shape does not fit the axes,
    depth and width contradict each other, nothing is left, or there are too many runs; SettingsError for an unknown
    tokenizer.
    """
    ordered = {name: axes[name] for name in specs() if name in axes}
    check_seeds(num_runs, first_seed)
    check_total(count(ordered, shape) * num_runs)
    for tokenizer in ordered.get("tokenizer", ()):
        unpadded_vocabulary_size(tokenizer)

    wheres = [Expression(text) for text in shape.where]
    arms: dict[str, PlannedArm] = {}
    left_out: list[LeftOut] = []
    duplicates = 0
    rounded: dict[int, int] = {}
    # Computed once for all combinations that differ only in settings that do not affect size.
    sizing = [name for name in ordered if name in SIZED_BY]
    sizes: dict[tuple[Any, ...], Sizes | SettingsError] = {}
    for given in combinations(ordered, shape):
        key = tuple(given[name] for name in sizing)
        if key not in sizes:
            sizes[key] = _checked_sizes(given)
        arm = _arm_or_reason(given, sizes[key], wheres)
        if isinstance(arm, str):
            left_out.append(LeftOut(given=given, reason=arm))
            continue
        if given.get("width", 0) >= 1 and given["width"] != arm.settings.width:
            rounded[given["width"]] = arm.settings.width
        duplicates += arm.key in arms
        arms.setdefault(arm.key, arm)
    if not arms:
        raise _nothing_left(left_out)
    return Plan(
        arms=tuple(arms.values()),
        left_out=tuple(left_out),
        shape=shape,
        duplicates=duplicates,
        warnings=_warnings(ordered, shape, duplicates, rounded),
        first_seed=first_seed,
        num_runs=num_runs,
    )


def first_arm(axes: Axes, shape: Shape) -> PlannedArm | None:
    """The first arm of the plan that `make_plan` makes, without making the others; None if the arms are drawn at
    random, or none can be trained."""
    if shape.random_draws is not None:
        return None
    ordered = {name: axes[name] for name in specs() if name in axes}
    wheres = [Expression(text) for text in shape.where]
    found = (arm_of(given, wheres) for given in combinations(ordered, shape))
    return next((arm for arm in found if isinstance(arm, PlannedArm)), None)


def arm_of(given: Mapping[str, Any], wheres: Sequence[Expression]) -> PlannedArm | str:
    """The arm of one combination of values by setting, or why it is left out. Raises PlanError as `make_plan` does."""
    return _arm_or_reason(given, _checked_sizes(given), wheres)


def _checked_sizes(given: Mapping[str, Any]) -> Sizes | SettingsError:
    _check_depth_and_width(given)
    known, recipe = specs(), given.get("recipe", DEFAULT_RECIPE)
    unused = [name for name in given if recipe not in known[name].recipes]
    if unused:
        verb = "is not a setting" if len(unused) == 1 else "are not settings"
        instead = "".join(f"; use {_COUNTERPARTS[name]}" for name in unused if name in _COUNTERPARTS)
        return SettingsError(f"{', '.join(unused)} {verb} of recipe {recipe}{instead}")
    if (scalar := given.get("gpu_capacity_scalar", 1.0)) > MOST_CAPACITY:
        return SettingsError(f"gpu_capacity_scalar {scalar:g} is too large: use at most {MOST_CAPACITY:g}")
    try:
        return check(resolve(Settings(**{**defaults(recipe), **given})))
    except SettingsError as error:
        return error


def _arm_or_reason(
    given: Mapping[str, Any], found: Sizes | SettingsError, wheres: Sequence[Expression]
) -> PlannedArm | str:
    if isinstance(found, SettingsError):
        return found.message
    arm = _arm(given, found)
    for where in wheres:
        sizes = {"num_params": found.num_params, "num_non_embedding_params": found.num_non_embedding_params}
        if not where.holds(arm.settings.to_dict() | sizes):
            return f"--where '{where.text}' is not true"
    return arm


def _arm(given: Mapping[str, Any], found: Sizes) -> PlannedArm:
    """The arm of one combination, resolved as scale.resolve does, from known sizes."""
    base = defaults(given.get("recipe", DEFAULT_RECIPE))
    set_here = {**given, "depth": found.depth, "width": found.width, "model_scale": found.model_scale}
    changed = {name: value for name, value in set_here.items() if value != base[name]}
    return PlannedArm(settings=Settings.of_checked({**base, **set_here}), sizes=found, key=key_of_changed(changed))


def check_seeds(num_runs: int, first_seed: int) -> None:
    """Raise PlanError for seeds that are none."""
    if num_runs < 1:
        raise PlanError(f"num_runs {num_runs} is too small", "Use --num_runs 1 or more.")
    last_seed = first_seed + num_runs - 1
    wrong = first_seed if first_seed < 0 else last_seed
    if not 0 <= wrong <= MAX_SEED:
        raise PlanError(f"seed {wrong} is out of range", f"Seeds are 0 to {MAX_SEED}.")


def check_total(total: int) -> None:
    """Raise PlanError for more runs than a sweep holds."""
    if total > MAX_RUNS:
        raise PlanError(
            f"this expands to {total:,} runs, and a sweep holds at most {MAX_RUNS:,}",
            "Give fewer values, or split it into several sweeps.",
        )


def _check_depth_and_width(given: Mapping[str, Any]) -> None:
    """An error, not a reason to leave an arm out: setting only one of the two is a mistake."""
    known = specs()
    depth, width = (given.get(name, known[name].default) for name in ("depth", "width"))
    if (depth < 1) != (width < 1):
        raise PlanError(
            f"depth {depth} with width {width}: set both or neither, in every combination",
            "Give --depth and --width together, all values 1 or more, or set the size with --model_scale.",
        )


def _warnings(axes: Axes, shape: Shape, duplicates: int, rounded: Mapping[int, int]) -> tuple[str, ...]:
    warnings = [f"width {given} becomes {width}: widths are multiples of 64" for given, width in rounded.items()]
    drawn = count(axes, shape)
    if shape.random_draws is not None and drawn < shape.random_draws:
        there = counted(drawn, "different combination")
        warnings.append(f"--random {shape.random_draws:,} draws more than there is: {there}")
    if "model_scale" in axes and any(depth >= 1 for depth in axes.get("depth", ())):
        warnings.append("model_scale has no effect when depth and width are set")
    if duplicates:
        noun = "combination comes" if duplicates == 1 else "combinations come"
        warnings.append(f"{duplicates:,} {noun} to the same settings as another, and count once")
    return tuple(warnings)


def _nothing_left(left_out: Sequence[LeftOut]) -> PlanError:
    reasons = list(dict.fromkeys(left.reason for left in left_out))
    lines = [f"  {reason}" for reason in reasons[:SHOWN_REASONS]]
    if len(reasons) > SHOWN_REASONS:
        lines.append(f"  and {len(reasons) - SHOWN_REASONS} other reasons")
    return PlanError(
        f"no combination of these settings is left ({len(left_out)} left out)", "\n".join(["Why:", *lines])
    )
