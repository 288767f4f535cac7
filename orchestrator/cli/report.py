"""`hlbq report`: a sweep on one page."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption, note, warn
from orchestrator.cli.compare import recorded
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """What the page shows."""

    metric: Annotated[str, typer.Option("--metric", help="What to draw and compare: val_loss, train_acc, ...")] = (
        "val_loss"
    )
    baseline: Annotated[
        list[str],
        typer.Option(
            "--baseline", help="The group to compare the others with (default: the sweep's).", metavar="NAME=VALUE..."
        ),
    ] = field(default_factory=list)
    allow_mixed_data: Annotated[
        bool, typer.Option("--allow_mixed_data", help="Compare and draw runs even if their data differ.")
    ] = False
    allow_mixed_evaluation: Annotated[
        bool,
        typer.Option("--allow_mixed_evaluation", help="Compare and draw losses of different evaluations all the same."),
    ] = False


def register(app: typer.Typer) -> None:
    """Add `hlbq report`."""
    app.command("report", cls=VariadicCommand)(grouped(report))


def report(
    sweep: Annotated[int, typer.Argument(help="The sweep's number.", min=1)],
    how: ReportOptions,
    database: DatabaseOption,
    file: Annotated[Path, typer.Argument(help="The page.")] = Path("report.html"),
) -> None:
    """Write a sweep as one HTML page: figures, tables, verdicts, settings, provenance.

    The page loads nothing and runs nothing, so you can mail it or put it anywhere. Its verdicts (--baseline) count as a
    look at the p-values, as those of hlbq compare do.
    """
    from orchestrator.comparison.groups import read_baseline
    from orchestrator.files.replaced_file import checked_target, replaced_file
    from orchestrator.report import page, read_report

    checked_target(file, "report.html")
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"'{file}': a report is an HTML page", f"For instance: {file.with_suffix('.html')}")
    with database.read() as store:
        found = read_report(
            store,
            sweep,
            metric=how.metric,
            baseline=read_baseline(how.baseline),
            allow_mixed_data=how.allow_mixed_data,
            allow_mixed_evaluation=how.allow_mixed_evaluation,
            recorded=partial(recorded, database),
        )
    with replaced_file(file) as stream:
        stream.write(page(found).encode("utf-8", errors="backslashreplace"))
    if how.baseline and found.not_compared:
        warn(f"not compared: {found.not_compared}")
    note(f"wrote {file}")
