"""What `hlbq status` shows, computed from the database: only values, whose fields are the keys of `--json`."""

import dataclasses
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hlbgpt_core.flops import model_flops_utilisation
from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.growth.standing import summary_lines
from orchestrator.queue.code import code_note
from orchestrator.queue.notices import Notice
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.queue.workers import DeviceHours, WorkerRecord
from orchestrator.status.time_left import estimate_sweeps, run_seconds_left
from orchestrator.store import Store
from orchestrator.store.outgoing.csv_files import takers
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.definition import swept_axes

# More running runs, or runs of a small sweep, than this are counted, not listed.
MOST_RUNNING_SHOWN = 64
# Of more unfinished sweeps than this, only the newest are listed, and only their time left is estimated.
MOST_SWEEPS_LISTED = 12
MOST_RUNS_SHOWN = 40
MOST_FAILED_SHOWN = MOST_ENDED_WORKERS_SHOWN = MOST_EVENTS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """A sweep's counts: `done` runs have completed or failed.

    `export_command` is set if another host keeps the sweep's CSV up to date, or should. `csv_taken_by` is the later
    sweep that its CSV belongs to now. Undelivered notices of --notify are waiting, or were given up after too many
    tries. `seconds_left`, and the hours that its attempts took, are of sweeps that are listed, where they are known.
    """

    id: int
    name: str
    counts: Mapping[str, int]
    total: int
    done: int
    seconds_left: float | None
    export_command: str | None
    csv_path: str | None
    csv_host: str | None
    csv_taken_by: int | None
    notify_by: str
    notices_waiting: int
    notices_given_up: int
    notice_error: str
    tags: Sequence[str] = ()
    gpu_hours: float | None = None
    device_hours: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether runs are pending or running."""
        return bool(self.counts[State.PENDING] + self.counts[State.RUNNING])


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run. `settings` are those in which the sweep's arms differ; losses are in nats per token. `waits_seconds` is
    set for a run that waits to be retried after an error. `mfu` is model_flops_utilisation."""

    id: int
    sweep: int
    arm: int
    settings: Mapping[str, Any]
    num_params: int
    seed: int
    state: str
    reason: str | None
    paused: bool
    waits_seconds: float | None
    phase: str | None
    step: int
    epoch: float | None
    fraction: float
    seconds_left: float | None
    tokens_per_second: float
    mfu: float | None
    microbatches: int | None
    memory_bytes: int
    last_train_loss: float | None
    last_val_loss: float | None
    val_losses: Sequence[float]
    worker: int | None
    error: str
    code_note: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class HeldRuns:
    """Pending runs that are held: their checkpoints come from code `its_code`, and the worker had `code`."""

    runs: Sequence[int]
    its_code: str
    code: str


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A worker, `silent` if its last beat, with the temperature and use of its device, is older than its lease."""

    id: int
    hostname: str
    pid: int
    device: str
    device_name: str
    slot: int
    slots: int
    job: str
    beat_age_seconds: float
    silent: bool
    run: int | None
    ended: bool
    set_aside: bool
    why: str
    temperature_celsius: float | None
    use_percent: float | None


@dataclass(frozen=True, kw_only=True)
class EventStatus:
    """Something that happened."""

    at: float
    actor: str
    action: str
    sweep: int | None
    run: int | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """One moment of a database. `runs` are the running ones, and of the latest sweep all if they are few, else the
    first failed ones. `tokens_per_second` is of all running runs. `database_option` is what a command needs to find
    this database again (` --db PATH`, or nothing). `growing` says how sweeps with a policy stand. Of the sweeps those
    are `listed` that were asked for by number, else the newest unfinished ones and the latest."""

    database: str
    database_option: str
    at: float
    counts: Mapping[str, int]
    total: int
    sweeps: Sequence[SweepStatus]
    running_total: int
    backing_off: int
    tokens_per_second: float
    runs: Sequence[RunStatus]
    workers: Sequence[WorkerStatus]
    events: Sequence[EventStatus]
    held: Sequence[HeldRuns] = ()
    growing: Sequence[str] = ()
    listed: Sequence[int] = ()


_Shown = TypeVar("_Shown", RunStatus, WorkerStatus, SweepStatus, EventStatus)


def read_status(
    store: Store, wanted: RunFilter, *, now: float, events: int = MOST_EVENTS_SHOWN, every_sweep: bool = False
) -> Status:
    """The status of the runs that pass `wanted`, with the newest `events`; `now` is in seconds since the epoch. With
    `every_sweep` none is left out of the list."""
    everything = store.sweeps()
    sweeps = [sweep for sweep in everything if not wanted.sweep_ids or sweep.id in wanted.sweep_ids]
    of_sweeps = {state: sum(sweep.counts[state] for sweep in sweeps) for state in State}
    counts = of_sweeps if wanted.takes_whole_sweeps else store.counts(wanted)
    all_workers = store.workers(ended=True)
    workers = [worker for worker in all_workers if worker.ended_at is None]
    silent = {worker.id for worker in workers if worker.silent}
    running = _without_stale_rates(store.running(wanted) if counts[State.RUNNING] else [], silent)
    shown = _without_stale_rates(_shown_runs(store, wanted, sweeps, running[:MOST_RUNNING_SHOWN]), silent)
    runs = _run_statuses(store, shown, sweeps, now)
    left = {run.id: run.seconds_left for run in runs if run.seconds_left is not None}
    is_open = [sweep for sweep in sweeps if sweep.is_open]
    newest = is_open[-MOST_SWEEPS_LISTED:]
    estimates = estimate_sweeps(store, newest, running, left, len(workers))
    asked_for = sweeps if every_sweep or wanted.sweep_ids else [*newest, *sweeps[-1:]]
    listed = sorted({sweep.id for sweep in asked_for})
    seconds = {sweep.id: estimates.get(sweep.id) for sweep in is_open}
    hours = store.device_hours(listed)
    taken = takers({one.id: one.csv for one in everything if one.csv and one.csv.host == socket.gethostname()})
    only = wanted.sweep_ids[0] if len(wanted.sweep_ids) == 1 else None
    happened = store.events(sweep_id=only, limit=events) if events else ()
    return Status(
        database=store.location.display,
        database_option=store.location.option,
        at=now,
        counts={state.value: counts[state] for state in State},
        total=sum(counts.values()),
        sweeps=_sweep_statuses(store, sweeps, seconds, taken, hours),
        running_total=len(running),
        backing_off=store.backing_off(wanted.sweep_ids) if counts[State.PENDING] else 0,
        tokens_per_second=sum(run.tokens_per_second for run in running),
        runs=runs,
        held=held_runs(store, wanted) if counts[State.PENDING] else (),
        growing=summary_lines(store, wanted.sweep_ids, sweeps[-1].id if sweeps else None),
        workers=[_worker_status(worker) for worker in [*workers, *_ended_badly(all_workers, sweeps)]],
        events=[_like(event, kind=EventStatus, sweep=event.sweep_id, run=event.run_id) for event in happened],
        listed=listed,
    )


def _like(*records: Any, kind: type[_Shown], **own: Any) -> _Shown:
    """A value with the fields that the records have under the same names, and with `own` ones."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in own]
    shared = {name: getattr(record, name) for record in records for name in names if hasattr(record, name)}
    return kind(**shared, **own)


