"""A status in words: lines and tables of plain text, which the terminal view colours and pipes get unchanged."""

import itertools
import math
from collections.abc import Mapping, Sequence

from orchestrator.queue.code import HELD, MIXED, held_lines
from orchestrator.queue.states import State, state_and_reason
from orchestrator.status.reading import (
    MOST_SWEEPS_LISTED,
    EventStatus,
    HeldRuns,
    RunStatus,
    Status,
    SweepStatus,
    WorkerStatus,
)
from orchestrator.sweep.options import value_text
from orchestrator.wording.commands import naming_database
from orchestrator.wording.numbers import counted, duration, hours_text, loss_text, short_count
from orchestrator.wording.plain import printable
from orchestrator.wording.tables import TextTable

BAR_WIDTH = 28
SPARK_WIDTH = 14
_SPARKS = "▁▂▃▄▅▆▇█"
_ERROR_WIDTH = 60
_NAME_WIDTH = 30


def why_empty(status: Status) -> str:
    """What is said in place of runs."""
    if status.sweeps:
        return f"no run matches. See all: hlbq status{status.database_option} --all"
    return f"no runs yet. Submit some: hlbq submit{status.database_option} --help"


def status_lines(status: Status) -> list[str]:
    """The whole status as plain lines."""
    if not status.total:
        return [printable(f"{status.database}: {why_empty(status)}")]
    again = f" ({status.backing_off:,} to retry)" if status.backing_off else ""
    speed = f"; {short_count(status.tokens_per_second)} tokens/s" if status.tokens_per_second else ""
    lines = [printable(f"{status.database}: {counts_text(status.counts)}{again}{speed}"), ""]
    lines += sweeps_table(status).without_empty_columns().lines()
    lines += map(printable, notes_of(status))
    lines += [naming_database(line, status.database_option) for line in held_notes(status.held)]
    if status.runs:
        lines += ["", *runs_table(status.runs).without_empty_columns().lines()]
    hidden = status.running_total - sum(run.state == State.RUNNING for run in status.runs)
    if hidden:
        lines += [f"and {hidden:,} more running"]
    lines += map(printable, slot_speeds(status))
    if status.workers:
        lines += ["", *workers_table(status.workers).without_empty_columns().lines()]
    elif status.counts[State.PENDING] + status.counts[State.RUNNING]:
        lines += ["", f"No worker is running. Start one: hlbq worker{status.database_option}"]
    return lines


def counts_text(counts: Mapping[str, int]) -> str:
    """`8 runs: 2 running, 6 completed`; states without runs are left out."""
    named = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    return f"{counted(sum(counts.values()), 'run')}: {named}"


def left_text(status: Status) -> list[str]:
    """`about 3 h left` for all unfinished sweeps; nothing while it is unknown, or not estimated for all of them."""
    left = [sweep.seconds_left for sweep in status.sweeps if sweep.is_open]
    known = [seconds for seconds in left if seconds is not None]
    return [f"about {duration(sum(known))} left"] if known and len(left) <= MOST_SWEEPS_LISTED else []


def sweeps_table(status: Status, *, most: int = 0) -> TextTable:
    """The listed sweeps, or the newest `most`: a bar, counts by state, device-hours, and the time left."""
    listed = set(status.listed[-most:])
    rows = [
        [
            str(sweep.id),
            _short(sweep.name, _NAME_WIDTH),
            _short(" ".join(sweep.tags), _NAME_WIDTH),
            bar(sweep.done / sweep.total if sweep.total else 0.0),
            f"{sweep.done:,}/{sweep.total:,}",
            *(f"{sweep.counts[state]:,}" if sweep.counts[state] else "" for state in State),
            hours_text(sweep.gpu_hours or 0.0),
            hours_text(sweep.device_hours or 0.0),
            duration(sweep.seconds_left) if sweep.is_open else "",
        ]
        for sweep in status.sweeps
        if sweep.id in listed
    ]
    numbers = ["done", *State, "GPU-hours", "device-hours", "left"]
    headers = ["sweep", "name", "tags", "progress", *numbers]
    return TextTable(headers=headers, rows=rows, right=frozenset({"sweep", *numbers}))


def notes_of(status: Status) -> list[str]:
    """What is told of sweeps. Its commands name the database."""
    notes = [*sweep_notes(status.sweeps), *status.growing]
    return [naming_database(note, status.database_option) for note in notes]


def sweep_notes(sweeps: Sequence[SweepStatus]) -> list[str]:
    """For sweeps whose CSV another host keeps: the command that writes it here. Also notices not delivered."""
    notes = [
        f"sweep {sweep.id}: its CSV {sweep.csv_path} is kept on {sweep.csv_host}. Write it here: {sweep.export_command}"
        for sweep in sweeps
        if sweep.export_command
    ]
    notes += [
        f"sweep {sweep.id}: its CSV {sweep.csv_path} belongs to sweep {sweep.csv_taken_by} now, and gets no more of "
        f"its rows. Write them elsewhere: hlbq export FILE.csv --sweep {sweep.id}"
        for sweep in sweeps
        if sweep.csv_taken_by is not None and (sweep.is_open or len(sweeps) == 1)
    ]
    for sweep in sweeps:
        notices = counted(sweep.notices_given_up or sweep.notices_waiting, "notice")
        by, error = sweep.notify_by, f" ({sweep.notice_error})" if sweep.notice_error else ""
        if sweep.notices_given_up:
            notes.append(f"sweep {sweep.id}: {notices} of {by} failed{error}. Try again: hlbq notify")
        elif sweep.notices_waiting:
            wait = f"{notices} not delivered yet{error}; workers of {by} will, or run there: hlbq notify"
            notes.append(f"sweep {sweep.id}: {wait}")
    return notes


