"""`hlbq compare`: does a change help, and how sure is that?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import print_json, print_table, say, say_wrapped, warn
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.comparison.questions import Question


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(OptionGroup):
    """Which number of a run is compared."""

    panel = "Which number of a run"
    metric: str = option("val_loss", help="val_loss, train_acc, a metric of your own, ...")
    best: bool = option(False, help="A run's best point instead of its last.")
    at_tokens: float | None = option(None, help="At so many tokens seen, interpolated.")
    at_epoch: float | None = option(None, help="At this epoch, interpolated.")
    at_seconds: float | None = option(None, help="After so much training time, interpolated.")
    at_step: float | None = option(None, help="At this step, interpolated.")
    at_flops: float | None = option(None, help="After so many operations of training, interpolated.")
    goal: str | None = option(None, help="Which way is better, for a metric of your own.", metavar="lower|higher")
    target: float | None = option(None, help="Also the time, tokens and steps until the metric gets here.")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OptionGroup):
    """What is compared with what."""

    by: list[str] = option(list, help="Settings to group by, or code (default: those that differ).", metavar="NAME...")
    baseline: list[str] = option(
        list,
        help="The group that others are compared with, seed by seed (default: the sweep's).",
        metavar="NAME=VALUE...",
    )
    arms: bool = option(False, help="Of a factorial sweep every arm's verdict too, not only main effects.")
    effects: bool = option(False, help="Of a factorial sweep two-way interactions too.")
    tune: str | None = option(None, help="Compare groups, each at its own best value of this setting.", metavar="NAME")
    margin: float | None = option(None, help="The largest difference that does not matter: a verdict of its own.")
    robust: bool = option(False, help="Judge by the seeds won alone, whatever the noise. Choose it before the sweep.")
    allow_mixed_data: bool = option(False, help="Compare runs of different data all the same.")
    allow_mixed_evaluation: bool = option(False, help="Compare losses of different evaluations all the same.")
    allow_mixed_code: bool = option(False, help="Take runs too that more than one code computed.")
    no_record: bool = option(False, help="Do not write down with the sweep that its verdicts were looked at.")
    markdown: bool = option(False, help="Print Markdown.")


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
    from orchestrator.comparison import results
    from orchestrator.comparison.reporting import rendering

    if how.markdown and as_json:
        raise UsageError("--markdown and --json are two ways of printing", "Leave one of them out.")
    question = _question(how, measure)
    with database.read() as store:
        comparison = results.compare(store, chosen_or_latest(runs, store), question)
        more = store.location.option
    if not how.no_record:
        comparison = results.recorded(comparison, database.write, warn)
    if as_json:
        print_json(comparison)
    elif how.markdown:
        say(rendering.markdown(comparison, extend_options=more))
    else:
        warn(*comparison.warnings)
        for table in rendering.tables(comparison):
            print_table(table.headers, table.rows, title=table.title)
        say_wrapped(*rendering.sentences(comparison, extend_options=more))


def _question(how: CompareOptions, measure: MeasureOptions) -> "Question":
    from orchestrator.comparison.questions import QuestionOptions

    given = {**vars(how), **vars(measure)}
    del given["markdown"], given["no_record"]
    return QuestionOptions(**given).question()