def held_runs(store: Store, wanted: RunFilter) -> list[HeldRuns]:
    """The runs of the wanted sweeps that are held, by their code."""
    groups: dict[tuple[str, str], list[int]] = {}
    for run_id, its_code, code in store.held_runs(wanted.sweep_ids):
        groups.setdefault((its_code, code), []).append(run_id)
    return [HeldRuns(runs=runs, its_code=its_code, code=code) for (its_code, code), runs in groups.items()]


def _without_stale_rates(runs: Sequence[RunRecord], silent: Collection[int]) -> list[RunRecord]:
    """The runs; what a worker that is most likely dead said of its speed is no longer so."""
    return [dataclasses.replace(run, tokens_per_second=0.0) if run.worker_id in silent else run for run in runs]


def _shown_runs(
    store: Store, wanted: RunFilter, sweeps: Sequence[SweepRecord], running: Sequence[RunRecord]
) -> Sequence[RunRecord]:
    shown = {run.id: run for run in running}
    if not wanted.takes_whole_sweeps:
        shown |= {run.id: run for run in store.runs(wanted, limit=MOST_RUNS_SHOWN)}
    elif sweeps and sum(sweeps[-1].counts.values()) <= MOST_RUNS_SHOWN:
        shown |= {run.id: run for run in store.runs(RunFilter(sweep_ids=(sweeps[-1].id,)))}
    elif sweeps and sweeps[-1].counts[State.FAILED]:
        failed = RunFilter(sweep_ids=(sweeps[-1].id,), states=(State.FAILED,))
        shown |= {run.id: run for run in store.runs(failed, limit=MOST_FAILED_SHOWN)}
    return [shown[run_id] for run_id in sorted(shown)]


