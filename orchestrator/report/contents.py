"""What a report says of a sweep, read from the store: values and figures, no HTML."""

import io
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Split
from hlbgpt_core.settings import specs
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import counts_of_verdicts, other_sentences, tables, verdict_sentences
from orchestrator.comparison.results import Comparison, compare
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import find_metric
from orchestrator.growth.searching import SearchReading, what_mattered
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.difference_figures import DifferenceDrawing, draw_forest
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.drawing.heat_maps import HeatMap
from orchestrator.plots.drawing.options import MetricOptions
from orchestrator.plots.drawing.style import plain_texts
from orchestrator.plots.figures import Drawn, plot_curves, plot_final, plot_schedules
from orchestrator.plots.search_figures import search_drawings
from orchestrator.queue.code import SameCode, code_note
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.sweeps import AGAIN, SEARCH, SweepRecord
from orchestrator.report.reported_runs import ReportedRuns
from orchestrator.status.time_left import hours_spent
from orchestrator.store import Store
from orchestrator.store.known import known_sweep
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted, duration, loss_text, short_count
from orchestrator.wording.tables import TextTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More runs than this are counted, not listed; of more arms, figures draw these.
MOST_RUNS_LISTED = 500
MOST_ARMS_DRAWN = 40
_MOST_VALUES_LISTED = 12
# At most this many verdicts in words are shown below their table.
_MOST_VERDICTS_FIRST = 8
_WIDE_FROM_INCHES = 8.5


@dataclass(frozen=True, kw_only=True)
class FigurePart:
    """A figure as SVG, with what it shows in words, and notes on it. A wide one needs its own row."""

    caption: str
    svg: str
    notes: Sequence[str] = ()
    is_wide: bool = False


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A heading with paragraphs, figures, tables and a list of short sentences under it, in this order."""

    heading: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[FigurePart] = ()
    tables: Sequence[TextTable] = ()
    details: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report's title, a one-line summary, and its sections; `not_compared` says why there are no verdicts."""

    title: str
    summary: str
    sections: Sequence[ReportSection] = field(default_factory=tuple)
    not_compared: str = ""


def read_report(
    store: Store,
    sweep_id: int,
    *,
    metric: str = "val_loss",
    baseline: Mapping[str, Any] | None = None,
    allow_mixed_data: bool = False,
    allow_mixed_evaluation: bool = False,
    recorded: Callable[[Comparison], Comparison] = lambda comparison: comparison,
) -> Report:
    """The report of a sweep: `metric` in its figures and tables, verdicts against `baseline` (None: the sweep's own).

    Reading its verdicts is a look at the p-values: `recorded` stores it and returns the marked comparison. Raises
    UsageError for a sweep that does not exist, ExportError for an unknown metric. Where something cannot be drawn or
    compared, the report says why.
    """
    sweep = known_sweep(store, sweep_id)
    wanted = RunFilter(sweep_ids=(sweep_id,), with_members=True)
    asked: dict[str, Any] = {
        "metric": find_metric(store, wanted, metric).name,
        "allow_mixed_data": allow_mixed_data,
        "allow_mixed_evaluation": allow_mixed_evaluation,
    }
    try:
        comparison, not_compared = recorded(compare(store, wanted, Question(**asked, baseline=baseline))), ""
    except UsageError as error:
        comparison, not_compared = None, f"{error.message}. {error.hint}"
    runs = ReportedRuns.of(store.runs(wanted), listed=MOST_RUNS_LISTED)
    names = differing_settings(run.settings for run in runs.kinds)
    counts = ", ".join(f"{count} {state}" for state, count in runs.states.items())
    testing = {run.arm_key for run in runs.kinds if run.settings.get("test_tokens")}
    tested = store.losses(runs.ids_of(testing), Split.TEST)
    return Report(
        title=sweep.name or f"Sweep {sweep.id}",
        summary=f"sweep {sweep.id}, {counted(len(runs.ids), 'arm')}, {counted(runs.count, 'run')}: {counts}",
        sections=[
            *([ReportSection(heading="Note", paragraphs=[sweep.note])] if sweep.note else []),
            *_growth(store, sweep),
            _verdicts(comparison, not_compared),
            _drawn_section(store, wanted, MetricOptions(**asked), runs, comparison),
            ReportSection(
                heading="Runs",
                tables=[_run_table(runs.listed, names, store.same_code(), tested)],
                paragraphs=_not_listed(runs.count),
            ),
            ReportSection(heading="Settings", tables=[_settings_table([run.settings for run in runs.kinds], names)]),
            _provenance(store, sweep, runs),
        ],
        not_compared=not_compared,
    )


