"""Cancel, retry, pause and priority from the page: the dialog names the count, and the database changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from hlbgpt_core.points import Split
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import OpenTab, Served, serving, until
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Served]:
    """Six runs: one failed, one running, four pending."""
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": depth} for depth in (2, 4, 8)], seeds=[1, 2], name="queue")
        worker = register(store)
        work(store, worker, sample_points(4), reason=Reason.OOM, error_message="out of memory")
        work(store, worker, sample_points(4), reason=None)
    with serving(db) as served:
        yield served


def states(served: Served) -> dict[int, str]:
    """The runs' states, with a mark for paused ones."""
    with served.store() as store:
        return {run.id: run.state.value + (" paused" if run.paused else "") for run in store.runs(RunFilter())}


def press(page: Any, action: str, question: str, yes: str) -> None:
    """Press a control, check the question, say yes."""
    page.get_by_role("group", name="Change runs").get_by_role("button", name=action, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(question)
    dialog.get_by_role("button", name=yes).click()
    expect(dialog).to_have_count(0)


def test_a_sweep_is_paused_unpaused_cancelled_and_retried(queue: Served, open_tab: OpenTab) -> None:
    page = open_tab(queue).visit("/sweeps/1")
    expect(page.locator("table.runs tbody tr")).to_have_count(6)
    press(page, "Pause", "Pause 5 runs of sweep 1?", "Pause: 5 runs")
    expect(page.get_by_text("5 runs paused.")).to_be_visible()
    assert states(queue)[3] == "pending paused" and states(queue)[2] == "running paused"
    expect(page.locator("table.runs")).to_contain_text("pending (paused)")  # the page hears of it by itself
    press(page, "Unpause", "Let workers take 5 runs of sweep 1?", "Unpause: 5 runs")
    until(lambda: states(queue)[3] == "pending", "unpaused")
    press(page, "Cancel", "Cancel 5 runs of sweep 1?", "Cancel: 5 runs")
    until(lambda: set(states(queue).values()) == {"failed", "cancelled"}, "cancelled")
    expect(page.get_by_text("1 failed, 5 cancelled")).to_be_visible()
    press(page, "Retry", "Put back into the queue 6 runs of sweep 1?", "Retry: 6 runs")
    until(lambda: set(states(queue).values()) == {"pending"}, "back in the queue")
    with queue.store() as store:
        assert {event.action for event in store.events(run_id=3)} == {"pause", "unpause", "cancel", "retry"}
        assert store.events(run_id=3, limit=1)[0].actor not in ("", "dashboard")


def test_selected_runs_alone_are_changed(queue: Served, open_tab: OpenTab) -> None:
    page = open_tab(queue).visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(2)  # from here on nothing moves the buttons
    page.get_by_label("Select run 3").check()
    page.get_by_label("Select run 5").check()
    expect(page.get_by_text("2 selected runs:")).to_be_visible()
    press(page, "Raise priority", "Set the priority of 2 runs of the 2 selected runs?", "Raise priority: 2 runs")
    expect(page.get_by_text("2 runs given their new priority.")).to_be_visible()
    with queue.store() as store:
        assert {run.id: run.priority for run in store.runs(RunFilter()) if run.priority} == {3: 1, 5: 1}
    page.get_by_label("Filter runs").fill("depth=8")
    page.get_by_label("Select run 3").uncheck()
    page.get_by_label("Select run 5").wait_for(state="detached")
    page.get_by_label("Filter runs").fill("")
    page.get_by_label("Select run 5").uncheck()
    page.get_by_label("Filter runs").fill("state=pending")
    page.get_by_label("Select all runs that pass the filter").check()
    expect(page.get_by_text("4 selected runs:")).to_be_visible()


def test_who_says_no_changes_nothing(queue: Served, open_tab: OpenTab) -> None:
    page = open_tab(queue).visit("/sweeps/1")
    before = states(queue)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Leave as it is").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert states(queue) == before


def test_a_run_is_changed_from_its_own_page(queue: Served, open_tab: OpenTab) -> None:
    page = open_tab(queue).visit("/runs/1")
    press(page, "Retry", "Put back into the queue 1 run of run 1?", "Retry: 1 run")
    expect(page.locator(".facts")).to_contain_text("pending")
    expect(page.get_by_role("region", name="Events")).to_contain_text("retry")
    press(page, "Cancel", "Cancel 1 run of run 1?", "Cancel: 1 run")
    expect(page.locator(".facts")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Retry", exact=True)).to_be_enabled()


def test_runs_side_by_side_tell_how_they_stand_until_all_are_over(queue: Served, open_tab: OpenTab) -> None:
    page = open_tab(queue).visit("/compare?runs=1,3")
    standing = page.get_by_role("region", name="What differs")
    expect(standing).to_contain_text("pending")
    with queue.store() as store:
        work(store, register(store, pid=4243), [sample_point(Split.TRAIN, 30, loss=1.25)])
    expect(standing).to_contain_text("completed")
    expect(standing).to_contain_text("1.2500")
    expect(page.locator("figure").first).to_contain_text("run 3 train")
