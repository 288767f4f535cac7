"""What readers hold in memory as a sweep grows: never all of it, or a little for each run. Ratios, not megabytes."""

import gc
import io
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.growing_database import Shape, fill
from hlbgpt_core.points import Split
from orchestrator.comparison.questions import Question
from orchestrator.comparison.results import compare
from orchestrator.export.blocks import Selection, blocks, columns_of
from orchestrator.export.metric_names import Axis
from orchestrator.export.table_formats import CsvTable
from orchestrator.plots.reading import Source
from orchestrator.queue.runs import RunFilter
from orchestrator.report.reported_runs import ReportedRuns
from orchestrator.status.reading import read_status
from orchestrator.store import OpenMode, Store, open_store

ALL = RunFilter()


def _export(store: Store) -> None:
    selection = Selection(runs=ALL)
    columns = columns_of(store, selection)
    table = CsvTable(io.BytesIO(), columns)
    for block in blocks(store, selection, columns):
        table.write(block)
        table._text.detach()
        table = CsvTable(io.BytesIO(), columns)


def _count(values: Iterator[object]) -> None:
    for _ in values:
        pass


# What streams holds the same at any size; what keeps the runs holds a little of each: at most so many bytes.
STREAMING: dict[str, Callable[[Store], object]] = {
    "status": lambda store: read_status(store, ALL, now=2e9),
    "runs": lambda store: _count(store.runs(ALL)),
    "curves": lambda store: _count(store.runs_with_curves(ALL)),
    "export": _export,
}
KEEPING: dict[str, tuple[Callable[[Store], object], int]] = {
    "compare": (lambda store: compare(store, ALL, Question()), 1_000),
    "compare by": (lambda store: compare(store, ALL, Question(by=("depth",))), 1_000),
    "runs of a report": (lambda store: ReportedRuns.of(store.runs(ALL), listed=10), 200),
    "curves of a figure": (lambda store: Source.of(store, ALL).curves("val_loss", Axis.STEPS), 1_000),
    "last values of a figure": (lambda store: Source.of(store, ALL).curves("val_loss", Axis.STEPS, last=True), 1_000),
    "last values": (lambda store: [*store.runs_with_curves(ALL, Split.VAL, ("loss",), last=True)], 2_500),
}
CACHES = 300_000


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages far below the small sweep, whose two that are held at once would else be all of it."""
    monkeypatch.setattr("orchestrator.store.reading.runs._RUNS_A_PAGE", 20)
    monkeypatch.setattr("orchestrator.store.reading.curves._RUNS_A_PAGE_OF_LAST", 20)


@pytest.fixture(scope="module", params=[(100, 1_000), pytest.param((2_000, 20_000), marks=pytest.mark.long)])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """A small and a large sweep of the same shape, ten times the seeds."""
    folder: Path = tmp_path_factory.mktemp("growth")
    small, large = request.param
    with (
        open_store(str(folder / "small.db"), mode=OpenMode.CREATE) as one,
        open_store(str(folder / "large.db"), mode=OpenMode.CREATE) as other,
    ):
        for store, runs in ((one, small), (other, large)):
            fill(store, Shape(runs=runs, seeds=runs // 20, points=4))
        yield one, other


def peak(read: Callable[[Store], object], store: Store) -> int:
    """The most bytes that a reader holds at once, what it returns included; what was there before does not count.

    What only waits to be collected is no longer held, so it is collected soon.
    """
    gc.collect()
    usual = gc.get_threshold()
    gc.set_threshold(700, 2, 2)
    tracemalloc.start()
    try:
        found = read(store)
        return tracemalloc.get_traced_memory()[1]
    finally:
        del found
        tracemalloc.stop()
        gc.set_threshold(*usual)


@pytest.mark.parametrize("name", STREAMING)
def test_what_streams_holds_no_more_of_a_larger_sweep(stores: tuple[Store, Store], name: str) -> None:
    STREAMING[name](stores[0])  # modules and caches
    small, large = (peak(STREAMING[name], store) for store in stores)
    assert large < 2 * small + CACHES, f"{name}: {small:,} bytes, {large:,} bytes of ten times the runs"


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_runs_holds_a_little_of_each(stores: tuple[Store, Store], name: str) -> None:
    read, bytes_a_run = KEEPING[name]
    read(stores[0])  # modules and caches
    small, large = (peak(read, store) for store in stores)
    runs = [store.matching(ALL) for store in stores]
    assert large < 11 * small, f"{name}: {small:,} bytes, {large:,} bytes of ten times the runs"
    assert (large - small) / (runs[1] - runs[0]) < bytes_a_run, f"{name}: {(large - small) / (runs[1] - runs[0]):,.0f}"


def test_runs_of_an_arm_share_their_settings(stores: tuple[Store, Store]) -> None:
    found = list(itertools.islice(stores[1].runs(ALL), 2_000))
    assert len({id(run.settings) for run in found}) == 20
    assert len({id(run.facts) for run in found}) == len({id(run.bookkeeping) for run in found}) == 1