def _growth(store: Store, sweep: SweepRecord) -> list[ReportSection]:
    """How a sweep that grows by itself stands: empty for others."""
    lines: list[str] = []
    figures: list[FigurePart] = []
    for record in store.policies((sweep.id,)):
        if record.ended_why != AGAIN:
            lines += [line.strip() for line in standing_lines(standing_of(store, record))]
        if record.kind == SEARCH:
            search = SearchReading.of(store, record, sweep)
            lines += filter(None, [what_mattered(search)])
            tokenizers = {arm.settings.get("tokenizer") for arm in store.arms(sweep.id)}
            figures += _figures(search_drawings(search, tokenizers)).figures
    return [ReportSection(heading="Growth", figures=figures, details=lines)] if lines else []


def _verdicts(comparison: Comparison | None, not_compared: str) -> ReportSection:
    if comparison is None:
        return ReportSection(heading="Comparison", paragraphs=[f"Not compared: {not_compared}"])
    verdicts, others = verdict_sentences(comparison), other_sentences(comparison)
    are_many = len(verdicts) > _MOST_VERDICTS_FIRST
    told = [counts_of_verdicts(comparison)] if are_many else verdicts
    return ReportSection(
        heading="Comparison",
        paragraphs=[*comparison.warnings, *told, *others],
        tables=tables(comparison),
        details=verdicts if are_many else (),
    )


def _drawn_section(
    store: Store, wanted: RunFilter, options: MetricOptions, runs: ReportedRuns, comparison: Comparison | None
) -> ReportSection:
    """The figures, of all arms or of as many as can be told apart; the page says so."""
    # Keys are digests: their order is a lot that falls the same each time, and knows no outcome.
    drawn = frozenset(sorted(runs.ids)[:MOST_ARMS_DRAWN])
    is_part = len(drawn) < len(runs.ids)
    if is_part:
        wanted = replace(wanted, run_ids=tuple(runs.ids_of(drawn)))
    names = differing_settings(run.settings for run in runs.kinds if run.arm_key in drawn)
    section = _figures([*_forest(comparison), *_drawings(store, wanted, options, names)])
    if not is_part:
        return section
    told = f"Figures show {MOST_ARMS_DRAWN} of the {len(runs.ids):,} arms, chosen at random. For others: hlbq plot"
    return replace(section, paragraphs=[told, *section.paragraphs])


def _forest(comparison: Comparison | None) -> list[tuple[str, Callable[[], Drawn]]]:
    """The differences with their intervals, where there are some, and not too many."""
    if comparison is None or not 0 < len(comparison.all_contrasts) <= MOST_ARMS_DRAWN:
        return []

    def draw() -> Drawn:
        forest = draw_forest(comparison, DifferenceDrawing())
        return Drawn(figure=forest, arms=len(comparison.groups), runs=comparison.runs)

    return [(f"difference in {comparison.measure}", draw)]


def _figures(drawings: Sequence[tuple[str, Callable[[], Drawn]]]) -> ReportSection:
    figures, notes = [], []
    for caption, draw in drawings:
        try:
            drawn = draw()
        except HlbqError as error:
            notes.append(f"No figure of {caption}: {error.message}.")
            continue
        figures.append(
            FigurePart(
                caption=f"{caption} ({counted(drawn.runs, 'run')})",
                svg=_svg(drawn.figure),
                notes=[f"{warning}." for warning in drawn.warnings],
                is_wide=drawn.figure.get_figwidth() > _WIDE_FROM_INCHES,
            )
        )
    return ReportSection(heading="Figures", figures=figures, paragraphs=notes)


