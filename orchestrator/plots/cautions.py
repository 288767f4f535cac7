"""What a figure does not show, and what may not stand together in it: refusals, and words of warning."""

from collections.abc import Sequence

from orchestrator.comparison.measuring.evaluations import mixed_evaluations, refusal_of
from orchestrator.comparison.reporting.cautions import few, repeated_runs
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.plots.curve_sets import Averaged, do_meet, of_arms
from orchestrator.plots.drawing.options import MetricOptions
from orchestrator.plots.run_curves import RunCurve, ended_early, newest_of_each_seed, unfinished, why_unplaced
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.wording.numbers import counted


def with_values(
    read: Sequence[RunCurve], metric: str, x: Axis | Metric = Axis.TOKENS
) -> tuple[list[RunCurve], list[str]]:
    """The runs that have anything to draw, and a warning of the others. Raises ExportError if none has."""
    what = f"{metric} over {x.name}" if isinstance(x, Metric) else metric
    placed = [run for run in read if not run.unplaced]
    found = [run for run in placed if len(run.x)]
    recorded = sum(run.recorded for run in placed)
    if not recorded:
        raise ExportError(f"no run has points of '{what}' yet", "See how far the runs are: hlbq status")
    if not found:
        raise ExportError(
            f"'{what}' is nan or infinite at every point of {counted(recorded, 'run')}",
            "See the points: hlbq export points.csv --layout points. See how a run ended: hlbq show RUN",
        )
    warnings = []
    if recorded > len(found):
        warnings.append(f"{counted(recorded - len(found), 'run')} left out: no finite {what}")
    if len(placed) > recorded:
        warnings.append(f"{counted(len(placed) - recorded, 'run')} left out: ended without any {what}")
    if len(read) > len(placed):
        warnings.append(f"{counted(len(read) - len(placed), 'run')} left out: {why_unplaced(metric, x)}")
    return found, warnings


def one_a_seed(read: Sequence[RunCurve]) -> tuple[list[RunCurve], list[str]]:
    """The runs that stand for their arm and seed, and a warning of the others."""
    found = newest_of_each_seed(read)
    return found, [repeated_runs(len(read) - len(found))] if len(read) > len(found) else []


def with_last_values(
    found: Sequence[RunCurve], metric: str, warnings: Sequence[str]
) -> tuple[list[RunCurve], list[str]]:
    """The runs whose last value is their final one, and a warning of the others behind those that there are. Raises
    ExportError if none has."""
    counts = {
        "not finished": sum(unfinished(run) for run in found),
        f"the last {metric} is not finite": sum(run.diverged and not unfinished(run) for run in found),
        "failed, cancelled or stopped early": sum(map(_is_known_to_end_early, found)),
        "the table has no last_val_loss of them": sum(run.without_end and not run.diverged for run in found),
    }
    said = [*warnings, *(f"{counted(count, 'run')} left out: {why}" for why, count in counts.items() if count)]
    kept = [run for run in found if not (run.diverged or unfinished(run) or ended_early(run))]
    if not kept:
        raise ExportError(f"no run has a final '{metric}' ({'; '.join(said)})", "See how far the runs are: hlbq status")
    return kept, said


def said_of_ends(runs: Sequence[RunCurve], metric: str) -> list[str]:
    """Which runs end before the others, and so cut lines short."""
    diverged = sum(run.diverged for run in runs)
    early = sum(map(_is_known_to_end_early, runs))
    unknown = sum(run.without_end and not run.diverged for run in runs)
    found = [f"{counted(diverged, 'run')} diverged: the line ends at the last finite {metric}"] if diverged else []
    if early:
        verb = "was" if early == 1 else "were"
        found.append(
            f"{counted(early, 'run')} failed, {verb} cancelled or stopped early. An arm's line ends with its first run "
            "(--past_shortest draws on)"
        )
    if unknown:
        found.append(
            f"the table has no last_val_loss of {counted(unknown, 'run')}: interrupted or stopped early. An arm's line "
            "ends with its first run (--past_shortest draws on)"
        )
    return found


def _is_known_to_end_early(run: RunCurve) -> bool:
    return ended_early(run) and not (run.diverged or run.without_end)


def over_another(x: Axis | Metric) -> str:
    """The way out where runs share no place of an axis."""
    return f"Draw over another: --x {' or '.join(axis for axis in (Axis.TOKENS, Axis.STEPS) if axis is not x)}"


def said_of_means(found: Averaged, x: Axis | Metric) -> list[str]:
    """Which arms and runs have no mean over x. Raises ExportError if none has one."""
    arms = of_arms(found.curves)
    lost = [own[0].settings for own in arms if not do_meet(own)]
    way_out = over_another(x)

    def why(whose: str) -> str:
        return f"at no place of x ({x.name.lower()}) do all {whose} have a number"

    of_a_seed = f"runs of a seed, which are averaged over {', '.join(found.over)},"
    if len(lost) == len(arms):
        raise ExportError(f"there is no mean to draw: {why('seeds of an arm' if arms else of_a_seed)}", f"{way_out}.")
    told = []
    if found.apart:
        told.append(f"{counted(found.apart, 'run')} left out: {why(of_a_seed)}. {way_out}")
    if lost:
        names = differing_settings(run.settings for run in found.curves)
        which = few([arm_label(settings, names) for settings in lost], "; ")
        told.append(f"{counted(len(lost), 'arm')} left out ({which}): {why('seeds of an arm')}. {way_out}")
    return told


def counts_seconds(x: Axis | Metric | str) -> bool:
    """Whether an axis or a metric, by its name too, is in seconds."""
    if isinstance(x, Axis):
        return x in (Axis.SECONDS, Axis.WALL_CLOCK)
    metric = x.name if isinstance(x, Metric) else x
    return metric.replace("-", "_").endswith("cumulative_time")


def said_of_logarithms(option: str, metric: str, values: Sequence[Sequence[float]]) -> list[str]:
    """Which runs a logarithmic axis shows only in part. Raises ExportError if it would show nothing."""
    if not any(value > 0 for own in values for value in own):
        raise ExportError(
            f"no value of '{metric}' is above 0, so a logarithmic axis would be empty", f"Leave out {option}."
        )
    cut = sum(any(value <= 0 for value in own) for own in values)
    verb = "has" if cut == 1 else "have"
    told = (
        f"{counted(cut, 'run')} {verb} values of {metric} that are not above 0: a logarithmic axis does not show them"
    )
    return [told] if cut else []


def check_comparable(
    runs: Sequence[RunCurve], metric: str, drawing: MetricOptions, *, option: str = "--metric", of_table: bool = False
) -> list[str]:
    """Raise ExportError if the runs' numbers mean different things, as `refusal_of` says. Returns the cautions about
    those that the drawing allows."""
    # Few runs differ in this from all others.
    kinds = {(id(run.settings), run.data_fingerprint, run.evaluation_fingerprint): run for run in runs}
    evaluated = list(kinds.values())
    refusal = refusal_of(
        evaluated,
        metric,
        option=option,
        of_table=of_table,
        allow_mixed_data=drawing.allow_mixed_data,
        allow_mixed_evaluation=drawing.allow_mixed_evaluation,
    )
    if refusal is not None:
        raise ExportError(*refusal)
    mixed = mixed_evaluations(evaluated, metric)
    return [] if mixed is None else [mixed.caution]
