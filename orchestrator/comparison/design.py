"""What a sweep's definition fixes before any run: its arms, its baseline, and how many members each family of tests
has."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlbgpt_core.settings import specs
from orchestrator.comparison.judging.effects import Factor, cell_of, cells_of_effects, factors_of
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.baseline import baseline_of, restricted, with_zipped
from orchestrator.sweep.definition import is_search, stored_shape
from orchestrator.sweep.options import with_defaults
from orchestrator.sweep.shapes import PRODUCT, Shape


@dataclass(frozen=True, kw_only=True)
class Design:
    """The arms of the sweeps compared, as stored: `arms` are their values of the settings `names`, in which they
    differ.

    `baseline` is the sweep's own, empty where there is none: of several sweeps, and of one that was drawn at random.
    Of several sweeps there is no `first_seed` either.
    """

    sweeps: Sequence[int]
    arms: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    baseline: Mapping[str, Any]
    shape: Shape
    is_search: bool = False
    first_seed: int | None = None

    def factors(self, baseline: Mapping[str, Any]) -> Sequence[Factor]:
        """The factors, with their levels at `baseline`."""
        return factors_of(self.arms, self.names, {**self.baseline, **baseline})

    @property
    def why_not_factorial(self) -> str:
        """What the arms are instead, in words; empty for a factorial sweep: two factors or more, combined."""
        if len(self.sweeps) != 1:
            return "runs of several sweeps are not a factorial sweep"
        if self.shape.one_at_a_time:
            return f"sweep {self.sweeps[0]} changes one setting at a time, and is not factorial"
        if self.shape.random_draws is not None:
            return f"sweep {self.sweeps[0]} was drawn at random, and is not factorial"
        if self.is_search:
            return f"a search chose the arms of sweep {self.sweeps[0]}, and it is not factorial"
        factors = self.factors({})
        if len(factors) < 2:
            differ = f"differ in {factors[0].label} alone" if factors else "do not differ"
            return f"the arms of sweep {self.sweeps[0]} {differ}, so it is not factorial"
        has_effects = self.effects(factors, 1)
        return "" if has_effects else f"no two arms of sweep {self.sweeps[0]} differ in one setting"

    def effects(self, factors: Sequence[Factor], order: int) -> int:
        """How many main effects (`order` 1) or interactions (2) the sweep has."""
        return len(cells_of_effects({cell_of(arm, factors) for arm in self.arms}, factors, order))

    def contrasts(self, by: Sequence[str], baseline: Mapping[str, Any], *, but: str = "") -> int:
        """How many groups of the sweep have a baseline: by the settings `by` (empty: those that differ), but not `but`.
        0 where groups are told apart by more than settings."""
        names = [name for name in by or self.names if name != but]
        if any(name not in specs() for name in names):
            return 0
        groups = {tuple(arm.get(name) for name in names) for arm in self.arms}
        return counterparts(groups, names, baseline)


def counterparts(arms: Collection[tuple[Any, ...]], names: Sequence[str], baseline: Mapping[str, Any]) -> int:
    """How many arms (their values of the settings `names`) have another one at the baseline, like them otherwise."""
    others = {arm: tuple(map(baseline.get, names, arm)) for arm in arms}
    return sum(other in others and other != arm for arm, other in others.items())


def design_of(store: Store, sweep_ids: Sequence[int]) -> Design:
    """The design of sweeps that are stored."""
    arms = [with_defaults(arm.settings) for sweep_id in sweep_ids for arm in store.arms(sweep_id)]
    names = differing_settings(arms)
    sweep = store.sweep(sweep_ids[0]) if len(sweep_ids) == 1 else None
    shape = PRODUCT if sweep is None else stored_shape(sweep.definition)
    baseline = {} if sweep is None else with_zipped(baseline_of(sweep.definition), arms, shape.zips)
    return Design(
        sweeps=tuple(sweep_ids),
        arms=arms,
        names=names,
        baseline=restricted(baseline, names),
        shape=shape,
        is_search=sweep is not None and is_search(sweep.definition),
        first_seed=None if sweep is None else sweep.definition.get("seed"),
    )
