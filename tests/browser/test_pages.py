"""Every page and what is on it, in a real browser."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from hlbgpt_core.points import Phase, Progress, Split
from orchestrator.queue.attempts import Lease
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewArm, NewRun
from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import BIG_RUNS, EVIL, OpenTab, Served, Tab, serving, until
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work

LIVE_SWEEP = 2
# Words of tables that stand on more than one line.
BROKEN_WORDS = """() => {
    const broken = [];
    for (const cell of document.querySelectorAll("td")) {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            for (const word of texts.currentNode.data.matchAll(/[a-z]+/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                if (range.getClientRects().length > 1) broken.push(word[0]);
            }
        }
    }
    return broken;
}"""


def pixels(page: Any, selector: str) -> int:
    """How many pixels of a canvas are drawn on."""
    return int(
        page.locator(selector).first.evaluate(
            """canvas => {
                const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                let drawn = 0;
                for (let at = 3; at < bytes.length; at += 4) drawn += bytes[at] > 0;
                return drawn;
            }"""
        )
    )


def query(page: Any) -> str:
    """The part of the address that keeps the view."""
    return str(page.evaluate("location.search"))


def test_the_overview_lists_sweeps_and_leads_to_them(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/")
    expect(page.get_by_role("heading", name="Sweeps")).to_be_visible()
    cards = page.locator(".sweeps li")
    expect(cards).to_have_count(2)
    expect(cards.nth(1)).to_contain_text("12 completed")
    expect(cards.nth(0)).to_contain_text("running")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.get_by_role("region", name="Events")).to_contain_text("claim")
    cards.nth(1).get_by_role("link", name="finished").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("finished")
    assert page.evaluate("location.pathname") == "/sweeps/1"
    page.go_back()
    expect(page.get_by_role("heading", name="Sweeps")).to_be_visible()


def test_the_token_leaves_the_address_and_serves_further_tabs(demo: Served, open_tab: OpenTab) -> None:
    tab = open_tab(demo)
    page = tab.visit("/")
    expect(page.locator(".sweeps")).to_be_visible()
    assert "token" not in page.url
    second = page.context.new_page()
    second.goto(demo.base + "/workers")
    expect(second.get_by_role("heading", name="Workers")).to_be_visible()


def test_without_the_token_the_page_asks_for_the_link(demo: Served, open_tab: OpenTab) -> None:
    tab = open_tab(demo)
    tab.expected = ("401",)
    page = tab.visit("/sweeps/1", token=False)
    expect(page.get_by_role("heading")).to_have_text("Open the link that was printed")
    page.get_by_label("Link or token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("This browser's token is not this server's")).to_be_visible()
    page.get_by_label("Link or token").fill(f"{demo.base}/#token={demo.token}")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("finished")


def test_a_running_sweep_moves_by_itself(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit(f"/sweeps/{LIVE_SWEEP}?filter=state%3Drunning&metric=train_loss")
    expect(page.locator("table.runs tbody tr")).to_have_count(2)
    step = page.locator("table.runs tbody tr").first.locator("td").nth(5)
    before = int(step.inner_text())
    value = page.locator(".legend .value").first
    expect(value).not_to_have_text("")
    curve = value.inner_text()
    until(lambda: int(step.inner_text()) > before, "the step grows")
    until(lambda: value.inner_text() != curve, "the curve grows")
    expect(page.locator("#live")).to_have_text("live")


def test_curves_are_drawn_and_the_view_stands_in_the_address(demo: Served, open_tab: OpenTab) -> None:
    tab = open_tab(demo)
    page = tab.visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(2)
    assert pixels(page, ".uplot canvas") > 1000
    page.get_by_role("combobox", name="Metric").select_option("train_loss")
    page.get_by_role("combobox", name="Over").select_option("tokens")
    page.get_by_label("log x").check()
    page.get_by_label("log y").check()
    page.get_by_label("every seed").check()
    page.get_by_label("Smoothing").select_option("0.6")
    page.locator(".legend button").first.click()
    expect(page.locator(".legend button").first).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".note")).to_contain_text("thin lines single runs")
    kept = query(page)
    for part in ("metric=train_loss", "x=tokens", "logx=1", "logy=1", "seeds=1", "smooth=0.6", "hide="):
        assert part in kept
    second = open_tab(demo).visit(f"/sweeps/1{kept}")
    expect(second.get_by_role("combobox", name="Metric")).to_have_value("train_loss")
    expect(second.get_by_role("combobox", name="Over")).to_have_value("tokens")
    expect(second.get_by_label("log y")).to_be_checked()
    expect(second.locator(".legend button").first).to_have_attribute("aria-pressed", "false")
    assert query(second) == kept


@pytest.mark.parametrize("axis", ["steps", "tokens", "epochs", "seconds"])
def test_every_axis_is_drawn(demo: Served, open_tab: OpenTab, axis: str) -> None:
    page = open_tab(demo).visit(f"/sweeps/1?x={axis}")
    expect(page.locator(".legend button")).to_have_count(2)
    assert pixels(page, ".uplot canvas") > 1000


def test_curves_over_the_wall_clock_and_over_any_metric(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit(f"/sweeps/{LIVE_SWEEP}?metric=train_loss&x=wall_clock")
    chart = page.get_by_role("group", name="Curves of")
    expect(chart).to_have_attribute("aria-label", re.compile("over wall-clock time since the start"))
    until(lambda: pixels(page, ".uplot canvas") > 1000, "the curves over the wall clock")
    page.get_by_role("combobox", name="Over").select_option("train_acc")
    expect(chart).to_have_attribute("aria-label", re.compile("over training acc"))
    page.reload()
    expect(page.get_by_role("combobox", name="Over")).to_have_value("train_acc")
    # The first sweep's points were written without times, as by an earlier version.
    page = open_tab(demo).visit("/sweeps/1?x=wall_clock")
    expect(page.locator(".chart .empty")).to_contain_text("12 runs without a wall clock")
    page = open_tab(demo).visit("/sweeps/1?x=train_loss")
    expect(page.get_by_text("A dot is a step: the means of both metrics")).to_be_visible()
    assert pixels(page, ".uplot canvas") > 1000
    page = open_tab(demo).visit("/runs/1?x=wall_clock")
    expect(page.get_by_text("points without a wall clock")).to_be_visible()


def test_hovering_reads_values_and_alt_click_shows_one_alone(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(2)
    box = page.locator(".u-over").bounding_box()
    last = page.locator(".legend .value").first.inner_text()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    expect(page.locator(".readout")).to_contain_text("steps")
    assert page.locator(".legend .value").first.inner_text() != last
    page.locator(".legend button").nth(1).click(modifiers=["Alt"])
    expect(page.locator(".legend button").nth(0)).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".legend button").nth(1)).to_have_attribute("aria-pressed", "true")


def test_a_drag_zooms_and_escape_shows_all_again(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(2)
    box = page.locator(".u-over").bounding_box()
    whole = page.locator(".uplot canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.up()
    page.mouse.move(5, 5)
    draw = "document.querySelector('.uplot canvas').toDataURL()"
    until(lambda: page.evaluate(draw) != whole, "the zoom")
    page.locator(".chart").focus()
    page.keyboard.press("Escape")
    until(lambda: page.evaluate(draw) == whole, "all of it again")


def test_values_are_read_on_while_a_zoomed_chart_moves(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit(f"/sweeps/{LIVE_SWEEP}?metric=train_loss&filter=state%3Drunning")
    expect(page.locator(".legend .value").first).not_to_have_text("")
    box = page.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.up()
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    expect(page.locator(".readout")).to_contain_text("steps")
    readout = page.locator(".readout")
    read = int(readout.inner_text().split()[-1].replace(",", ""))
    for _ in range(2):
        with page.expect_response("**/curves?**"):
            pass
    page.evaluate("new Promise(requestAnimationFrame)")
    # The nearest step that has a point: means are drawn at fewer places as runs grow.
    assert abs(int(readout.inner_text().split()[-1]) - read) <= read / 10


def test_the_table_sorts_filters_and_says_what_it_did_not_understand(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1")
    expect(page.locator("table.runs tbody tr")).to_have_count(12)
    first = page.locator("table.runs tbody tr").first
    headers = page.locator("table.runs th").all_inner_texts()
    assert [text.strip(" ▲▼") for text in headers[:4]] == ["", "run", "depth", "seed"]  # what differs stands first
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_role("button", name="val loss").click()
    ascending = first.locator("td").nth(7).inner_text()
    page.get_by_role("button", name="val loss").click()
    assert float(first.locator("td").nth(7).inner_text()) > float(ascending)
    expect(page.locator('th[aria-sort="descending"]')).to_have_count(1)
    page.get_by_label("Filter runs").fill("depth=4 seed<3")
    expect(page.locator("table.runs tbody tr")).to_have_count(2)
    expect(page.locator(".legend button")).to_have_count(1)  # the curves follow the filter
    assert "filter=depth" in query(page) and "sort=-val_loss" in query(page)
    page.get_by_label("Filter runs").fill("depth=44")
    expect(page.locator(".chart")).to_contain_text("No run passes the filter.")
    page.get_by_label("Filter runs").fill("dept=4")
    expect(page.get_by_text("there is no column 'dept'")).to_be_visible()


def test_columns_are_chosen_kept_and_downloaded_and_a_row_opens_its_run(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1?sort=-val_loss")
    expect(page.locator("table.runs tbody tr")).to_have_count(12)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("train loss").uncheck()
    page.get_by_role("combobox", name="Value", exact=True).select_option("at step")
    page.get_by_label("Step", exact=True).fill("20")
    page.get_by_role("button", name="Add column").click()
    expect(page.get_by_role("columnheader", name="val_loss at step 20")).to_be_visible()
    expect(page.get_by_role("columnheader", name="train loss")).to_have_count(0)
    cell = page.locator("table.runs tbody tr").first.locator("td").last
    expect(cell).to_have_text(re.compile(r"\d\.\d{4}"))
    again = open_tab(demo).visit(f"/sweeps/1{query(page)}")
    expect(again.locator("table.runs tbody tr").first.locator("td").last).to_have_text(cell.inner_text())
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.reader(downloading.value.path().read_text().splitlines()))
    assert rows[0][:3] == ["run", "depth", "seed"] and rows[0][-1] == "val_loss at step 20" and len(rows) == 13
    assert f"{float(rows[1][-1]):.4f}" == cell.inner_text()
    page.locator("table.runs tbody tr").first.locator("td").nth(4).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {rows[1][0]}")


def test_a_downloaded_table_holds_no_formulas(open_tab: OpenTab, tmp_path: Path) -> None:
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, seeds=[1], name="formulas")
        work(store, register(store), [], reason=Reason.ERROR, permanent=True, error_type="=1+1", error_message="x")
    with serving(db) as served:
        page = open_tab(served).visit("/sweeps/1")
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download CSV").click()
    assert '"\'=1+1: x"' in downloading.value.path().read_text()


def test_parallel_coordinates_and_final_values(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1?tab=parallel")
    canvas = page.locator(".parallel canvas")
    expect(canvas).to_have_attribute("aria-label", "12 runs over depth, validation loss (nats per byte)")
    assert pixels(page, ".parallel canvas") > 1000
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 56, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 56, box["y"] + 60)
    page.mouse.up()
    expect(page.locator("#filter")).to_have_value("depth=4")
    expect(page.get_by_text("6 runs with a validation loss")).to_be_visible()
    canvas.dblclick()
    expect(page.locator("#filter")).to_have_value("")
    page.get_by_role("tab", name="Final values").click()
    expect(page.locator("figure .chart")).to_have_attribute(
        "aria-label", "Mean validation loss (nats per byte) by depth: 2: 2.483; 4: 2.96"
    )
    page.get_by_role("combobox", name="Metric").select_option("val_acc")
    expect(page.locator("figcaption")).to_have_text("validation accuracy against depth")
    assert pixels(page, "figure canvas") > 200
    assert "tab=final" in query(page)


def test_the_comparison_has_verdicts(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1?tab=comparison")
    expect(page.get_by_role("region", name="last val_loss over seeds")).to_contain_text("95 % interval")
    page.get_by_label("Baseline").select_option("depth 2")
    expect(page.locator(".verdict")).to_have_text("worse")
    expect(page.locator(".sentences")).to_contain_text("depth 4 against depth 2: worse")
    assert "baseline=" in query(page)
    again = open_tab(demo).visit(f"/sweeps/1{query(page)}")
    expect(again.locator(".verdict")).to_have_text("worse")


def test_a_run_has_curves_of_all_metrics_and_its_whole_story(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/runs/1")
    expect(page.locator("figure")).to_have_count(10)
    assert page.locator("figure figcaption").all_inner_texts()[:3] == ["loss (nats per byte)", "accuracy", "perplexity"]
    assert pixels(page, "figure .uplot canvas") > 300
    expect(page.locator(".command pre")).to_contain_text(f"hlbq submit --db {demo.db} --depth 2 --width 128")
    expect(page.get_by_role("region", name="Attempts")).to_contain_text("finished")
    expect(page.get_by_role("region", name="Events")).to_contain_text("claim")
    expect(page.locator(".settings").first).to_contain_text("pystdlib")
    expect(page.get_by_text("the log is not on this machine")).to_be_visible()
    page.get_by_role("combobox", name="Over").select_option("tokens")
    page.get_by_label("log y").check()
    assert query(page) == "?x=tokens&logy=1"
    page.get_by_role("link", name="finished").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("finished")


def test_runs_stand_side_by_side(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1")
    for run in (1, 2):
        page.get_by_label(f"Select run {run}", exact=True).check()
    page.get_by_role("link", name="Show the selected runs side by side").click()
    table = page.get_by_role("region", name="What differs")
    expect(table.locator("tr", has=page.get_by_role("cell", name="depth", exact=True))).to_have_text("depth24")
    expect(page.locator("figure")).to_have_count(10)
    expect(page.locator("figure").first.locator(".legend button")).to_have_count(4)
    assert query(page) == "?runs=1,2" and pixels(page, "figure .uplot canvas") > 300
    table.get_by_role("link", name="run 2").click()
    expect(page.get_by_role("link", name="run 4 (seed 2)")).to_be_visible()
    page.get_by_role("link", name="‹ run 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 1")


def test_a_running_run_moves_by_itself(demo: Served, open_tab: OpenTab) -> None:
    with demo.store() as store:
        running = until(lambda: store.running(RunFilter()), "a run is running")[0].id
    page = open_tab(demo).visit(f"/runs/{running}")
    step = page.locator(".facts div").filter(has=page.locator("dt", has_text="step")).locator("dd")
    before = step.inner_text()
    until(lambda: step.inner_text() != before, "the step grows")
    value = page.locator('[data-metric="loss"] .legend .value').first
    expect(value).not_to_have_text("")
    shown = value.inner_text()
    until(lambda: value.inner_text() != shown, "the curve grows")


def test_workers_live_and_past(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/workers")
    live = page.get_by_role("region", name="Live workers")
    expect(live.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_role("region", name="Ended workers")).to_contain_text("the queue is empty")
    live.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run")


def test_more_tabs_than_a_browser_has_connections_stay_live(demo: Served, open_tab: OpenTab) -> None:
    tab = open_tab(demo)
    pages = [tab.visit("/")]
    for path in ("/workers", "/sweeps/1", f"/sweeps/{LIVE_SWEEP}", *(f"/runs/{number}" for number in range(1, 7))):
        pages.append(tab.page.context.new_page())
        pages[-1].goto(demo.base + path)
        expect(pages[-1].locator("main h1")).to_be_visible()
    events = pages[0].get_by_role("region", name="Events")
    step = pages[3].locator("tr:has(td.state.running) td:nth-child(6)").first
    before = step.inner_text()
    with demo.store() as store:
        store.set_priority(RunFilter(run_ids=(store.running(RunFilter())[0].id,)), 3, "ten tabs")
    expect(events).to_contain_text("ten tabs")  # the tab that was opened first
    until(lambda: step.inner_text() != before, "the step grows")
    for page in pages:
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#banner")).to_be_hidden()


def test_a_page_that_is_left_while_it_is_read_shows_nothing_later(demo: Served, open_tab: OpenTab) -> None:
    tab = open_tab(demo)
    page = tab.visit("/")
    expect(page.locator(".sweeps")).to_be_visible()
    waiting: list[Any] = []

    def hold(route: Any) -> None:
        waiting.append(route)

    page.route("**/api/sweeps/1", hold)
    page.get_by_role("link", name="1 finished").click()
    expect(page.get_by_text("Reading")).to_be_visible()
    until(lambda: page.evaluate("1") and waiting, "the sweep is asked for")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/sweeps/1")):
        page.keyboard.press("w")  # whoever leaves waits for no answer
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    expect(page.locator("#live")).to_have_text("live")
    assert page.get_by_role("heading", level=1).all_inner_texts() == ["Workers"]
    assert page.title() == "Workers · hlbq"


@pytest.mark.parametrize(
    "query", ["smooth=5", "smooth=1", "smooth=-1", "page=1.5", "page=-1", "sort=nothing", "filter=%22", "hide=,9"]
)
def test_an_address_with_nonsense_shows_the_sweep(demo: Served, open_tab: OpenTab, query: str) -> None:
    page = open_tab(demo).visit(f"/sweeps/1?{query}")
    plain = open_tab(demo).visit("/sweeps/1")
    for one in (plain, page):
        expect(one.locator(".legend .value").first).not_to_have_text("")
        expect(one.locator("table.runs tbody tr")).to_have_count(12)
    assert page.locator(".legend .value").all_inner_texts() == plain.locator(".legend .value").all_inner_texts()


def test_a_baseline_that_can_not_be_read_is_said(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1?tab=comparison&baseline=%25")
    expect(page.locator("#panel")).to_contain_text("Not compared: the address names no baseline")


def test_an_open_list_of_metrics_is_left_alone(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit(f"/sweeps/{LIVE_SWEEP}?filter=state%3Drunning")
    page.get_by_role("combobox", name="Metric").evaluate("list => { list.options[2].dataset.mark = 'mine'; }")
    step = page.locator("table.runs tbody tr").first.locator("td").nth(5)
    before = step.inner_text()
    until(lambda: step.inner_text() != before, "the page moves")
    expect(page.locator("option[data-mark]")).to_have_count(1)


def test_an_empty_database_says_what_to_type(empty: Served, open_tab: OpenTab) -> None:
    tab = open_tab(empty)
    tab.expected = ("404",)
    expect(tab.visit("/").get_by_text(f"hlbq submit --db {empty.db}")).to_be_visible()
    expect(tab.visit("/workers").get_by_text(f"hlbq worker --db {empty.db}", exact=True)).to_be_visible()
    expect(tab.visit("/sweeps/1").get_by_text("there is no sweep 1")).to_be_visible()
    expect(tab.visit("/runs/1").get_by_text("there is no run 1")).to_be_visible()
    expect(tab.visit("/nothing").get_by_text("There is no such page")).to_be_visible()


def test_ten_thousand_runs_are_usable(big: Served, open_tab: OpenTab) -> None:
    page = open_tab(big).visit("/sweeps/1")
    expect(page.locator("table.runs tbody tr")).to_have_count(50)
    expect(page.get_by_text(f"10 arms, {BIG_RUNS:,} runs")).to_be_visible()
    expect(page.get_by_text("page 1 of 200")).to_be_visible()
    expect(page.locator(".legend button")).to_have_count(10)
    until(lambda: "Reading" not in page.locator(".note").inner_text(), "all curves are read")
    expect(page.locator(".legend .value").first).to_contain_text("n 1000")
    expect(page.locator(".note")).to_contain_text("95 % interval of the mean")
    page.get_by_role("button", name="Last page").click()
    expect(page.get_by_text("page 200 of 200")).to_be_visible()
    assert "page=200" in query(page)
    page.get_by_label("every seed").check()
    expect(page.locator(".note")).to_contain_text("150 of 10,000 runs are drawn")
    page.get_by_label("Filter runs").fill("depth=4 width=192 seed>=1090")
    expect(page.get_by_text("10 of 10,000 runs")).to_be_visible()
    page.get_by_role("tab", name="Parallel coordinates").click()
    expect(page.locator(".parallel canvas")).to_have_attribute(
        "aria-label", "10 runs over depth, width, validation loss (nats per token)"
    )
    page.get_by_role("tab", name="Final values").click()
    expect(page.locator("figure")).to_have_count(2)


def test_an_open_page_follows_a_sweep_that_is_extended(tmp_path: Path, open_tab: OpenTab) -> None:
    """Its settings that all runs share are fewer then; a metric of one's own has come into its menus."""
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store, serving(db) as served:
        sweep = submit_sweep(store, [{"depth": 2}], name="extended")
        page = open_tab(served).visit("/sweeps/1")
        shared = page.locator("details dt").get_by_text("depth", exact=True)
        own = page.get_by_role("combobox", name="Metric").locator("option", has_text="train_surprise")
        expect(shared).to_have_count(1)
        expect(own).to_have_count(0)
        work(store, register(store), [sample_point(Split.TRAIN, 1, loss=3.0, extra={"surprise": 0.5})])
        (arm,) = store.arms(sweep.id)
        other = {"key": "other", "settings": {**arm.settings, "depth": 4}}
        new = NewArm(**other, num_params=1, num_non_embedding_params=1)
        store.extend(sweep.id, arms=[new], runs=[NewRun(arm=0, run_num=1, seed=100)])
        expect(shared).to_have_count(0)
        expect(own).to_have_count(1)