def _drawings(
    store: Store, wanted: RunFilter, options: MetricOptions, names: Sequence[str]
) -> list[tuple[str, Callable[[], Drawn]]]:
    """The figures of a report, by caption: what each shows depends on how many settings are swept."""
    metric, curves = options.metric, Drawing(**vars(options))
    found: list[tuple[str, Callable[[], Drawn]]] = [
        (f"{metric} over training tokens", partial(plot_curves, store, curves, wanted))
    ]
    for name in names:
        final = FinalDrawing(against=name, **vars(options))
        found.append((f"last {metric} against {name}", partial(plot_final, store, final, wanted)))
    if len(names) == 2:
        heat_map = HeatMap(rows=names[0], columns=names[1], **vars(options))
        found.append((f"last {metric} over {names[0]} and {names[1]}", partial(plot_final, store, heat_map, wanted)))
    if metric == "val_loss":
        training = replace(curves, metric="train_loss", smooth=0.6)
        found.append(("training loss", partial(plot_curves, store, training, wanted)))
    found.append(("schedules", partial(plot_schedules, store, None, wanted)))
    return found


def _svg(figure: "Figure") -> str:
    """The figure as one svg element, its letters as shapes, so it needs no font."""
    import matplotlib

    stream = io.StringIO()
    # A fixed salt: the same runs give the same page.
    with matplotlib.rc_context({"svg.hashsalt": "hlbq"}), plain_texts(figure):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _run_table(
    runs: Sequence[RunRecord], names: Sequence[str], same: SameCode, tested: Mapping[int, Sequence[float]]
) -> TextTable:
    """The runs; `tested` are the losses of those that were tested."""
    headers = ["run", *names, "parameters", "seed", "state", "reason", "step", "train loss", "val loss"]
    headers += [*(["test loss"] if tested else []), "time"]
    rows = [
        [
            str(run.id),
            *(_setting_text(run.settings, name) for name in names),
            short_count(run.num_params),
            str(run.seed),
            ", ".join(part for part in (run.state.value, code_note(run, same)) if part),
            run.reason.value if run.reason else "",
            f"{run.step:,}",
            loss_text(run.last_train_loss),
            loss_text(run.last_val_loss),
            *([loss_text(tested[run.id][-1] if run.id in tested else None)] if tested else []),
            duration(run.ended_at - run.started_at) if run.ended_at and run.started_at else "",
        ]
        for run in runs
    ]
    return TextTable(headers=headers, rows=rows)


def _not_listed(runs: int) -> list[str]:
    left = runs - MOST_RUNS_LISTED
    return [f"{counted(left, 'more run')}. For all of them: hlbq export results.csv"] if left > 0 else []


def _setting_text(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name)
    return "" if value is None else value_text(value)


def _settings_table(arms: Collection[Mapping[str, Any]], names: Sequence[str]) -> TextTable:
    """The settings of the sweep; swept settings show all their values."""
    rows = []
    for name in specs():
        values = [value or "-" for value in dict.fromkeys(_setting_text(settings, name) for settings in arms)]
        more = f", ... ({len(values)} values)" if len(values) > _MOST_VALUES_LISTED else ""
        rows.append([name, ", ".join(values[:_MOST_VALUES_LISTED]) + more, "swept" if name in names else ""])
    rows.sort(key=lambda row: not row[2])
    return TextTable(headers=["setting", "value", ""], rows=rows)


def _provenance(store: Store, sweep: SweepRecord, runs: ReportedRuns) -> ReportSection:
    newest = store.provenances(runs.ids_of(runs.ids))
    rows = [["command", shlex.join(sweep.argv)], ["sweep uid", sweep.uid]]
    for found in (runs.facts, [one.provenance for one in newest]):
        names = dict.fromkeys(name for one in found for name in one)
        rows += [[name, _distinct(one.get(name) for one in found)] for name in names]
    shared = sum(one.runs for one in newest if one.shared_slots > 1)
    rows.append(["runs that shared their device", str(shared)])
    rows.append(["spent", hours_spent(store, [sweep.id]) or "-"])
    return ReportSection(heading="Provenance", tables=[TextTable(headers=["what", "value"], rows=rows)])


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys("-" if value in (None, "") else str(value) for value in values))
