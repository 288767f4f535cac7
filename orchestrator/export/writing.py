"""`hlbq export`: runs and their points as a table in a file, and the CSV that `-c` keeps up to date."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO

from hlbgpt_core.errors import HlbqError
from orchestrator.errors import ExportError
from orchestrator.export.blocks import Layout, Selection, blocks, columns_of
from orchestrator.export.cells import read_text_cell
from orchestrator.export.columns import Column
from orchestrator.export.csv_table import KEY_COLUMN, csv_header, holds_runs, read_raw_rows
from orchestrator.export.table_formats import CsvTable, TableWriter, format_of
from orchestrator.files.given_path import expanded
from orchestrator.files.replaced_file import (
    LOCK_TIMEOUT_SECONDS,
    checked_target,
    export_errors,
    locked_file,
    replaced_file,
)
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import Store


def export(store: Store, path: str | Path, selection: Selection, *, append: bool = False) -> int:
    """Write the selected runs or points to `path`, in the format of its ending; returns the number of rows.

    With `append` the rows of other runs in the CSV stay, and those of the selected runs are replaced. Without any row
    to write, no file is written. Raises ExportError, and leaves the old file unchanged, if that fails.
    """
    path = expanded(path)
    checked_target(path)
    make_writer = format_of(path)
    if selection.layout is Layout.ORIGINAL and make_writer is not CsvTable:
        raise ExportError(f"'{path}': --layout original is a CSV", f"Name a .csv file: {path.with_suffix('.csv').name}")
    if not append:
        if not _has_rows(store, selection):
            return 0
        with replaced_file(path) as stream:
            return _write_table(store, selection, stream, make_writer)
    if selection.layout is not Layout.RUNS or make_writer is not CsvTable:
        raise ExportError(
            f"'{path}': --append needs a CSV with one row per run, of --layout runs",
            "Leave out --append, or name a .csv file.",
        )
    with locked_file(path):
        csv_header(path)  # refuses other tables, even where there is nothing to add
        if not _has_rows(store, selection):
            return 0
        own = _uids(store, selection.runs)
        return _merge(store, selection, path, own, keep=lambda uid: uid not in own)


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
    """Bring the CSV of a `-c` sweep up to date; returns the number of its rows, 0 where the file is a later sweep's.

    Workers on the host that submitted the sweep call this after each run. It holds the file's lock while it reads the
    database, so the last writer has seen the newest run. It writes only runs that have ended, and touches nothing
    before the first of them. That one replaces a file of before, but for rows of later sweeps (with append it replaces
    nothing); from then on all rows of others stay, and those of the sweep's deleted runs go. Raises ExportError if the
    file cannot be written, and leaves one that no longer holds this sweep's rows: somebody else replaced it.
    """
    if sweep.csv is None:
        return 0
    path = Path(sweep.csv.path)
    ended = Selection(runs=RunFilter(sweep_ids=(sweep.id,), states=tuple(sorted(TERMINAL))))
    with locked_file(path, timeout_seconds=lock_timeout_seconds):
        state = next((one for one in store.csv_states(sweep.csv.host) if one.sweep_id == sweep.id), None)
        if state is None or state.taken_by is not None or not _has_rows(store, ended):
            return 0
        own = _uids(store, RunFilter(sweep_ids=(sweep.id,))) | store.deleted_of(sweep.id)
        if state.written or sweep.csv.append:
            has_rows = bool(state.written)
            count = _merge(store, ended, path, own, keep=lambda uid: uid not in own, must_hold_own=has_rows)
        elif state.later and holds_runs(path):
            later = _uids(store, RunFilter(sweep_ids=tuple(state.later)))
            count = _merge(store, ended, path, own, keep=later.__contains__)
        else:
            with replaced_file(path) as stream:
                count = _write_table(store, ended, stream, CsvTable)
        store.note_csv_written(state)
    return count


def catch_up(store: Store, sweep_id: int, *, host: str, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> str:
    """Write what the CSV of a sweep of `host`, which is this one, lacks; returns what went wrong, in words."""
    try:
        behind = any(one.sweep_id == sweep_id and one.behind for one in store.csv_states(host))
        sweep = store.sweep(sweep_id) if behind else None
        if sweep is not None:
            rewrite_sweep_csv(store, sweep, lock_timeout_seconds=lock_timeout_seconds)
    except (HlbqError, OSError) as error:
        why = error.message if isinstance(error, HlbqError) else str(error)
        again = f"hlbq export results.csv --sweep {sweep_id}{store.location.option}"
        return f"the CSV of sweep {sweep_id} was not written: {why}. Write it from the database: {again}"
    return ""


def catch_up_all(store: Store, host: str) -> list[str]:
    """As `catch_up` for every sweep of `host`; returns all that went wrong. Whoever holds a file's lock just now writes
    the same rows."""
    behind = [state.sweep_id for state in store.csv_states(host) if state.behind]
    return list(filter(None, [catch_up(store, number, host=host, lock_timeout_seconds=0.0) for number in behind]))


def _has_rows(store: Store, selection: Selection) -> bool:
    return any(map(selection.shows, store.runs_with_curves(selection.runs)))


def _write_table(
    store: Store,
    selection: Selection,
    stream: IO[bytes],
    make_writer: Callable[[IO[bytes], Sequence[Column]], TableWriter],
) -> int:
    columns = columns_of(store, selection)
    with contextlib.closing(make_writer(stream, columns)) as writer:
        return _write_blocks(writer, store, selection, columns)


def _write_blocks(writer: TableWriter, store: Store, selection: Selection, columns: Sequence[Column]) -> int:
    count = 0
    for block in blocks(store, selection, columns):
        writer.write(block)
        count += len(block[0])
    return count


def _merge(
    store: Store,
    selection: Selection,
    path: Path,
    own: Collection[str],
    *,
    keep: Callable[[str], bool],
    must_hold_own: bool = False,
) -> int:
    """Write the selected runs to the CSV where the rows of `own` (uids) were, or at its end. Others stay if `keep`."""
    header = csv_header(path)
    columns = columns_of(store, selection)
    names = [column.name for column in columns]
    names += [name for name in header if name not in set(names)]
    count, kept = None, 0
    with (
        replaced_file(path) as stream,
        contextlib.closing(CsvTable(stream, columns, names[len(columns) :])) as writer,
    ):
        for row in read_raw_rows(path) if header else ():
            uid = read_text_cell(row[KEY_COLUMN])
            if uid in own and count is None:
                count = _write_blocks(writer, store, selection, columns)
            elif keep(uid):
                writer.row(row.get(name, "") for name in names)
                kept += 1
        if count is None and kept and must_hold_own:
            raise ExportError(f"another program or database has replaced '{path}' since", "It was left as it is.")
        return _write_blocks(writer, store, selection, columns) if count is None else count


def _uids(store: Store, wanted: RunFilter) -> frozenset[str]:
    return frozenset(run.uid for run in store.runs(wanted))
