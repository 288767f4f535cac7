"""Runs beside each other: what of them differs, and how their code does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.code.differences import diff_lines
from orchestrator.code.names import known_sources
from orchestrator.dashboard.answers import setting_text
from orchestrator.dashboard.watching.sweep_watch import exact, plain_number
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunRecord
from orchestrator.store import Store
from orchestrator.store.known import known_run
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.wording.numbers import counted

MOST_RUNS = 8
MOST_DIFF_LINES = 2_000


def side_by_side(store: Store, run_ids: Sequence[int]) -> Mapping[str, Any]:
    """What differs between these runs, a row each, and the diffs of their codes from the first one's.

    Raises NotThereError for a run that does not exist, UsageError for fewer than two or more than MOST_RUNS.
    """
    if not 2 <= len(run_ids) <= MOST_RUNS:
        raise UsageError(f"{counted(len(run_ids), 'run')} cannot be shown side by side", f"Choose 2 to {MOST_RUNS}.")
    runs = [known_run(store, one) for one in run_ids]
    names = differing_settings(run.settings for run in runs)
    facts = sorted({name for run in runs for name in run.facts})
    rows = [
        _row("sweep", runs, lambda run: run.sweep_id),
        _row("seed", runs, lambda run: exact(run.seed)),
        *([name, *(setting_text(run.settings.get(name)) for run in runs)] for name in names),
        *([name, *(setting_text(run.facts.get(name)) for run in runs)] for name in facts),
        _row("code", runs, _newest_code),
    ]
    return {
        "runs": [
            {
                "id": run.id,
                "state": run.state.value,
                "train_loss": plain_number(run.last_train_loss),
                "val_loss": plain_number(run.last_val_loss),
            }
            for run in runs
        ],
        "rows": [row for row in rows if len(set(row[1:])) > 1],
        "diffs": [_diff(store, runs[0], run) for run in runs[1:] if _newest_code(run) != _newest_code(runs[0])],
    }


def _row(name: str, runs: Sequence[RunRecord], read: Callable[[RunRecord], Any]) -> list[str]:
    return [name, *(setting_text(read(run)) for run in runs)]


def _newest_code(run: RunRecord) -> str:
    return run.code[-1].digest if run.code else ""


def _diff(store: Store, first: RunRecord, second: RunRecord) -> Mapping[str, Any]:
    """The diff of the codes of two runs; `problem` says why there is none."""
    title = f"code of run {first.id} to that of run {second.id}"
    before, after = (known_sources(store, code) if code else None for code in map(_newest_code, (first, second)))
    if before is None or after is None:
        return {"title": title, "lines": [], "problem": "the database does not hold the sources of both"}
    lines = list(diff_lines(before, after))
    left_out = len(lines) - MOST_DIFF_LINES
    problem = f"{left_out} more lines: hlbq code diff{store.location.option} {first.id} {second.id}"
    return {"title": title, "lines": lines[:MOST_DIFF_LINES], "problem": problem if left_out > 0 else ""}
