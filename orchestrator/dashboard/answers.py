"""What the pages of a run and the workers show, read from the store. Values for JSON, no markup."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.comparison.measuring.groups import read_baseline
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import sentences, tables
from orchestrator.comparison.results import compare
from orchestrator.dashboard.watching.sweep_watch import exact, named, plain_number
from orchestrator.dashboard.watching.thinning import drawn, numbers
from orchestrator.export.metric_names import Axis, no_axis
from orchestrator.plots.drawing.style import metric_label
from orchestrator.plots.run_curves import smoothed
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.code import code_note
from orchestrator.queue.runs import EventRecord, RunFilter, RunRecord
from orchestrator.queue.workers import DeviceSample, WorkerRecord
from orchestrator.status.reading import utilisation
from orchestrator.store import Store
from orchestrator.store.known import known_run
from orchestrator.store.reading.curves import CURVE_COLUMNS, Curve
from orchestrator.sweep.options import repeat_command, value_text
from orchestrator.wording.commands import naming_database

MOST_EVENTS = 200
MOST_ENDED_WORKERS = 100
MOST_RUN_POINTS = 800
MOST_SAMPLES = 1_000
_NO_METRICS = ("step", "cumulative_time", "tokens_seen", "epoch")


def workers(store: Store) -> dict[str, Any]:
    """The live workers, then past ones, newest first."""
    everyone = store.workers(ended=True)
    live = [worker for worker in everyone if worker.ended_at is None]
    past = [worker for worker in everyone if worker.ended_at is not None][::-1]
    return {
        "live": [_worker_words(worker) for worker in live],
        "past": [_worker_words(worker) for worker in past[:MOST_ENDED_WORKERS]],
        "past_left_out": max(0, len(past) - MOST_ENDED_WORKERS),
    }


def _worker_words(worker: WorkerRecord) -> Mapping[str, Any]:
    who = worker.identity
    return {
        **named(worker, "id started_at beat_at ended_at silent"),
        **named(who, "hostname pid device device_name slot slots job"),
        "run": worker.run_id,
        "why": worker.ended_why,
    }


def event_words(event: EventRecord) -> Mapping[str, Any]:
    """An event as pages show it."""
    return {**named(event, "id at actor action why"), "sweep": event.sweep_id, "run": event.run_id}


def run_page(store: Store, run_id: int) -> dict[str, Any]:
    """All that is known of a run except its curves and log. Raises NotThereError if the run does not exist."""
    run = known_run(store, run_id)
    sweep = store.sweep(run.sweep_id)
    attempts = store.attempts(run.id)
    changed = Settings.from_dict(run.settings).changed()
    tested = store.losses([run_id], Split.TEST).get(run_id)
    around = store.neighbours(run.id, run.sweep_id)
    return {
        **_run_words(run, store),
        "sweep_name": sweep.name if sweep else "",
        "sweep_tags": sweep.tags if sweep else [],
        "sisters": [(run_id, exact(seed), state) for run_id, seed, state in around.sisters],
        "before": around.before,
        "after": around.after,
        "test_loss": plain_number(tested[-1] if tested else None),
        "changed": {name: setting_text(value) for name, value in changed.items()},
        "settings": {name: setting_text(value) for name, value in run.settings.items() if name not in changed},
        "facts": {name: setting_text(value) for name, value in run.facts.items()},
        "repeat": naming_database(repeat_command(run.settings, run.seed), store.location.option),
        "attempts": [_attempt_words(number, one) for number, one in enumerate(attempts, start=1)],
        "events": [event_words(event) for event in store.events(run_id=run.id, limit=MOST_EVENTS)],
    }


def _run_words(run: RunRecord, store: Store) -> dict[str, Any]:
    train_tokens = run.facts.get("train_tokens")
    return {
        **named(run, "id uid paused tags note priority step tokens_seen fraction tokens_per_second"),
        **named(run, "memory_bytes started_at ended_at"),
        "seed": exact(run.seed),
        "sweep": run.sweep_id,
        "arm": run.arm_number,
        "state": run.state.value,
        "reason": run.reason.value if run.reason else None,
        "code_note": code_note(run, store.same_code()),
        "waits_until": run.backoff_until,
        "worker": run.worker_id,
        "phase": run.phase.value if run.phase else None,
        "epoch": run.tokens_seen / train_tokens if train_tokens else None,
        "mfu": utilisation(run),
        "params": run.num_params,
        "train_loss": plain_number(run.last_train_loss),
        "val_loss": plain_number(run.last_val_loss),
    }


def _attempt_words(number: int, attempt: AttemptRecord) -> Mapping[str, Any]:
    return {
        **named(attempt, "started_at ended_at start_step step shared_slots error_type"),
        "number": number,
        "worker": attempt.worker_id,
        "reason": attempt.reason.value if attempt.reason else None,
        "provenance": {name: setting_text(value) for name, value in attempt.provenance.items()},
        "error": attempt.error_message,
        "traceback": attempt.error_traceback,
    }


def setting_text(value: Any) -> str:
    """A setting or a fact as pages show it."""
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return "none" if value is None else value_text(value)


def run_curves(store: Store, run_id: int, over: str, smooth: float = 0.0) -> dict[str, Any]:
    """Every metric of a run over an axis, by name and split, smoothed, and thinned to what a screen can show; or over
    another metric of the same points: then by its size, and of points that share it the last.

    Raises NotThereError if the run does not exist, UsageError for an axis or metric that it has not."""
    metrics: dict[str, dict[str, Any]] = {}
    most, unplaced, run = 0, 0, known_run(store, run_id)
    for curve in store.curves([run.id]):
        most = max(most, len(curve))
        x = _places(curve, over, run)
        unplaced += x.count(None) if over == Axis.WALL_CLOCK else 0
        for name in (*CURVE_COLUMNS, *curve.extra):
            if name not in _NO_METRICS and (curve.split is Split.TRAIN or not _is_counter(name)):
                found = _curve_words(curve, x, name, smooth, over_metric=over not in list(Axis))
                if found is not None:
                    metrics.setdefault(name, {})[curve.split.value] = found
    labels = {name: metric_label(name, [run.settings.get("tokenizer")]) for name in metrics}
    said = {"points": most, "most_shown": MOST_RUN_POINTS, "without_clock": unplaced}
    return {"metrics": metrics, "labels": labels, **said}


def _places(curve: Curve, over: str, run: RunRecord) -> Sequence[float | None]:
    if over in (*CURVE_COLUMNS, *curve.extra):
        return curve[over]
    if over not in list(Axis):
        raise no_axis(over)
    axis = Axis(over)
    return axis.places(curve["step"], curve[axis.column], run.settings, run.started_at)


def _is_counter(name: str) -> bool:
    """Whether val points only repeat it from training, where the train curve has it already."""
    return name in ("lr", "weight_decay", "batch_size", "seq_length", "microbatches") or name.startswith("lr_")


def _curve_words(
    curve: Curve, places: Sequence[float | None], name: str, smooth: float, *, over_metric: bool
) -> Mapping[str, Any] | None:
    x, y = (numpy.array(values, dtype=float) for values in (places, curve[name]))  # nan for none
    if numpy.isnan(y).all():
        return None
    good = numpy.isfinite(x) & numpy.isfinite(y)
    bad = int((~numpy.isfinite(y)).sum() - sum(one is None for one in curve[name]))
    x, y = x[good], y[good]
    if not over_metric:
        y = smoothed(x, y, smooth)
    kept, last = drawn(x, y, MOST_RUN_POINTS)
    return {"x": numbers(x[kept]), "y": numbers(y[kept]), "last": last, "not_finite": bad}


def comparison_words(
    store: Store, sweep_ids: Sequence[int], metric: str, baseline: Sequence[str], by: Sequence[str] = ()
) -> dict[str, Any]:
    """The comparison of the arms of sweeps as `hlbq compare` prints it. Nothing is written: see docs/dashboard.md.

    Raises UsageError or ExportError if no comparison is possible.
    """
    question = Question(metric=metric, baseline=read_baseline(baseline), by=by)
    found = compare(store, RunFilter(sweep_ids=tuple(sweep_ids), with_members=True), question)
    return {
        "warnings": list(found.warnings),
        "tables": [
            {"title": table.title, "headers": list(table.headers), "rows": [list(row) for row in table.rows]}
            for table in tables(found)
        ],
        "sentences": sentences(found, extend_options=store.location.option),
    }


def run_progress(store: Store, run_id: int) -> dict[str, Any]:
    """What changes on a run's page. Raises NotThereError if the run does not exist."""
    run = known_run(store, run_id)
    newest = store.events(run_id=run_id, limit=1)
    return {**_run_words(run, store), "newest_event": newest[0].id if newest else 0}


def devices_over_time(store: Store, run_id: int | None = None) -> dict[str, Any]:
    """The devices of live workers, or those of a run while it trained: use, temperature and memory by time.

    Raises NotThereError if the run does not exist."""
    samples = store.device_samples(run_id=None if run_id is None else known_run(store, run_id).id)
    by_device = itertools.groupby(samples, key=lambda one: (one.hostname, one.device, one.device_name))
    return {
        "devices": [_device_words(f"{host}, {device} ({name})", list(own)) for (host, device, name), own in by_device]
    }


def _device_words(title: str, samples: Sequence[DeviceSample]) -> dict[str, Any]:
    apart = -(-len(samples) // MOST_SAMPLES)
    kept = samples[::-1][::apart][::-1]  # the newest is among them
    readings = [one.reading for one in kept]
    memory = [None if one.memory_bytes is None else round(one.memory_bytes / 2**30, 3) for one in readings]
    return {
        "title": title,
        "at": [round(one.at, 1) for one in kept],
        "use (%)": [one.use_percent for one in readings],
        "temperature (°C)": [one.temperature_celsius for one in readings],
        "memory (GiB)": memory,
    }
