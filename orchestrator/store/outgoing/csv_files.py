"""The CSV files that `-c` sweeps keep up to date: whose a file is, and whose rows it lacks.

A file belongs to the newest sweep submitted to it without --append. Sweeps before that one write there no more; those
after it, all with --append, add their rows.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, String, cast, func, select, update

from orchestrator.queue.sweeps import CsvState, CsvTarget
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import ENDED
from orchestrator.store.tables import runs, sweeps

# Each further end of a run changes it, that of a run that was tried again too.
_ROWS = (
    select(cast(func.count(), String) + " " + cast(func.coalesce(func.sum(runs.c.fence), 0), String))
    .where(runs.c.sweep_id == sweeps.c.id, ENDED)
    .scalar_subquery()
)


class CsvStore(StoreBase):
    """What the files of this host should hold, and what they were given."""

    def csv_states(self, host: str) -> list[CsvState]:
        """How the CSV of each `-c` sweep of `host` stands, oldest sweep first. To be called on that host."""
        with self._read() as connection:
            return read_csv_states(connection, host)

    def note_csv_written(self, state: CsvState) -> None:
        """The file has been given the rows that `state` tells of."""
        with self._write() as connection:
            written = update(sweeps).where(sweeps.c.id == state.sweep_id).values(csv_written=state.ended)
            connection.execute(written)


def note_rows_gone(connection: Connection, sweep_id: int) -> None:
    """The sweep's file holds rows of deleted runs. Its other rows may come to the same counts, and be taken for those
    that the file was given."""
    rows = sweeps.c.csv_written
    connection.execute(update(sweeps).where(sweeps.c.id == sweep_id, rows != "").values(csv_written="rows of deleted"))


def read_csv_states(connection: Connection, host: str) -> list[CsvState]:
    """As `CsvStore.csv_states`."""
    columns = (sweeps.c.id, sweeps.c.csv_path, sweeps.c.csv_append, sweeps.c.csv_written, _ROWS.label("ended"))
    query = select(*columns).where(sweeps.c.csv_path.is_not(None), sweeps.c.csv_host == host).order_by(sweeps.c.id)
    rows = connection.execute(query).all()
    targets = {row.id: CsvTarget(path=row.csv_path, append=bool(row.csv_append), host=host) for row in rows}
    taken, files = takers(targets), _files(targets)
    later = {one: tuple(there[place + 1 :]) for there in files for place, one in enumerate(there)}
    return [
        CsvState(
            sweep_id=row.id,
            target=targets[row.id],
            ended="" if row.ended.startswith("0 ") else row.ended,
            written=row.csv_written,
            taken_by=taken.get(row.id),
            later=later[row.id],
        )
        for row in rows
    ]


def takers(targets: Mapping[int, CsvTarget]) -> dict[int, int]:
    """The sweep that has taken a sweep's file, of those whose file was taken. `targets` are of one host, by sweep."""
    found: dict[int, int] = {}
    for there in _files(targets):
        owner = max((one for one in there if not targets[one].append), default=0)
        found |= {one: owner for one in there if one < owner}
    return found


def _files(targets: Mapping[int, CsvTarget]) -> Collection[Sequence[int]]:
    """The sweeps on each file, oldest first."""
    found: dict[Any, list[int]] = {}
    for sweep_id in sorted(targets):
        found.setdefault(place_of(targets[sweep_id].path), []).append(sweep_id)
    return found.values()


def replaced_by(target: CsvTarget, states: Sequence[CsvState]) -> list[CsvState]:
    """Those sweeps that write to the file just now, oldest first, and will not once a sweep of `target` is there."""
    if target.append:
        return []
    place = place_of(target.path)
    return [one for one in states if one.taken_by is None and place_of(one.target.path) == place]


def place_of(path: str) -> tuple[int, int, str] | str:
    """The same for all names of one file, by links or by another path to its folder."""
    resolved = Path(os.path.realpath(path))
    try:
        folder = resolved.parent.stat()
    except OSError:
        return str(resolved)
    return folder.st_dev, folder.st_ino, resolved.name
