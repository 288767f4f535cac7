"""The terminal view: never larger than the terminal, and what people call things is shown as it is."""

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchestrator.queue.states import State
from orchestrator.status.drawing import allot, draw
from orchestrator.status.reading import EventStatus, RunStatus, Status, SweepStatus, WorkerStatus
from orchestrator.wording.tables import TextTable

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
NASTY = "[red]\x1b[31m\x1b]0;t\x07 日本 🙂\n[/bold]"


def a_run(number: int, state: State = State.RUNNING, text: str = "", **changed: Any) -> RunStatus:
    values: dict[str, Any] = dict.fromkeys(RunStatus.__dataclass_fields__)
    values |= {"id": number, "sweep": 1, "settings": {"depth": 4, "dataset": f"text:{text}"}, "num_params": 2_000_000}
    values |= {"seed": 100, "state": state.value, "step": 12_345, "epoch": 0.5, "fraction": 0.25, "seconds_left": 90.0}
    values |= {"tokens_per_second": 1e5, "microbatches": 4, "memory_bytes": 2**31, "val_losses": (3.0, 2.0)}
    values |= {"last_train_loss": 3.1, "last_val_loss": 3.2, "worker": number, "error": text, "arm": 1, "paused": False}
    return RunStatus(**(values | changed))


def a_status(runs: list[RunStatus], *, workers: int = 2, events: int = 3, text: str = "demo") -> Status:
    counts = {state.value: sum(run.state == state for run in runs) for state in State}
    sweep = {"id": 1, "name": text, "counts": counts, "total": len(runs), "done": counts["completed"]}
    sweep |= {"seconds_left": 600.0, "tags": [text], "notify_by": text, "notices_waiting": 0, "notices_given_up": 1}
    nothing: dict[str, Any] = dict.fromkeys(SweepStatus.__dataclass_fields__)
    worker: dict[str, Any] = dict.fromkeys(WorkerStatus.__dataclass_fields__)
    worker |= {"hostname": text, "device": "gpu0", "device_name": "a GPU", "slot": 0, "slots": 1, "silent": False}
    worker |= {"beat_age_seconds": 3.0, "ended": False, "set_aside": False, "why": "", "temperature_celsius": 61.0}
    return Status(
        database=f"/tmp/{text}.db",
        database_option="",
        at=100.0,
        counts=counts,
        total=len(runs),
        sweeps=[SweepStatus(**(nothing | sweep | {"notice_error": text}))],
        running_total=counts["running"],
        backing_off=1,
        tokens_per_second=1e5,
        runs=runs,
        workers=[WorkerStatus(**(worker | {"id": number})) for number in range(1, workers + 1)],
        events=[EventStatus(at=1.0, actor=text, action="claim", sweep=1, run=2, why=text) for _ in range(events)],
    )


def drawn(status: Status, width: int, height: int) -> list[str]:
    """The picture as lines of text."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False, legacy_windows=False)
    console.print(draw(status, width=width, height=height))
    return out.getvalue().splitlines()


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 220),
    height=st.integers(2, 70),
    runs=st.integers(0, 40),
    workers=st.integers(0, 20),
    text=TEXT,
)
@example(width=80, height=24, runs=20, workers=16, text=NASTY)
@example(width=12, height=5, runs=3, workers=1, text=NASTY)
def test_the_picture_is_never_larger_than_the_terminal(
    width: int, height: int, runs: int, workers: int, text: str
) -> None:
    states = list(State)
    status = a_status([a_run(n, states[n % 5], text) for n in range(runs)], workers=workers, text=text)
    lines = drawn(status, width, height)
    assert len(lines) < height or height == 2
    assert all(cell_len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)


@given(lines=st.integers(-5, 100), rows=st.lists(st.integers(1, 50), max_size=5))
def test_lines_are_shared_out_to_the_first_in_order(lines: int, rows: list[int]) -> None:
    shares = allot(lines, rows)
    assert all(0 <= share <= wanted for share, wanted in zip(shares, rows, strict=True))
    assert sum(share + 2 for share in shares if share) <= max(lines, 0)
    assert sorted(map(bool, shares), reverse=True) == list(map(bool, shares))
    if sum(wanted + 2 for wanted in rows) <= lines:
        assert shares == rows


@given(cells=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), width=st.integers(0, 120))
def test_a_table_that_is_too_wide_does_without_columns_in_order(cells: list[tuple[str, ...]], width: int) -> None:
    table = TextTable(headers=["a", "b", "c"], rows=[[f"{cell}x" for cell in row] for row in cells])
    fitted = table.fitted(width, ("b", "a"))
    assert list(fitted.headers) in (["a", "b", "c"], ["a", "c"], ["c"])
    room = sum(fitted.widths()) + 2 * (len(fitted.headers) - 1)
    assert room <= width or list(fitted.headers) == ["c"]


def test_a_name_is_shown_as_it_is_and_changes_no_colour() -> None:
    lines = drawn(a_status([a_run(1)], text=NASTY), 200, 40)
    assert any("[red]\\x1b[31m" in line and "日本 🙂" in line for line in lines)


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"state": State.PENDING, "waits_seconds": 12.0}, "pending: retry in 12 s"),
        ({"state": State.FAILED, "reason": "oom", "error": "OutOfMemoryError: too large"}, "failed: oom"),
        ({"phase": "compile"}, "running: compile"),
    ],
)
def test_what_became_of_a_run_is_said(changed: dict[str, Any], shown: str) -> None:
    text = "\n".join(drawn(a_status([a_run(1, **changed)]), 220, 30))
    assert shown in text and "61 °C" in text and "100.0K tokens/s" in text and "1 notice of demo failed" in text


def test_runs_that_run_come_first_and_the_others_are_counted() -> None:
    runs = [a_run(number, State.COMPLETED) for number in range(1, 20)]
    lines = drawn(a_status([*runs, a_run(20), a_run(21, State.FAILED)]), 150, 22)
    at = next(place for place, line in enumerate(lines) if line.startswith("run "))
    assert [line.split()[0] for line in lines[at + 1 : at + 4]] == ["20", "21", "1"]
    assert any(line.startswith("and ") and line.endswith("more runs") for line in lines)
