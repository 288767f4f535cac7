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
    """Write the selected runs or points to `path`, its ending naming the format; returns the number of rows.

    With `append` the rows of other runs that the CSV holds already stay, and those of the selected runs are
    replaced. Raises ExportError, and leaves what was there as it was, where that can't be done.
    """
    path = Path(path)
    check_not_a_folder(path)
    make_writer = format_of(path)
    if not append:
        with replaced_file(path) as stream:
            return _write_table(store, selection, stream, make_writer)
    if selection.layout is not Layout.RUNS or make_writer is not CsvTable:
        raise ExportError(
            f"'{path}': only a CSV with a row a run can be appended to", "Leave out --append, or name a .csv file."
        )
    with locked_file(path):
        return _append(store, selection, path)


def export_to_stdout(store: Store, selection: Selection) -> int:
    """Write the table as CSV to stdout, once it is whole; returns the number of rows."""
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

    For workers on the host that submitted the sweep, after each run that ended. Holds the file's lock while it
    reads the database, so whoever writes last has seen the newest run. Only runs that have ended are written.
    Nothing is touched before the first of them: a file of an earlier sweep is replaced (or, with append, added
    to) then. Raises ExportError where the file can't be written.
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
    return any(found.curves for found in runs_with_curves(store, selection.runs))


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
    """`attempt` with columns for the metrics of the first run, and again for all where a later run has others."""
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
    if not _has_rows(store, selection) and not selection.with_pointless:
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
    """A CSV whose own rows leave the columns empty that only the rows before them have."""

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
