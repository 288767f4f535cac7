"""`hlbq export`: runs and points as a table."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note, suggest, warn
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.sweep.chosen_runs import readable_runs
from orchestrator.sweep.options import value_text

if TYPE_CHECKING:
    from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OptionGroup):
    """What the table looks like."""

    layout: str = option(
        "runs",
        help="runs: one row per run. points: one row per point. original: the newest CSV of hlb-gpt-cli.",
        metavar="runs|points|original",
    )
    append: bool = option(False, help="Keep the rows of other runs in the CSV.")


def export(
    file: Annotated[Path, typer.Argument(help="results.csv, .jsonl or .parquet; - for CSV on stdout.")],
    how: ExportOptions,
    runs: RunFilterOptions,
    database: DatabaseOption,
) -> None:
    """Write the runs that have points as a table (without filters: of the latest sweep).

    --all writes every run of every sweep, pending ones too. --layout original writes only runs that were evaluated. In
    lists, 1e999 is a number that is not finite, and 1e9999 one that was never recorded. --layout points keeps nan, inf
    and -inf.
    """
    from orchestrator.export import writing
    from orchestrator.export.blocks import Layout, Selection, untold_settings
    from orchestrator.export.replaced_table import check_replaceable

    if how.layout not in list(Layout):
        raise UsageError(f"--layout {how.layout}: no such layout", f"Use {', '.join(Layout)}.")
    to_stdout = str(file) == "-"
    if not to_stdout and not how.append:
        check_replaceable(file, "results.csv")
    if to_stdout and how.append:
        raise UsageError("--append needs a file, not stdout", "Name a CSV file instead of -.")
    with database.read() as store:
        selection = Selection(runs=chosen_or_latest(runs, store), layout=Layout(how.layout), with_pointless=runs.all)
        check_any(store, selection.runs)
        if to_stdout:
            count = writing.export_to_stdout(store, selection)
        else:
            count = writing.export(store, file, selection, append=how.append)
        untold = untold_settings(store, selection) if count else ()
    if not count:
        original = how.layout == Layout.ORIGINAL
        whose = "these runs" if runs.given() else f"the runs of sweep {selection.runs.sweep_ids[0]}, the latest,"
        nothing = f"Nothing was written: none of {whose} has {'evaluations' if original else 'points'} yet."
        is_of_runs = how.layout == Layout.RUNS
        pending_too = f". Write pending runs too: hlbq export {shlex.quote(str(file))} --all" if is_of_runs else ""
        suggest(f"{nothing} See how far they are: hlbq status{pending_too}", store)
        return
    if untold:
        warn(
            f"--layout original has no column for {', '.join(untold)}: rows that differ only by "
            f"{'it' if len(untold) == 1 else 'these'} look like seeds of one arm (--layout runs tells them apart)"
        )
    rows = counted(count, "point" if how.layout == Layout.POINTS else "run")
    note(f"{rows} written" + ("" if to_stdout else f" to {file}"))


def chosen_or_latest(runs: RunFilterOptions, store: "Store") -> RunFilter:
    """The runs that the filters choose, the members of sweeps among them; without filters those of the latest sweep.

    Raises UsageError if there is no such sweep, or no such run.
    """
    return readable_runs(store, runs.to_filter() if runs.given() else None)


def check_any(store: "Store", wanted: RunFilter) -> None:
    """Raise UsageError if no run is chosen: an empty table or sync means a mistake in a filter."""
    if next(store.runs(wanted, limit=1), None) is None:
        asked = [f"{name}={value_text(value)}" for name, values in wanted.where.items() for value in values]
        asked += [f"tag {tag}" for tag in wanted.tags]
        raise UsageError(f"no run matches {' '.join(asked)}".rstrip(), "See the runs: hlbq status --all")