def held_notes(held: Sequence[HeldRuns]) -> list[str]:
    """Runs that are held until somebody chooses their code, and how to choose."""
    return [line for group in held for line in held_lines(group.runs, group.its_code, group.code)]


def slot_speeds(status: Status) -> list[str]:
    """The total speed of the slots of each shared device, in tokens a second."""
    speeds = {run.id: run.tokens_per_second for run in status.runs}
    shared: dict[tuple[str, str], list[float]] = {}
    for worker in status.workers:
        if worker.slots > 1 and worker.run in speeds:
            shared.setdefault((worker.device, worker.hostname), []).append(speeds[worker.run])
    return [
        f"{device} of {host}: {short_count(sum(found))} tokens/s in {counted(len(found), 'slot')}"
        for (device, host), found in shared.items()
    ]


def runs_table(runs: Sequence[RunStatus]) -> TextTable:
    """One row per run: what sets it apart, its progress and its losses. Empty columns are left to who shows it."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(run.settings for run in runs)))
    headers = ["run", "params", *names, "seed", "state", "done", "step", "epoch", "train loss", "val loss", "val curve"]
    headers += ["tokens/s", "mfu", "microbatches", "memory", "left", "error"]
    rows = []
    for run in runs:
        running = run.state == State.RUNNING
        rows.append(
            [
                str(run.id),
                short_count(run.num_params),
                *(value_text(run.settings[name]) if name in run.settings else "" for name in names),
                str(run.seed),
                state_text(run),
                f"{run.fraction:.0%}" if running else "",
                f"{run.step:,}" if run.step else "",
                f"{run.epoch:.2f}" if run.epoch else "",
                loss_text(run.last_train_loss),
                loss_text(run.last_val_loss),
                sparkline(run.val_losses),
                short_count(run.tokens_per_second) if run.tokens_per_second else "",
                f"{run.mfu:.0%}" if run.mfu else "",
                f"{run.microbatches:,}" if running and run.microbatches else "",
                f"{run.memory_bytes / 2**30:.1f} GiB" if running and run.memory_bytes else "",
                duration(run.seconds_left) if running else "",
                _short(run.error) if run.state in (State.FAILED, State.PENDING) else "",
            ]
        )
    return TextTable(headers=headers, rows=rows, right=frozenset(headers) - {"state", "val curve", "error"})


def state_text(run: RunStatus) -> str:
    """The state with its details: the phase, the reason, a pause, its code."""
    text = state_and_reason(run.state, run.reason)
    if run.state == State.RUNNING and run.phase and run.phase != "train":
        text = f"running: {run.phase}"
    if run.state == State.PENDING:
        if run.code_note == HELD:
            return HELD
        if run.paused:
            text = "paused"
        elif run.waits_seconds is not None:
            text = f"pending: retry in {duration(run.waits_seconds)}"
    return f"{text}, {run.code_note}" if run.code_note == MIXED else text


def workers_table(workers: Sequence[WorkerStatus]) -> TextTable:
    """One row per worker: where it is, its last sign of life, its run."""
    rows = [
        [
            str(worker.id),
            worker.hostname,
            worker.device + (f" ({worker.slot + 1} of {worker.slots})" if worker.slots > 1 else ""),
            worker.device_name,
            f"{worker.temperature_celsius:.0f} °C" if worker.temperature_celsius is not None else "",
            f"{worker.use_percent:.0f} %" if worker.use_percent is not None else "",
            worker.job,
            f"{duration(worker.beat_age_seconds)} ago",
            str(worker.run) if worker.run else "",
            _worker_note(worker),
        ]
        for worker in workers
    ]
    headers = ["worker", "host", "device", "device name", "temperature", "use", "job", "last beat", "holds run", "note"]
    right = frozenset(headers) - {"host", "device", "device name", "job", "note"}
    return TextTable(headers=headers, rows=rows, right=right)


def events_table(events: Sequence[EventStatus], *, now: float) -> TextTable:
    """The events, newest first; `now` is in seconds since the epoch."""
    rows = [
        [
            f"{duration(now - event.at)} ago",
            event.actor,
            event.action,
            f"run {event.run}" if event.run else f"sweep {event.sweep}" if event.sweep else "",
            _short(event.why),
        ]
        for event in events
    ]
    return TextTable(headers=["when", "who", "what", "of", "why"], rows=rows, right=frozenset({"when"}))


def _worker_note(worker: WorkerStatus) -> str:
    if worker.set_aside:
        return worker.why
    if worker.ended:
        return f"ended: {worker.why}"
    return "silent for longer than its lease" if worker.silent else ""


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A bar of `width` characters, to an eighth of a character."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "·")


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """The course of `values` in at most `width` characters; `!` stands for values that are not finite."""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "!" * len(values)
    low = min(finite)
    spread = max(finite) - low or 1.0
    if math.isinf(spread):  # further apart than a float can tell
        return sparkline([value / 4 for value in values], width)
    top = len(_SPARKS) - 1
    return "".join(_SPARKS[round((value - low) / spread * top)] if math.isfinite(value) else "!" for value in values)


def _short(text: str, width: int = _ERROR_WIDTH) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
