"""Tables of runs and points as pandas data frames."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExportError, UsageError
from orchestrator.export.blocks import Layout, Selection, blocks, columns_of, plain_columns
from orchestrator.export.columns import text_columns
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.table_formats import FORMATS
from orchestrator.files.given_path import expanded
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.sweep.chosen_runs import python_filter, readable_runs

if TYPE_CHECKING:
    import pandas

# Numbers that JSON has no word for.
_NOT_FINITE = ("nan", "inf", "-inf")


def load(
    source: str | Path | None = None,
    *,
    layout: Layout | str = Layout.RUNS,
    sweep: int | Iterable[int] | None = None,
    where: Mapping[str, Any] | None = None,
    runs: RunFilter | None = None,
    all: bool = False,
) -> "pandas.DataFrame":
    """Runs as a data frame, with the columns of `hlbq export`; cells with several points hold lists.

    `source` is a database (a path or a URL; None: $HLBQ_DB, else hlbq.db here) or a file that `hlbq export` wrote
    (.csv, .jsonl, .parquet: its layout is then the file's). CSVs of the original tool come under hlbq's names.

    From a database it reads the latest sweep. `sweep` names another one, or several; `where` are values of settings,
    seed or run_num, each one value or a list. `runs` is a filter of every kind; `all` reads every run of every sweep,
    those without points too.

        frame = orchestrator.load("results.csv")
        frame.groupby(["depth", "num_heads"]).last_val_loss.agg(["mean", "std", "count"])

    Raises DatabaseError or ExportError if it cannot read the source, UsageError if there is no sweep yet, and if runs
    are chosen from a file.
    """
    import pandas

    if layout not in (Layout.RUNS, Layout.POINTS):
        raise ExportError(f"there is no layout '{layout}'", "Use runs or points.")
    ending = Path(source).suffix.lower() if source is not None and "://" not in str(source) else ""
    if ending in FORMATS and python_filter(sweep, where, runs, everything=all) is not None:
        choosing = "sweep, where, runs and all choose from a database"
        raise UsageError(f"'{source}' is a table, but {choosing}", "Use one of them.")
    if ending == ".csv":
        return pandas.DataFrame(list(read_csv_rows(Path(str(source)))))
    if ending in FORMATS:
        return _from_file(expanded(str(source)), ending)
    with open_store(None if source is None else str(source), mode=OpenMode.READ) as store:
        chosen = readable_runs(store, python_filter(sweep, where, runs, everything=all))
        return _from_store(store, Selection(runs=chosen, layout=Layout(layout), with_pointless=all))


def _from_store(store: Store, selection: Selection) -> "pandas.DataFrame":
    import pandas

    columns = columns_of(store, selection)
    values: list[list[Any]] = [[] for _ in columns]
    for block in blocks(store, selection, columns):
        for column, more in zip(values, plain_columns(block), strict=True):
            column.extend(list(value) if isinstance(value, tuple) else value for value in more)
    return pandas.DataFrame({column.name: series for column, series in zip(columns, values, strict=True)})


def _from_file(path: Path, ending: str) -> "pandas.DataFrame":
    import pandas

    try:
        if ending == ".jsonl":
            return pandas.DataFrame(list(_json_rows(path)))
        return _from_parquet(path)
    except (OSError, ValueError, ImportError) as error:
        raise ExportError(f"'{path}' can't be read: {error}", "Name a table written by hlbq export.") from None


def _from_parquet(path: Path) -> "pandas.DataFrame":
    """Lists do not go by numpy, which takes what was never recorded for nan. Raises OSError, ValueError or
    ImportError."""
    from pyarrow import parquet, types

    with path.open("rb") as stream:
        table = parquet.read_table(stream)
    frame: pandas.DataFrame = table.to_pandas()
    for column in table.schema:
        if types.is_nested(column.type):
            frame[column.name] = table[column.name].to_pylist()
    return frame


def _json_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Raises ValueError if it is not a table. Does not use pandas, which rounds numbers and takes some for dates."""
    texts = text_columns()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a row of a table")
            yield {
                name: float(value) if value in _NOT_FINITE and name not in texts else value
                for name, value in row.items()
            }