def test_of_many_arms_some_are_drawn_and_the_page_says_so(tmp_path: Path, open_tab: OpenTab) -> None:
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"lr_mult": 0.001 * number} for number in range(1, 151)], seeds=[1])
        worker = register(store)
        for _ in range(150):
            work(store, worker, sample_points(4))
    with serving(db) as served:
        page = open_tab(served).visit("/sweeps/1")
        expect(page.locator(".note")).to_contain_text("40 of 150 lines are drawn")
        page.get_by_label("Filter runs").fill("lr_mult>0.01")
        expect(page.locator(".note")).to_contain_text("40 of 140 lines are drawn")
        page.get_by_label("Filter runs").fill("lr_mult>0.14")
        expect(page.locator(".legend button")).to_have_count(10)
        expect(page.locator(".note")).not_to_contain_text("are drawn")


def test_failed_runs_show_their_errors(strange: Served, open_tab: OpenTab) -> None:
    page = open_tab(strange).visit("/sweeps/1?filter=state%3Dfailed")
    expect(page.locator("table.runs tbody tr")).to_have_count(3)
    expect(page.locator("table.runs tbody")).to_contain_text("failed (oom)")
    expect(page.locator("table.runs tbody")).to_contain_text("failed (diverged)")
    page.get_by_role("link", name="3", exact=True).click()
    expect(page.locator(".error-box")).to_contain_text(f"Boom: {EVIL}")
    expect(page.locator(".error-box pre")).to_contain_text("Traceback")
    expect(page.locator(".log")).to_contain_text(f"the trainer said {EVIL}")


