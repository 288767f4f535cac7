"""Several sweeps on one page, from the overview to the comparison."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import OpenTab, Served, serving
from tests.browser.test_access import PHONE, violations
from tests.sample_sweep import register, sample_points, submit_sweep, work


def fill_with_sweeps(db: Path) -> None:
    """Two sweeps that share an arm, and one of another tokenizer."""
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=range(1, 7), name="first study", with_baseline=True)
        submit_sweep(store, [{"depth": 2}, {"depth": 8}], seeds=range(7, 13), name="second study")
        submit_sweep(store, [{"tokenizer": "gpt2"}], seeds=[1], name="other words")
        worker = register(store)
        for number in range(25):
            work(store, worker, sample_points(8, start=5 + (number % 2) + number / 1000))


@pytest.fixture
def sweeps(tmp_path: Path) -> Iterator[Served]:
    db = tmp_path / "hlbq.db"
    fill_with_sweeps(db)
    with serving(db) as served:
        yield served


def test_sweeps_are_chosen_and_shown_together(sweeps: Served, open_tab: OpenTab) -> None:
    page = open_tab(sweeps).visit("/")
    page.get_by_label("Choose sweep 1").check()
    expect(page.get_by_text("sweeps together")).to_have_count(0)
    page.get_by_label("Choose sweep 2").check()
    page.get_by_role("link", name="Show the 2 chosen sweeps together").click()
    expect(page.get_by_role("heading", name="2 sweeps together")).to_be_visible()
    assert page.evaluate("location.pathname") == "/sweeps/1,2"
    expect(page.locator(".legend button")).to_have_count(4)
    expect(page.locator("table.runs tbody tr")).to_have_count(24)
    page.get_by_label("A line for each").select_option("settings")
    expect(page.locator(".legend button")).to_have_count(3)
    expect(page.locator(".legend button").first).to_contain_text("depth 2")
    page.get_by_label("Filter runs").fill("sweep=2 depth=2")
    expect(page.locator("table.runs tbody tr")).to_have_count(6)
    expect(page.locator(".legend button")).to_have_count(1)
    page.get_by_label("Filter runs").fill("")
    page.get_by_role("tab", name="Comparison").click()
    page.get_by_label("Groups").select_option("sweep")
    page.get_by_label("Baseline").select_option("sweep 1")
    expect(page.locator(".verdict").first).to_be_visible()
    assert "group=sweep" in page.evaluate("location.search")
    page.get_by_role("tab", name="Final values").click()
    expect(page.locator("figure canvas").first).to_be_visible()
    assert violations(page) == []


def test_what_was_found_is_shown_together_and_what_can_not_be_compared_is_said(
    sweeps: Served, open_tab: OpenTab
) -> None:
    page = open_tab(sweeps).visit("/?filter=study")
    page.get_by_role("link", name="Show the 2 found sweeps together").click()
    expect(page.get_by_role("heading", name="2 sweeps together")).to_be_visible()
    page.goto(f"{sweeps.base}/sweeps/1,3")
    expect(page.locator(".warning").first).to_contain_text("can't be compared across tokenizers: bytes, gpt2")
    page.get_by_role("link", name="other words").click()
    expect(page.get_by_role("heading", name="other words")).to_be_visible()


def test_a_phone_scrolls_down_only(sweeps: Served, open_tab: OpenTab) -> None:
    page = open_tab(sweeps, **PHONE).visit("/sweeps/1,2,3")
    expect(page.locator(".legend button").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
