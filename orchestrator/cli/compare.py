"""`hlbq compare`: does a change help, and how sure is that?"""

import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.common import (
    DatabaseOption,
    JsonOption,
    RunFilterOptions,
    print_json,
    print_table,
    say,
    say_wrapped,
    warn,
)
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import DatabaseError, UsageError
from orchestrator.wording.secrets import without_credentials

if TYPE_CHECKING:
    from orchestrator.comparison.results import Comparison, Question

MEASURE = "Which number of a run"


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(OptionGroup):
    """Which number of a run is compared."""

    metric: Annotated[
        str, typer.Option("--metric", help="val_loss, train_acc, a metric of your own, ...", rich_help_panel=MEASURE)
    ] = "val_loss"
    best: Annotated[
        bool, typer.Option("--best", help="A run's best point instead of its last.", rich_help_panel=MEASURE)
    ] = False
    at_tokens: Annotated[
        float | None, typer.Option("--at_tokens", help="At so many tokens seen, interpolated.", rich_help_panel=MEASURE)
    ] = None
    at_epoch: Annotated[
        float | None, typer.Option("--at_epoch", help="At this epoch, interpolated.", rich_help_panel=MEASURE)
    ] = None
    at_seconds: Annotated[
        float | None,
        typer.Option("--at_seconds", help="After so much training time, interpolated.", rich_help_panel=MEASURE),
    ] = None
    at_step: Annotated[
        float | None, typer.Option("--at_step", help="At this step, interpolated.", rich_help_panel=MEASURE)
    ] = None
    at_flops: Annotated[
        float | None,
        typer.Option("--at_flops", help="After so many operations of training, interpolated.", rich_help_panel=MEASURE),
    ] = None
    goal: Annotated[
        str | None,
        typer.Option(
            "--goal",
            help="Which way is better, for a metric of your own.",
            metavar="lower|higher",
            rich_help_panel=MEASURE,
        ),
    ] = None
    target: Annotated[
        float | None,
        typer.Option(
            "--target", help="Also the time, tokens and steps until the metric gets here.", rich_help_panel=MEASURE
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OptionGroup):
    """What is compared with what."""

    by: Annotated[
        list[str],
        typer.Option("--by", help="Settings to group by, or code (default: those that differ).", metavar="NAME..."),
    ] = field(default_factory=list)
    baseline: Annotated[
        list[str],
        typer.Option(
            "--baseline",
            help="The group that others are compared with, seed by seed (default: the sweep's).",
            metavar="NAME=VALUE...",
        ),
    ] = field(default_factory=list)
    arms: Annotated[
        bool, typer.Option("--arms", help="Of a factorial sweep every arm's verdict too, not only main effects.")
    ] = False
    effects: Annotated[bool, typer.Option("--effects", help="Of a factorial sweep two-way interactions too.")] = False
    tune: Annotated[
        str | None,
        typer.Option("--tune", help="Compare groups, each at its own best value of this setting.", metavar="NAME"),
    ] = None
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="The largest difference that does not matter: a verdict of its own."),
    ] = None
    robust: Annotated[
        bool,
        typer.Option("--robust", help="Judge by the seeds won alone, whatever the noise. Choose it before the sweep."),
    ] = False
    allow_mixed_data: Annotated[
        bool, typer.Option("--allow_mixed_data", help="Compare runs of different data all the same.")
    ] = False
    allow_mixed_evaluation: Annotated[
        bool, typer.Option("--allow_mixed_evaluation", help="Compare losses of different evaluations all the same.")
    ] = False
    allow_mixed_code: Annotated[
        bool, typer.Option("--allow_mixed_code", help="Take runs too that more than one code computed.")
    ] = False
    no_record: Annotated[
        bool, typer.Option("--no_record", help="Do not write down with the sweep that its verdicts were looked at.")
    ] = False
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False


def register(app: typer.Typer) -> None:
    """Add `hlbq compare`."""
    app.command("compare", cls=VariadicCommand)(grouped(compare))


def compare(
    how: CompareOptions,
    measure: MeasureOptions,
    runs: RunFilterOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
) -> None:
    """Compare groups of runs (of the latest sweep, unless filters say otherwise), with error bars over seeds.

    hlbq compare --baseline depth=8

    tells whether others are better or worse, or how many further seeds would decide it. Without --baseline it takes
    the sweep's own. Of a factorial sweep it opens with main effects. Looks are recorded with the sweep; they do not
    make the verdicts less sure: docs/comparison.md.
    """
    from orchestrator.comparison import rendering, results

    if how.markdown and as_json:
        raise UsageError("--markdown and --json are two ways of printing", "Leave one of them out.")
    question = _question(how, measure)
    with database.read() as store:
        comparison = results.compare(store, chosen_or_latest(runs, store), question)
    if not how.no_record:
        comparison = recorded(database, comparison)
    more = extend_options(database)
    if as_json:
        print_json(comparison)
    elif how.markdown:
        say(rendering.markdown(comparison, extend_options=more))
    else:
        for warning in comparison.warnings:
            warn(warning)
        for table in rendering.tables(comparison):
            print_table(table.headers, table.rows, title=table.title)
        for sentence in rendering.sentences(comparison, extend_options=more):
            say_wrapped(sentence, sys.stdout)


def recorded(database: DatabaseOption, comparison: "Comparison") -> "Comparison":
    """The comparison, with its verdicts written down as a look; a database that can only be read is compared all
    the same."""
    from orchestrator.comparison.results import record

    if not comparison.is_new_look:
        return comparison
    try:
        with database.write() as store:
            return record(store, comparison)
    except DatabaseError as error:
        warn(f"this look was not recorded, which the verdict does not depend on: {error.message}")
        return comparison


def extend_options(database: DatabaseOption) -> str:
    """` --db FILE` for the command to type next. A password is left out: what is printed is pasted and shared."""
    if not database.db:
        return ""
    (shown,) = without_credentials([database.db])
    return f" --db {shlex.quote(shown)}"


def _question(how: CompareOptions, measure: MeasureOptions) -> "Question":
    from orchestrator.comparison.groups import read_baseline
    from orchestrator.comparison.measures import Goal
    from orchestrator.comparison.results import Question, place_of
    from orchestrator.export.metric_names import Axis

    places: dict[Axis, Any] = {
        Axis.TOKENS: measure.at_tokens,
        Axis.EPOCHS: measure.at_epoch,
        Axis.SECONDS: measure.at_seconds,
        Axis.STEPS: measure.at_step,
        Axis.FLOPS: measure.at_flops,
    }
    if measure.goal is not None and measure.goal not in list(Goal):
        raise UsageError(f"--goal {measure.goal}: no such choice", "Use lower or higher.")
    return Question(
        metric=measure.metric,
        **place_of(best=measure.best, places=places),
        goal=Goal(measure.goal) if measure.goal else None,
        by=tuple(how.by),
        baseline=read_baseline(how.baseline),
        target=measure.target,
        allow_mixed_data=how.allow_mixed_data,
        allow_mixed_evaluation=how.allow_mixed_evaluation,
        allow_mixed_code=how.allow_mixed_code,
        arms=how.arms,
        effects=how.effects,
        tune=how.tune or "",
        margin=how.margin,
        robust=how.robust,
    )