def test_runs_that_diverged_are_named_counted_and_marked_on_every_view(strange: Served, open_tab: OpenTab) -> None:
    page = open_tab(strange).visit("/sweeps/1")
    expect(page.locator(".note")).to_contain_text(
        "1 run diverged (× where they ended): run 2 (depth 4, seed 1, at 30)."
    )
    expect(page.get_by_role("button", name="depth 4 · diverged")).to_be_visible()
    page.get_by_role("tab", name="Parallel coordinates").click()
    expect(page.locator("#panel")).to_contain_text("1 diverged (dashed, above the axis): run 2.")
    page.get_by_role("tab", name="Final values").click()
    expect(page.locator("#panel")).to_contain_text("1 diverged (× at the top): run 2.")
    expect(page.locator("figure .chart")).to_have_attribute("aria-label", re.compile("4: diverged"))


def test_words_are_whole_and_numbers_right_aligned(strange: Served, open_tab: OpenTab) -> None:
    page = open_tab(strange, viewport={"width": 390, "height": 800}).visit("/")
    expect(page.get_by_role("region", name="Events")).to_contain_text("worker 1")
    assert page.evaluate(BROKEN_WORDS) == []
    attempts = open_tab(strange).visit("/runs/2").get_by_role("region", name="Attempts")
    assert attempts.locator("td").first.evaluate("c => getComputedStyle(c).textAlign") == "right"


