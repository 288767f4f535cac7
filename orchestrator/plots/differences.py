"""From a question to its figure: the comparison is made, along training too if that is to be shown, and drawn."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy

from orchestrator.comparison.judging.bounds import VILLE
from orchestrator.comparison.judging.contrasts import Contrast
from orchestrator.comparison.judging.policy import policy_of
from orchestrator.comparison.measuring.measures import PointChoice
from orchestrator.comparison.questions import Question
from orchestrator.comparison.results import Comparison, compare
from orchestrator.comparison.statistics import paired_difference
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import axis_of
from orchestrator.plots.cautions import over_another
from orchestrator.plots.curve_sets import ArmCurve, arm_curves, averaged, common_x
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.difference_figures import (
    ContrastsAt,
    DifferenceDrawing,
    draw_by_seed,
    draw_difference_curves,
    draw_forest,
)
from orchestrator.plots.drawing.style import lettering
from orchestrator.plots.figures import Drawn
from orchestrator.plots.reading import Source
from orchestrator.plots.run_curves import RunCurve, newest_of_each_seed, unfinished
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store
from orchestrator.sweep.baseline import baseline_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# At most so many places along training: each is a comparison of its own.
_MOST_MOMENTS = 24


def plot_differences(store: Store, question: Question, drawing: DifferenceDrawing, runs: RunFilter) -> Drawn:
    """The differences that answer `question`, drawn. Nothing is written: who shows the figure records the look.

    Raises as `compare`, and ExportError where nothing is held against a baseline.
    """
    question = replace(question, arms=not drawing.effects, effects=drawing.effects)
    comparison = compare(store, runs, question)
    shown = _of_one_kind(comparison, effects=drawing.effects)
    if not shown.all_contrasts:
        if len(comparison.groups) < 2:
            raise ExportError("there is no difference to draw: there is one arm", "hlbq plot draws its curves.")
        why = f" ({'; '.join(comparison.warnings)})" if comparison.warnings else ""
        first = baseline_text(comparison.groups[0].values)
        raise ExportError(f"there is no difference from a baseline to draw{why}", f"Name one: --baseline {first}")
    if drawing.by_seed and max(len(one.pairs.differences) for one in shown.all_contrasts) < 2:
        raise ExportError("--x seeds: no arm has two pairs yet", "See what there is: hlbq compare")
    with lettering(drawing.size):
        if drawing.by_seed:
            figure = draw_by_seed(shown, _after_each_pair(shown, _evidence(store, comparison)), drawing)
        elif drawing.along is not None:
            figure = _along(store, question, shown, drawing.along, runs)
        else:
            figure = draw_forest(shown, drawing)
    arms, said = len(shown.all_contrasts), comparison.warnings
    return Drawn(figure=figure, arms=arms, runs=comparison.runs, warnings=said, comparison=comparison)


def _evidence(store: Store, comparison: Comparison) -> Callable[[Contrast, int], float]:
    """That by which a contrast's interval after so many pairs is: of the sweep's policy, if the verdict is its."""
    record = store.policy(comparison.sweeps[0]) if comparison.rule else None
    policy = None if record is None else policy_of(record)

    def needed(contrast: Contrast, pairs: int) -> float:
        if policy is None or {*policy.arms}.isdisjoint(contrast.arms):
            return VILLE.evidence(1)
        return policy.evidence_of_interval(pairs)

    return needed


def _after_each_pair(comparison: Comparison, evidence: Callable[[Contrast, int], float]) -> list[ContrastsAt]:
    """The contrasts as they were after each pair, in the order of seeds."""
    contrasts = comparison.all_contrasts
    values = [[value for _, value in sorted(one.pairs.differences.items())] for one in contrasts]

    def after(one: Contrast, differences: Sequence[float]) -> Contrast:
        difference = paired_difference(differences, evidence=evidence(one, len(differences)))
        return replace(one, finding=replace(one.finding, difference=difference))

    return [
        ContrastsAt(
            x=pairs,
            contrasts=[
                after(one, own[:pairs]) for one, own in zip(contrasts, values, strict=True) if len(own) >= pairs
            ],
        )
        for pairs in range(2, max(map(len, values)) + 1)
    ]


def _along(store: Store, question: Question, comparison: Comparison, drawing: Drawing, runs: RunFilter) -> "Figure":
    read = newest_of_each_seed(Source(place=store, runs=runs).curves(drawing.metric, drawing.x))
    found = [run for run in read if len(run.x)]
    moments, axis = [], axis_of(drawing.x)
    for x in _places(found) if found else ():
        at = compare(store, runs, replace(question, moment=PointChoice.AT, axis=axis, place=x))
        moments.append(ContrastsAt(x=x, contrasts=_of_one_kind(at, effects=question.effects).all_contrasts))
    if found and not moments:
        why = f"--x {drawing.x}: at no place of it do all completed runs have a number, so there is no pair to draw"
        raise ExportError(why, f"{over_another(drawing.x)}. hlbq compare compares the last values.")
    if not any(one.pairs.differences for moment in moments for one in moment.contrasts):
        yet = "" if read and not any(map(unfinished, read)) else " yet"
        raise ExportError(f"--x {drawing.x}: no arm has a pair{yet}", "See what there is: hlbq compare")
    return draw_difference_curves(comparison, moments, _arms(found, comparison, drawing), drawing)


def _of_one_kind(comparison: Comparison, *, effects: bool) -> Comparison:
    """Of effects alone or of arms alone: a comparison may hold both."""
    return replace(comparison, contrasts=()) if effects else replace(comparison, main_effects=(), interactions=())


def _places(runs: Sequence[RunCurve]) -> list[float]:
    """Where completed runs have points, all of them; of many places some, the first and last among them. None where
    they share no x."""
    completed = [run.x for run in runs if run.state == State.COMPLETED and not run.diverged]
    every = common_x(completed or [run.x for run in runs], past_shortest=False)
    kept = numpy.linspace(0, len(every) - 1, min(len(every), _MOST_MOMENTS)).round().astype(int)
    return [float(x) for x in every[kept]]


def _arms(runs: Sequence[RunCurve], comparison: Comparison, drawing: Drawing) -> list[ArmCurve]:
    """The arms' curves; none where contrasts are not of arms, or of arms that are told apart by more than settings."""
    if not comparison.contrasts or any(name not in runs[0].settings for name in comparison.by):
        return []
    return arm_curves(averaged(runs, comparison.by).curves, drawing.band, past_shortest=drawing.past_shortest)
