"""The code that computed runs: its sources, which digests are the same, and runs held because theirs has changed."""

from collections.abc import Callable, Collection

from sqlalchemy import Connection, func, select, true, update

from orchestrator.queue.code import CodeRecord, SameCode
from orchestrator.queue.states import State
from orchestrator.store.base import UNLESS_THERE, Author, StoreBase, insert_one
from orchestrator.store.events import record_event
from orchestrator.store.filters import in_sweeps
from orchestrator.store.rows import read_code, record_of
from orchestrator.store.tables import OTHER_CODE, code, runs, same_code
from orchestrator.store.working.endings import note_results


def read_same_code(connection: Connection) -> SameCode:
    """Which digests are of the same code, as far as the transaction sees."""
    declared = connection.execute(select(same_code.c.first, same_code.c.second).order_by(same_code.c.at))
    return SameCode((row.first, row.second) for row in declared)


def _free(connection: Connection, is_free: Callable[[str, str], bool], author: Author, why: str) -> int:
    """Free the held runs of which `is_free(their digest, the digest they are held for)`; returns how many."""
    query = select(runs.c.id, runs.c.sweep_id, runs.c.held, runs.c.code).where(OTHER_CODE)
    held = connection.execute(query.with_for_update(key_share=True)).all()
    freed = [row for row in held if is_free(read_code(row.code)[-1].digest, row.held)]
    for row in freed:
        connection.execute(update(runs).where(runs.c.id == row.id).values(held="", paused=False))
        record_event(connection, author, "unpause", sweep_id=row.sweep_id, run_id=row.id, why=why.format(row.held))
    return len(freed)


class CodeStore(StoreBase):
    """Code by its digest."""

    def same_code(self) -> SameCode:
        """Which digests are of the same code."""
        with self._read() as connection:
            return read_same_code(connection)

    def declared_same(self) -> list[tuple[str, str, str]]:
        """What people declared the same: two digests and why, oldest first."""
        with self._read() as connection:
            query = select(same_code.c.first, same_code.c.second, same_code.c.why).order_by(same_code.c.at)
            return [(row.first, row.second, row.why) for row in connection.execute(query)]

    def declare_same(self, first: str, second: str, *, why: str, actor: str) -> int:
        """Declare two digests to be the same code. Runs that were held for the difference are free again; returns how
        many those are."""
        author = self._author(actor)
        with self._write() as connection:
            values = {"first": first, "second": second, "at": author.now, "actor": actor, "why": why}
            insert_one(connection, same_code, values, ending=UNLESS_THERE)
            record_event(connection, author, "same code", why=f"{first} {second}: {why}")
            freed = _free(connection, read_same_code(connection).equal, author, "its code is now the same as {}")
            note_results(connection, true())  # runs that were computed by both count from now on
            return freed

    def code_is_back(self, digest: str, actor: str) -> int:
        """Free runs that are held though a worker's code, `digest`, is theirs: an edit was undone. Returns how many."""
        if not self.held_runs():
            return 0
        with self._write() as connection:
            same = read_same_code(connection)
            author = self._author(actor)
            return _free(connection, lambda its, _: same.equal(its, digest), author, "its code is back, {} is gone")

    def knows_code(self, digest: str) -> bool:
        """Whether the sources of a digest are kept."""
        with self._read() as connection:
            return connection.execute(select(code.c.digest).where(code.c.digest == digest)).first() is not None

    def keep_code(self, record: CodeRecord) -> None:
        """Keep the sources of a digest; those that are there stay."""
        with self._write() as connection:
            insert_one(connection, code, {**vars(record), "first_at": self._clock()}, ending=UNLESS_THERE)

    def codes(self) -> list[CodeRecord]:
        """All kept code without its sources, oldest first."""
        columns = [column for column in code.c if column is not code.c.sources]
        with self._read() as connection:
            rows = connection.execute(select(*columns).order_by(code.c.first_at, code.c.digest))
            return [record_of(CodeRecord, row, sources="") for row in rows]

    def code(self, digest: str) -> CodeRecord | None:
        """The code of a digest with its sources, or None."""
        with self._read() as connection:
            row = connection.execute(select(code).where(code.c.digest == digest)).first()
            return None if row is None else record_of(CodeRecord, row)

    def newest_code(self, sweep_id: int) -> str:
        """The digest that computed the newest points of the sweep's last run that has any; empty without."""
        known = select(runs.c.code).where(runs.c.sweep_id == sweep_id, runs.c.code.is_not(None))
        with self._read() as connection:
            parts = read_code(connection.execute(known.order_by(runs.c.id.desc()).limit(1)).scalar())
            return parts[-1].digest if parts else ""

    def runs_by_code(self) -> dict[str, int]:
        """How many runs have points of each digest."""
        counts = select(runs.c.code, func.count()).where(runs.c.code.is_not(None)).group_by(runs.c.code)
        found: dict[str, int] = {}
        with self._read() as connection:
            for parts, count in connection.execute(counts):
                for digest in {part.digest for part in read_code(parts)}:
                    found[digest] = found.get(digest, 0) + count
        return found

    def held_runs(self, sweep_ids: Collection[int] = ()) -> list[tuple[int, str, str]]:
        """Pending runs that are held because their code has changed: number, their digest, the digest here."""
        held = select(runs.c.id, runs.c.code, runs.c.held).where(
            runs.c.state == State.PENDING.value, runs.c.paused, OTHER_CODE
        )
        with self._read() as connection:
            query = held.where(in_sweeps(connection, runs.c.sweep_id, sweep_ids))
            rows = connection.execute(query.order_by(runs.c.id))
            return [(row.id, read_code(row.code)[-1].digest, row.held) for row in rows]
