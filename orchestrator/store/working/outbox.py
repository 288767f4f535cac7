"""What follows from an ending, in the very transaction in which it happens: notices, and due steps of policies.

Everybody locks runs first, then policies, then sweeps, each by number: no deadlocks.

Whoever ends a run of such a sweep locks the sweep's row before counting what is left: of two transactions that end the
last two runs at once, the later one sees the end of both, and exactly one notices that the sweep is over.
"""

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from orchestrator.queue.notices import NoticeKind
from orchestrator.store.base import to_json
from orchestrator.store.filters import UNFINISHED
from orchestrator.store.tables import OPEN_POLICY, notices, policies, runs, sweeps


def note_results(connection: Connection, of_sweeps: ColumnElement[bool]) -> None:
    """Runs of these sweeps have ended, or people did something to them: their policies have a step due."""
    mine = and_(of_sweeps, OPEN_POLICY)
    if lock_policies(connection, mine):
        connection.execute(update(policies).where(mine).values(results=policies.c.results + 1))


def lock_policies(connection: Connection, where: ColumnElement[bool]) -> list[int]:
    """The numbers of the policies that match, locked until the transaction ends."""
    query = select(policies.c.id).where(where).order_by(policies.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def note_end(connection: Connection, sweep_id: int, now: float, *, failed: tuple[int, int] | None = None) -> None:
    """A run of a sweep that wants notices has reached a final state; `failed` is its number and fence if it failed.

    A sweep with an open policy may grow: the policy's next step notes its end.
    """
    connection.execute(select(sweeps.c.id).where(sweeps.c.id == sweep_id).with_for_update(key_share=True))
    may_grow = select(policies.c.id).where(policies.c.sweep_id == sweep_id, OPEN_POLICY)
    is_over = connection.execute(may_grow).first() is None and not _has_open_runs(connection, sweep_id)
    if failed is not None:
        run_id, fence = failed
        _insert(connection, sweep_id, now, NoticeKind.RUN_FAILED, run_id=run_id, fence=fence)
    if is_over:
        _insert(connection, sweep_id, now, NoticeKind.SWEEP_ENDED)


def note_if_over(connection: Connection, sweep_id: int, now: float) -> None:
    """A step of the sweep's policy added nothing: if the sweep wants notices and no run is open, it is over."""
    wants = select(sweeps.c.id).where(sweeps.c.id == sweep_id, sweeps.c.notify_token != "")
    if connection.execute(wants).first() is not None and not _has_open_runs(connection, sweep_id):
        _insert(connection, sweep_id, now, NoticeKind.SWEEP_ENDED)


def _has_open_runs(connection: Connection, sweep_id: int) -> bool:
    still_open = select(runs.c.id).where(runs.c.sweep_id == sweep_id, UNFINISHED).limit(1)
    return connection.execute(still_open).first() is not None


def note_ends(connection: Connection, chosen: ColumnElement[bool], now: float) -> None:
    """The chosen runs were cancelled: note those of their sweeps that are over with that."""
    wanted = (
        select(sweeps.c.id)
        .where(sweeps.c.notify_token != "", sweeps.c.id.in_(select(runs.c.sweep_id).where(chosen)))
        .order_by(sweeps.c.id)
    )
    for sweep_id in connection.execute(wanted).scalars().all():
        note_end(connection, sweep_id, now)


def _insert(connection: Connection, sweep_id: int, now: float, kind: NoticeKind, **failed: int) -> None:
    """Write a notice, with the sweep's runs by state as they are now."""
    counted = select(runs.c.state, func.count().label("number")).where(runs.c.sweep_id == sweep_id)
    counts = {row.state: row.number for row in connection.execute(counted.group_by(runs.c.state))}
    row = {"sweep_id": sweep_id, "at": now, "counts": to_json(counts), "happening": kind.value}
    connection.execute(insert(notices).values(**row, **failed))
