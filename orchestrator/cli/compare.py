"""`hlbq compare`: does a change help, and how sure is that?"""

from dataclasses import dataclass

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import print_json, print_table, say, say_wrapped, warn
from orchestrator.comparison.question_options import QuestionOptions
from orchestrator.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OptionGroup, QuestionOptions):
    """What is compared with what, and how that is shown."""

    no_record: bool = option(False, help="Do not record with the sweep that you looked at its verdicts.")
    markdown: bool = option(False, help="Print Markdown.")


def compare(how: CompareOptions, runs: RunFilterOptions, database: DatabaseOption, as_json: JsonOption = False) -> None:
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
    question = how.question()
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
