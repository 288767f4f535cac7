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
    best: bool = option(False, help="A run's best value instead of its last.")
    at_tokens: float | None = option(None, help="The value after this many tokens, interpolated.")
    at_epoch: float | None = option(None, help="The value at this epoch, interpolated.")
    at_seconds: float | None = option(None, help="The value after this many seconds of training, interpolated.")
    at_step: float | None = option(None, help="The value at this step, interpolated.")
    at_flops: float | None = option(None, help="The value after this many FLOPs of training, interpolated.")
    goal: str | None = option(None, help="Which way is better, for your own metric.", metavar="lower|higher")
    target: float | None = option(
        None, help="Also show the time, tokens and steps until the metric reaches this value."
    )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OptionGroup):
    """What is compared with what."""

    by: tuple[str, ...] = option(
        (), help="Settings to group by, or code (default: those that differ).", metavar="NAME..."
    )
    baseline: tuple[str, ...] = option(
        (),
        help="The group to compare the others with, seed by seed (default: the sweep's baseline).",
        metavar="NAME=VALUE...",
    )
    arms: bool = option(False, help="For a factorial sweep: give every arm's verdict too, not only main effects.")
    effects: bool = option(False, help="For a factorial sweep: give two-way interactions too.")
    tune: str | None = option(None, help="Compare groups, each at its own best value of this setting.", metavar="NAME")
    margin: float | None = option(
        None, help="The largest difference that does not matter. Adds the verdict: no difference larger than this."
    )
    robust: bool = option(
        False, help="Judge only by the number of seeds won, whatever the noise. Choose this before the sweep."
    )
    allow_mixed_data: bool = option(False, help="Compare runs of different data anyway.")
    allow_mixed_evaluation: bool = option(False, help="Compare losses of different evaluations anyway.")
    allow_mixed_code: bool = option(False, help="Include runs that more than one code computed.")
    no_record: bool = option(False, help="Do not record with the sweep that you looked at its verdicts.")
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

    says whether the other groups are better or worse, or how many more seeds would decide it. The default baseline is
    the sweep's own. For a factorial sweep, main effects come first. Looks are recorded with the sweep; they do not make
    the verdicts less certain (docs/verdicts.md).
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