def _run_statuses(
    store: Store, runs: Sequence[RunRecord], sweeps: Sequence[SweepRecord], now: float
) -> list[RunStatus]:
    shown = {run.sweep_id for run in runs}
    swept = {sweep.id: _swept_settings(sweep, runs) for sweep in sweeps if sweep.id in shown}
    losses = store.losses([run.id for run in runs if run.fence], Split.VAL)
    running = [run.id for run in runs if run.state is State.RUNNING]
    same = store.same_code()
    attempts = store.newest_attempts(running)
    last = store.curves(running, Split.TRAIN, ("microbatches",), last=True)
    microbatches = {curve.run_id: curve["microbatches"][-1] for curve in last}

    def status(run: RunRecord) -> RunStatus:
        train_tokens, attempt = run.facts.get("train_tokens"), attempts.get(run.id)
        return _like(
            run,
            kind=RunStatus,
            sweep=run.sweep_id,
            arm=run.arm_number,
            settings={name: run.settings.get(name) for name in swept.get(run.sweep_id, ())},
            waits_seconds=max(run.backoff_until - now, 0.0) if run.backoff_until is not None else None,
            epoch=run.tokens_seen / train_tokens if train_tokens else None,
            fraction=1.0 if run.state is State.COMPLETED else run.fraction,
            seconds_left=run_seconds_left(run, attempt, now) if attempt else None,
            mfu=utilisation(run),
            microbatches=microbatches.get(run.id),
            val_losses=losses.get(run.id, ()),
            worker=run.worker_id,
            error=f"{run.error_type}: {run.error_message}" if run.error_type else run.error_message,
            code_note=code_note(run, same),
        )

    return list(map(status, runs))


def _swept_settings(sweep: SweepRecord, runs: Sequence[RunRecord]) -> Sequence[str]:
    """The settings that were given several values, or a range, when the sweep was made, or have several in `runs`."""
    differing = differing_settings(run.settings for run in runs if run.sweep_id == sweep.id)
    return list(dict.fromkeys([*swept_axes(sweep.definition), *differing]))


def utilisation(run: RunRecord) -> float | None:
    """The share of its device's peak that a run uses; None if it is not known, or the run is not training."""
    return model_flops_utilisation(
        Settings.from_dict(run.settings),
        step=run.step,
        tokens_per_second=run.tokens_per_second,
        device_name=str(run.facts.get("device_name") or ""),
        precision=str(run.facts.get("precision") or ""),
    )


def _sweep_statuses(
    store: Store,
    sweeps: Sequence[SweepRecord],
    seconds: Mapping[int, float | None],
    taken: Mapping[int, int],
    hours: Mapping[int, DeviceHours],
) -> list[SweepStatus]:
    undelivered: dict[int, list[Notice]] = {}
    for notice in store.undelivered():
        undelivered.setdefault(notice.sweep_id, []).append(notice)

    def status(sweep: SweepRecord) -> SweepStatus:
        elsewhere = sweep.csv is not None and sweep.csv.host != socket.gethostname()
        notices, spent = undelivered.get(sweep.id, []), hours.get(sweep.id)
        given_up = sum(notice.given_up for notice in notices)
        return _like(
            sweep,
            kind=SweepStatus,
            counts={state.value: sweep.counts[state] for state in State},
            total=sum(sweep.counts.values()),
            done=sweep.counts[State.COMPLETED] + sweep.counts[State.FAILED],
            seconds_left=seconds.get(sweep.id, 0.0),
            export_command=f"hlbq export{store.location.option} results.csv --sweep {sweep.id}" if elsewhere else None,
            csv_path=sweep.csv.path if sweep.csv else None,
            csv_host=sweep.csv.host if sweep.csv else None,
            csv_taken_by=taken.get(sweep.id),
            notices_waiting=len(notices) - given_up,
            notices_given_up=given_up,
            notice_error=next((notice.error for notice in reversed(notices) if notice.error), ""),
            gpu_hours=spent.gpu if spent else None,
            device_hours=spent.other if spent else None,
        )

    return list(map(status, sweeps))


def _ended_badly(workers: Sequence[WorkerRecord], sweeps: Sequence[SweepRecord]) -> Sequence[WorkerRecord]:
    """Workers that were set aside or taken for dead, if there is work and nobody has replaced them."""
    if not any(sweep.is_open for sweep in sweeps):
        return []
    places = {(one.identity.hostname, one.identity.device, one.identity.slot): one for one in workers}
    ordinary = ("asked to stop", "its time is nearly up", "the queue is empty", "its sweeps were deleted")
    ended = [worker for worker in places.values() if worker.ended_at is not None and worker.ended_why not in ordinary]
    bad = [worker for worker in ended if not worker.ended_why.endswith("runs are done")]
    return bad[-MOST_ENDED_WORKERS_SHOWN:]


def _worker_status(worker: WorkerRecord) -> WorkerStatus:
    return _like(
        worker,
        worker.identity,
        worker.reading,
        kind=WorkerStatus,
        beat_age_seconds=max(worker.beat_age_seconds, 0.0),
        run=worker.run_id,
        ended=worker.ended_at is not None,
        set_aside="set aside" in worker.ended_why,
        why=worker.ended_why,
    )
