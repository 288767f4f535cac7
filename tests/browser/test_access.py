"""For everybody: axe's checks on every page in both themes, the keyboard, and a phone's width."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenTab, Served, until

PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
VIEWS = {
    "/": ".sweeps",
    "/workers": "table",
    "/runs/1": "figure .uplot",
    "/compare?runs=1,2": "figure .uplot",
    "/sweeps/1?seeds=1": ".legend button",
    "/sweeps/1?tab=parallel": ".parallel canvas",
    "/sweeps/1?tab=final": "figure canvas",
    "/sweeps/1?tab=comparison&baseline=depth%253D2": ".verdict",
}


def violations(page: Any) -> list[str]:
    """What axe finds on the page, in a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_nothing(demo: Served, open_tab: OpenTab, path: str, theme: str) -> None:
    page = open_tab(demo, color_scheme=theme).visit(path)
    expect(page.locator(VIEWS[path]).first).to_be_visible()
    assert violations(page) == []


def test_axe_finds_nothing_in_dialogs_and_errors(strange: Served, open_tab: OpenTab) -> None:
    tab = open_tab(strange)
    tab.expected = ("404", "401")
    tab.page.route("**/log*", lambda route: None)  # a log that has not come yet
    page = tab.visit("/runs/2")
    expect(page.locator(".error-box")).to_be_visible()
    assert violations(page) == []
    page.unroute_all()
    page.reload()
    expect(page.locator(".error-box")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    expect(tab.visit("/runs/999").get_by_text("there is no run 999")).to_be_visible()
    assert violations(tab.page) == []
    tab.page.evaluate("localStorage.clear()")
    expect(tab.visit("/", token=False).get_by_label("Link or token")).to_be_visible()
    assert violations(tab.page) == []


@pytest.mark.parametrize("path", VIEWS)
def test_a_phone_scrolls_down_only(demo: Served, open_tab: OpenTab, path: str) -> None:
    page = open_tab(demo, **PHONE).visit(path)
    expect(page.locator(VIEWS[path]).first).to_be_attached()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    if "seeds" in path:
        assert violations(page) == []


def test_the_theme_can_be_chosen_and_is_kept(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo, color_scheme="light").visit("/sweeps/1")
    ground = "getComputedStyle(document.body).backgroundColor"
    expect(page.locator(".legend button")).to_have_count(2)
    light, ink = page.evaluate(ground), page.locator(".swatch").first.evaluate("s => s.style.borderTopColor")
    page.emulate_media(color_scheme="dark")  # the page goes with the system
    until(lambda: page.evaluate(ground) != light, "the dark page of a dark system")
    page.emulate_media(color_scheme="light")
    until(lambda: page.evaluate(ground) == light, "the light page of a light system")
    page.keyboard.press("t")  # light
    page.keyboard.press("t")  # dark
    until(lambda: page.evaluate(ground) != light, "the dark page")
    assert page.locator(".swatch").first.evaluate("s => s.style.borderTopColor") != ink  # charts are drawn anew
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) != light


def test_everything_is_reached_by_keyboard(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/")
    expect(page.locator(".sweeps")).to_be_visible()
    page.keyboard.press("w")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    page.keyboard.press("s")
    page.get_by_role("link", name="1 finished").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".legend button")).to_have_count(2)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keys and hints")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("depth=2")
    expect(page.get_by_text("6 of 12 runs")).to_be_visible()
    expect(page.locator(".legend button")).to_have_count(1)  # the curves followed: they are drawn anew no more
    page.get_by_role("tab", name="Runs").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Parallel coordinates")).to_be_focused()
    expect(page.locator(".parallel canvas")).to_be_visible()
    page.locator(".chart").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".sr-only[aria-live]")).to_contain_text("optimizer steps 30: depth 2 3.95")


def test_the_first_link_skips_to_the_page_and_leaves_it_as_it_is(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/1?filter=depth%3D2")
    expect(page.locator(".legend button")).to_have_count(1)
    page.locator("h1").evaluate("heading => { heading.dataset.mark = 'mine'; }")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("h1[data-mark]")).to_have_count(1)
    assert page.url == f"{demo.base}/sweeps/1?filter=depth%3D2"


def test_the_focus_stays_while_the_page_moves(demo: Served, open_tab: OpenTab) -> None:
    page = open_tab(demo).visit("/sweeps/2?filter=state%3Drunning")
    link = page.locator("a.run").first
    link.focus()
    step = page.locator("table.runs tbody tr").first.locator("td").nth(5)
    before = step.inner_text()
    until(lambda: step.inner_text() != before, "the step grows")
    expect(link).to_be_focused()


def test_a_control_that_is_drawn_anew_keeps_the_focus(big: Served, open_tab: OpenTab) -> None:
    page = open_tab(big).visit("/sweeps/1")
    turn = page.get_by_role("button", name="Next page")
    turn.focus()
    for number in (2, 3):
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"page {number} of 200")).to_be_visible()
        expect(turn).to_be_focused()
    page.get_by_text("Columns", exact=True).click()
    column = page.get_by_role("checkbox", name="width")
    column.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("columnheader", name="width")).to_have_count(0)
    expect(column).to_be_focused()
    add = page.get_by_role("button", name="Add column")
    add.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="best val_loss")).to_be_visible()
    expect(add).to_be_focused()
