"""A short draw of each fault, so that every test run sees the promise held. `make test-long` has a longer one, and
`make faults` is the whole suite."""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults import disk_full
from tests.faults.harness import QUICK_SCALE, SHORTEST_SCALE
from tests.faults.report import FaultRow, table
from tests.faults.suite import BEGIN, END, FAULTS, prepared_ground, write_page

LANES = 3
# The scenes have limits of their own; the first test that asks waits for most of them together.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[SHORTEST_SCALE, pytest.param(QUICK_SCALE, marks=pytest.mark.long)])
def drawn(request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[list[FaultRow]]"]]:
    """A short draw of every fault, several at a time: they spend most of it waiting."""
    with prepared_ground() as ground, ThreadPoolExecutor(LANES) as lanes:
        yield {name: lanes.submit(import_module(f"tests.faults.{name}").run, request.param, ground) for name in FAULTS}


@pytest.mark.parametrize("name", FAULTS)
def test_a_short_draw_keeps_the_promise(name: str, drawn: dict[str, "Future[list[FaultRow]]"]) -> None:
    rows = drawn[name].result()
    assert rows
    assert [row.complaint for row in rows if not row.kept] == []


@pytest.mark.parametrize("field", ["lost", "finished_twice", "stale_rows"])
def test_any_figure_but_zero_breaks_the_promise(field: str) -> None:
    good = FaultRow(fault="a", database="b", landed=1)
    broken = replace(good, **{field: 1})  # type: ignore[arg-type]
    assert good.kept
    assert not broken.kept and "1 " in broken.complaint


def test_a_fault_that_never_landed_proves_nothing() -> None:
    assert not FaultRow(fault="a", database="b", landed=0).kept


def test_without_the_fence_runs_must_finish_twice() -> None:
    assert not FaultRow(fault="a", database="b", landed=9, proves_sight=True).kept
    assert FaultRow(fault="a", database="b", landed=9, finished_twice=1, proves_sight=True).kept


def test_a_disk_is_filled_though_others_write_to_it_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocation that no longer fits takes nothing at all: it must be asked for again."""
    ballast, asked = tmp_path / "ballast", []

    def statvfs(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=100 - ballast.stat().st_size, f_frsize=1)

    def too_late_at_first(descriptor: int, offset: int, length: int) -> None:
        asked.append(length)
        if len(asked) < 3:
            raise OSError(errno.ENOSPC, "others were quicker")
        os.truncate(descriptor, offset + length)

    monkeypatch.setattr("os.statvfs", statvfs)
    monkeypatch.setattr("os.posix_fallocate", too_late_at_first)
    disk_full.fill_disk(ballast, leave=10)
    assert asked == [90, 90, 90] and ballast.stat().st_size == 90


def test_the_table_goes_between_the_marks_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_page(page, table([FaultRow(fault="a fault", database="SQLite", landed=1)]) + "\n")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| a fault | SQLite | 1 | 0 | 0 | 0 |" in text
