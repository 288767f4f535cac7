"""Reading and extending the CSV files that hlbq writes."""

import contextlib
import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ExportError
from orchestrator.export.cells import opened_csv, read_cell, read_text_cell
from orchestrator.export.columns import in_own_columns, text_columns
from orchestrator.wording.numbers import counted

# The column that identifies a table of hlbq's, and each run in it.
KEY_COLUMN = "uid"
# Columns of every table of runs; the tool before hlbq had them too.
SIGNATURE = frozenset({"last_val_loss", "seed"})
_SIGNATURES = (SIGNATURE, frozenset({"run_id", "split", "step"}))


def is_table(names: Collection[str]) -> bool:
    """Whether a file with these columns is a table of runs or of points, which another may replace."""
    return any(signature <= set(names) for signature in _SIGNATURES)


def read_csv_rows(path: str | Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a CSV that hlbq wrote, values as they were: numbers, lists of numbers, truth values, texts.

    Those of the original tool's newest form come under hlbq's names: one list stands for both splits. An empty cell is
    None. Raises ExportError for a file that cannot be read or is not such a table.
    """
    texts = text_columns()
    for row in read_raw_rows(Path(path)):
        cells = in_own_columns(row).items()
        yield {name: (read_text_cell(cell) or None) if name in texts else read_cell(cell) for name, cell in cells}


def read_raw_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV as cells by column, without blank lines. Raises ExportError for a file that cannot be read as
    CSV."""
    try:
        with opened_csv(path) as rows:
            header = next(rows, None)
            if not header:
                raise ExportError(f"'{path}' is empty", "Name a CSV written by hlbq export.")
            for cells in filter(None, rows):
                if len(cells) != len(header):
                    raise ExportError(
                        f"'{path}' has a row of {counted(len(cells), 'cell')} under a header of {len(header)}",
                        "Repair it, or write it again with hlbq export.",
                    )
                yield dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ExportError(f"'{path}' can't be read as CSV: {reason}", "Name a CSV written by hlbq export.") from None


def csv_header(path: Path) -> Sequence[str]:
    """The column names of a table of runs to extend; none if the file is missing or empty.

    Raises ExportError for a file that is not a table of hlbq's.
    """
    header = first_row(path)
    if header and not set(header) >= SIGNATURE | {KEY_COLUMN}:
        way_out = "Name another file"
        if is_table(header):
            way_out += ", or leave out --append to replace it"
        raise ExportError(
            f"'{path}' is not a table of runs that hlbq wrote with a uid for each, so hlbq cannot append to it",
            f"{way_out}. (CSVs of the original tool have no uid.)",
        )
    return header


def holds_runs(path: Path) -> bool:
    """Whether the file is a table of hlbq's."""
    return set(first_row(path)) >= SIGNATURE | {KEY_COLUMN}


def first_row(path: Path) -> Sequence[str]:
    """The first row of a CSV; none of a file that is missing or empty. One that is no CSV has a row without a name."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return ()
    with contextlib.suppress(OSError, UnicodeDecodeError, csv.Error):
        if path.is_file():
            with opened_csv(path) as rows:
                return next(rows, []) or [""]
    return [""]