def test_what_can_not_be_done_can_not_be_pressed(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/runs/1")
    for name in ("Pause", "Unpause", "Retry", "Raise priority", "Cancel"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()


def test_lines_may_take_all_arms_that_share_a_setting(big: Served, open_tab: OpenTab) -> None:
    page = open_tab(big).visit("/sweeps/1?colour=width")
    expect(page.locator(".legend button")).to_have_count(10)
    colours = page.locator(".legend .swatch").evaluate_all("all => new Set(all.map(s => s.style.borderTopColor)).size")
    assert colours == 2
    page.get_by_role("combobox", name="A line for each").select_option("depth")
    expect(page.locator(".legend button")).to_have_count(5)
    until(lambda: "Reading" not in page.locator(".note").inner_text(), "all curves are read")
    expect(page.locator(".legend .value").first).to_contain_text("n 2000")
    assert "by=depth" in query(page) and "colour=width" in query(page)


def test_names_are_text_wherever_they_stand(strange: Served, open_tab: OpenTab) -> None:
    tab = open_tab(strange)
    for path in ("/", "/sweeps/1", "/runs/2", "/workers"):
        page = tab.visit(path)
        expect(page.get_by_text(EVIL).first).to_be_attached()
        assert page.locator("main img, main b, main script").count() == 0
    expect(tab.visit("/sweeps/1").get_by_role("heading", level=1)).to_have_text(EVIL)
    assert EVIL in tab.page.title()
    page = tab.visit("/runs/2")
    expect(page.locator("figcaption", has_text=EVIL)).to_be_visible()  # a metric of one's own
    expect(page.get_by_text("Values that are nan or infinite are not drawn")).to_be_visible()


def test_a_look_comes_to_a_page_that_is_open(strange: Served, open_tab: OpenTab) -> None:
    page = open_tab(strange).visit("/runs/4")
    expect(page.locator(".facts")).to_contain_text("running")
    expect(page.locator("#live")).to_have_text("live")
    with strange.store() as store:
        uid = next(iter(store.runs(RunFilter(run_ids=(4,))))).uid
        progress = Progress(phase=Phase.TRAIN, step=777, fraction=0.5, tokens_per_second=10.0, tokens_seen=10)
        store.flush(Lease(run_id=4, run_uid=uid, fence=1), points=sample_points(5), progress=progress)
    expect(page.locator(".facts")).to_contain_text("777")


def test_the_page_of_a_read_only_dashboard_has_no_controls(demo: Served, open_tab: OpenTab) -> None:
    with serving(demo.db, "--read_only") as served:
        tab = Tab(page=open_tab(served).page, served=served)
        for path in ("/sweeps/1", "/runs/1"):
            page = tab.visit(path)
            expect(page.get_by_text("Read-only")).to_be_visible()
            expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    with demo.store() as store:
        assert store.counts(RunFilter())[State.CANCELLED] == 0
