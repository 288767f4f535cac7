"""`hlbq export`: runs and their points as a table in a file, and the CSV that `-c` keeps up to date."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from orchestrator.errors import ExportError
from orchestrator.export.blocks import Block, Layout, NewMetricError, Selection, blocks, columns_of, runs_with_curves
from orchestrator.export.columns import Column, Kind
from orchestrator.export.csv_table import copy_rows, csv_header
from orchestrator.export.table_formats import CsvTable, TableWriter, format_of
from orchestrator.files.replaced_file import (
    LOCK_TIMEOUT_SECONDS,
    check_not_a_folder,
    export_errors,
    locked_file,
    replaced_file,
)
from orchestrator.queue.records import RunFilter, SweepRecord
from orchestrator.queue.states import TERMINAL
from orchestrator.store import Store


def export(store: Store, path: str | Path, selection: Selection, *, append: bool = False) -> int:
    """Write the selected runs or points to `path`, in the format of its ending; returns the number of rows.

    With `append` the rows of other runs in the CSV stay, and those of the selected runs are replaced. Without any row
    to write, no file is written. Raises ExportError, and leaves the old file unchanged, if that fails.
    """
    path = Path(path)
    check_not_a_folder(path)
    make_writer = format_of(path)
    if not append:
        if not _has_rows(store, selection):
            return 0
        with replaced_file(path) as stream:
            return _write_table(store, selection, stream, make_writer)
    if selection.layout is not Layout.RUNS or make_writer is not CsvTable:
        raise ExportError(
            f"'{path}': --append needs a CSV with one row per run", "Leave out --append, or name a .csv file."
        )
    with locked_file(path):
        return _append(store, selection, path)


def export_to_stdout(store: Store, selection: Selection) -> int:
    """Write the table as CSV to stdout once it is complete; returns the number of rows."""
    with tempfile.TemporaryFile() as spool:
        with export_errors(Path(tempfile.gettempdir())):
            count = _write_table(store, selection, spool, CsvTable)
            spool.seek(0)
        sys.stdout.flush()  # a stdout that takes no more is told by `main`, as for every command
        shutil.copyfileobj(spool, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return count


def rewrite_sweep_csv(store: Store, sweep: SweepRecord, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> int:
    """Bring the CSV of a `-c` sweep up to date; returns the number of its rows.

    Workers on the host that submitted the sweep call this after each run. It holds the file's lock while it reads the
    database, so the last writer has seen the newest run. It writes only runs that have ended, and touches nothing
    before the first of them: then it replaces a file of an earlier sweep (or, with append, adds to it). Raises
    ExportError if the file cannot be written.
    """
    if sweep.csv is None:
        return 0
    path = Path(sweep.csv.path)
    selection = Selection(runs=RunFilter(sweep_ids=(sweep.id,), states=tuple(sorted(TERMINAL))))
    with locked_file(path, timeout_seconds=lock_timeout_seconds):
        if sweep.csv.append:
            return _append(store, selection, path)
        if not _has_rows(store, selection):
            return 0
        with replaced_file(path) as stream:
            return _write_table(store, selection, stream, CsvTable)


def _has_rows(store: Store, selection: Selection) -> bool:
    return any(found.curves or selection.with_pointless for found in runs_with_curves(store, selection.runs))


def _write_table(
    store: Store,
    selection: Selection,
    stream: IO[bytes],
    make_writer: Callable[[IO[bytes], Sequence[Column]], TableWriter],
) -> int:
    def attempt(columns: Sequence[Column]) -> int:
        return _write_blocks(make_writer(stream, columns), store, selection, columns)

    return _with_all_metrics(store, selection, stream, attempt)


def _with_all_metrics(
    store: Store, selection: Selection, stream: IO[bytes], attempt: Callable[[Sequence[Column]], int]
) -> int:
    """`attempt` with columns for the metrics of the first run, and again with all metrics if a later run has others."""
    try:
        return attempt(columns_of(store, selection, all_runs=False))
    except NewMetricError:
        stream.seek(0)
        stream.truncate()
        return attempt(columns_of(store, selection, all_runs=True))


def _write_blocks(writer: TableWriter, store: Store, selection: Selection, columns: Sequence[Column]) -> int:
    count = 0
    try:
        for block in blocks(store, selection, columns):
            writer.write(block)
            count += len(block.columns[0])
    finally:
        writer.close()
    return count


def _append(store: Store, selection: Selection, path: Path) -> int:
    header = csv_header(path)
    if not _has_rows(store, selection):
        return 0
    with replaced_file(path) as stream:

        def attempt(columns: Sequence[Column]) -> int:
            own = [column.name for column in columns]
            names = [*own, *(name for name in header if name not in own)]
            writer = _Padded(stream, names, len(own))
            copy_rows(path, writer.table.rows, names, without=_uids(store, selection))
            return _write_blocks(writer, store, selection, columns)

        return _with_all_metrics(store, selection, stream, attempt)


class _Padded:
    """A CSV whose new rows leave columns empty that only earlier rows have."""

    def __init__(self, stream: IO[bytes], names: Sequence[str], own: int) -> None:
        self.table = CsvTable(stream, [Column(name=name, kind=Kind.TEXT) for name in names])
        self._missing = len(names) - own

    def write(self, block: Block) -> None:
        rows = len(block.columns[0])
        self.table.write(Block(columns=[*block.columns, *([[None] * rows] * self._missing)]))

    def close(self) -> None:
        self.table.close()


def _uids(store: Store, selection: Selection) -> frozenset[str]:
    return frozenset(run.uid for run in store.runs(selection.runs))
