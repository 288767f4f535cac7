"""The overview searched and sorted, names, tags and notes edited, devices over time."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from orchestrator.queue.workers import DeviceReading
from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import EVIL, OpenTab, Served, serving, until
from tests.browser.test_access import violations
from tests.sample_sweep import register, sample_points, submit_sweep, work

SAMPLES = 90


class Clock:
    """Begins an hour ago, and moves when it is told to."""

    def __init__(self) -> None:
        self.now = time.time() - 3600

    def __call__(self) -> float:
        return self.now


def fill_with_devices(db: Path) -> None:
    """A finished sweep of two arms, one that trains on a GPU, and one that waits; the GPU's worker has seen an hour."""
    clock = Clock()
    with open_store(str(db), mode=OpenMode.CREATE, clock=clock) as store:
        submit_sweep(
            store, [{"depth": depth} for depth in (2, 4)], seeds=range(1, 7), name="finished", with_baseline=True
        )
        worker = register(store, device="cuda:0")
        for number in range(12):
            work(store, worker, sample_points(12, start=5 + (number % 2) + number / 1000))
        submit_sweep(store, [{"width": width} for width in (128, 256)], seeds=[1, 2], name="training")
        work(store, worker, sample_points(4), reason=None)
        submit_sweep(store, [{"depth": 8}], seeds=[1], name="a later one")
        for number in range(3 * SAMPLES):
            clock.now += 10
            use = 97.0 - number % 7 if number < 200 else 12.0
            reading = DeviceReading(temperature_celsius=50 + number / 20, use_percent=use, memory_bytes=3 * 2**30)
            store.beat(worker, reading)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Served]:
    db = tmp_path / "hlbq.db"
    fill_with_devices(db)
    with serving(db) as served:
        yield served


def edit(page: Any, button: str, **typed: str) -> None:
    """Open the dialog, type, save."""
    page.get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    for label, text in typed.items():
        dialog.get_by_label(label, exact=False).fill(text)
    dialog.get_by_role("button", name="Save").click()


def test_a_sweeps_name_tags_and_note_are_edited_on_its_page(devices: Served, open_tab: OpenTab) -> None:
    page = open_tab(devices).visit("/sweeps/1")
    edit(page, "Edit name, tags and note", Name="depths", Tags="paper good", Note="two lines\nof it")
    expect(page.get_by_role("heading", name="depths", level=1)).to_be_visible()
    expect(page.get_by_text("good · paper")).to_be_visible()
    expect(page.locator(".note-text").first).to_contain_text("two lines")
    with devices.store() as store:
        sweep = store.sweep(1)
        assert sweep and (sweep.name, [*sweep.tags], sweep.note) == ("depths", ["good", "paper"], "two lines\nof it")
        assert {event.action for event in store.events(sweep_id=1, limit=3)} == {"tag", "rename", "note"}
        store.change_tags(sweep, "ada", add=["late"], remove=[])  # by somebody else, with the page open
    expect(page.get_by_text("good · late · paper")).to_be_visible()
    edit(page, "Edit name, tags and note", Tags="late")
    expect(page.get_by_text("late", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="depths", level=1)).to_be_visible()


def test_a_runs_note_is_text_and_what_is_refused_is_not_lost(devices: Served, open_tab: OpenTab) -> None:
    tab = open_tab(devices)
    tab.expected = ("400",)
    page = tab.visit("/runs/1")
    edit(page, "Edit tags and note", Tags="good -bad", Note=EVIL)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("Nothing was changed: '-bad' can't be a tag")
    expect(dialog.get_by_label("Note")).to_have_value(EVIL)  # typed once
    assert violations(page) == []
    page.get_by_role("dialog").get_by_label("Tags").fill("good")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.locator(".facts")).to_contain_text(EVIL)
    expect(page.locator(".facts")).to_contain_text("good")
    assert page.locator(".facts b, .facts img").count() == 0
    with devices.store() as store:
        run = store.run(1)
        assert run and run.note == EVIL and [*run.tags] == ["good"]


def test_the_overview_is_searched_and_sorted_and_tells_what_came_of_each(devices: Served, open_tab: OpenTab) -> None:
    page = open_tab(devices).visit("/")
    cards = page.locator(".sweeps li")
    expect(cards).to_have_count(3)
    expect(cards.nth(0)).to_contain_text("a later one")
    finished = cards.filter(has_text="finished")
    expect(finished).to_contain_text("best val loss")
    expect(finished).to_contain_text("1 arm against depth 2: 1 worse.")
    expect(cards.filter(has_text="training")).to_contain_text("GPU-hours")
    page.get_by_label("Order").select_option("best")
    expect(cards.nth(0)).to_contain_text("finished")
    assert "sort=best" in page.evaluate("location.search")
    page.get_by_label("Find sweeps").fill("LATER one")
    expect(cards).to_have_count(1)
    page.reload()
    expect(cards).to_have_count(1)
    expect(page.get_by_text("1 pass the filter.")).to_be_visible()
    with devices.store() as store:
        first, second = store.sweep(1), store.sweep(2)
        assert first and second
        store.change_tags(first, "ada", add=["paper"], remove=[])
        store.set_note(second, f"for the paper {EVIL}", "ada")
    page.get_by_label("Find sweeps").fill("PAPER")
    expect(cards).to_have_count(2)
    expect(cards.filter(has_text="training")).to_contain_text(EVIL)
    cards.filter(has_text="finished").get_by_role("link", name="run 1").click()
    expect(page.get_by_role("heading", name="Run 1")).to_be_visible()


def test_devices_are_drawn_over_time(devices: Served, open_tab: OpenTab) -> None:
    page = open_tab(devices).visit("/workers")
    figures = page.locator("figure")
    expect(figures).to_have_count(3)
    expect(page.get_by_role("heading", name="laptop, cuda:0 (a CPU)")).to_be_visible()
    expect(figures.nth(0)).to_contain_text("use (%)")
    figures.nth(0).locator(".u-over").hover()
    expect(figures.nth(0).locator(".readout")).to_contain_text(time.strftime("%Y-"))
    page.goto(f"{devices.base}/runs/13")
    expect(figures.filter(has_text="memory (GiB)").locator(".uplot")).to_be_visible()
    page.goto(f"{devices.base}/runs/17")
    page.get_by_text("Devices while it trained").click()
    expect(page.get_by_text("Nothing was reported")).to_be_visible()


def test_a_device_without_a_live_worker_leaves_the_page(devices: Served, open_tab: OpenTab) -> None:
    tab = open_tab(devices)
    tab.page.clock.install()
    page = tab.visit("/workers")
    expect(page.locator("figure")).to_have_count(3)
    with devices.store() as store:
        store.end_worker(1, "asked to stop")
    page.clock.run_for(40_000)
    expect(page.get_by_text("No device of a live worker has reported anything yet")).to_be_visible()
    expect(page.locator("figure")).to_have_count(0)


def test_a_read_only_page_edits_nothing(devices: Served, open_tab: OpenTab) -> None:
    with serving(devices.db, "--read_only") as served:
        page = open_tab(served).visit("/sweeps/1")
        until(lambda: page.locator(".legend button").count() == 2, "curves")
        expect(page.get_by_role("button", name="Edit")).to_have_count(0)
