"""`hlbq report`: a sweep on one page."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import note, warn
from orchestrator.errors import UsageError
from orchestrator.files.replaced_file import checked_target, replaced_file


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OptionGroup):
    """What the page shows."""

    metric: str = option("val_loss", help="What to draw and compare: val_loss, train_acc, ...")
    baseline: tuple[str, ...] = option(
        (), help="The group to compare the others with (default: the sweep's).", metavar="NAME=VALUE..."
    )
    allow_mixed_data: bool = option(False, help="Compare and draw runs even if their data differ.")
    allow_mixed_evaluation: bool = option(False, help="Compare and draw losses of different evaluations anyway.")


def report(
    sweep: Annotated[int, typer.Argument(help="The sweep's number.", min=1)],
    how: ReportOptions,
    database: DatabaseOption,
    file: Annotated[Path, typer.Argument(help="The page.")] = Path("report.html"),
) -> None:
    """Write a sweep as one HTML page: figures, tables, verdicts, settings, and where the numbers come from.

    The page loads nothing and runs nothing, so you can mail it or put it anywhere. Its verdicts (--baseline) count as a
    look, as those of hlbq compare do.
    """
    from orchestrator.comparison.measuring.groups import read_baseline
    from orchestrator.comparison.results import recorded
    from orchestrator.report.contents import read_report
    from orchestrator.report.page import page

    checked_target(file, "report.html")
    if file.suffix.lower() not in (".html", ".htm"):
        page_name = "report.html" if file.name.startswith("-") else file.with_suffix(".html")
        raise UsageError(f"'{file}': a report is an HTML page", f"For instance: {page_name}")
    with database.read() as store:
        asked = {**vars(how), "baseline": read_baseline(how.baseline)}
        record = partial(recorded, open_to_write=database.write, warn=warn)
        found = read_report(store, sweep, **asked, recorded=record)
    with replaced_file(file) as stream:
        stream.write(page(found).encode("utf-8", errors="backslashreplace"))
    if how.baseline and found.not_compared:
        warn(f"not compared: {found.not_compared}")
    note(f"wrote {file}")
