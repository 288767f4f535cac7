"""Figures saved from the page, zoom and brush in the address, any metric as x."""

import csv
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import expect

from hlbgpt_core.points import Phase, Point, Progress, Split
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from tests.browser.conftest import EVIL, OpenTab, Served, serving, until
from tests.sample_sweep import register, sample_facts, sample_point, sample_points, submit_sweep, work

NAMESPACE = "{http://www.w3.org/2000/svg}"


def fill_with_figures(db: Path) -> None:
    """A sweep over a number and a word, with a run that diverged, and a metric of one's own whose name is markup."""
    arms = [{"depth": depth, "linear_value": value} for depth in (2, 4, 8) for value in (True, False)]
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, arms, seeds=[1, 2, 3], name="figures")
        worker = register(store)
        for number in range(17):
            extra = sample_point(Split.TRAIN, 200, loss=2.0, extra={EVIL: number / 10})
            work(store, worker, [*sample_points(16, start=5 + (number % 6) / 2), extra])
        nan = sample_point(Split.VAL, 60, loss=float("nan"))
        work(store, worker, [*sample_points(4), nan], reason=Reason.DIVERGED)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    db = tmp_path_factory.mktemp("figures") / "hlbq.db"
    fill_with_figures(db)
    with serving(db) as served:
        yield served


def saved(page: Any, kind: str, at: int = 0) -> tuple[str, bytes]:
    """Save the figure; its file's name and content."""
    with page.expect_download() as found:
        page.get_by_label("Save the figure as").nth(at).select_option(kind)
    return found.value.suggested_filename, Path(found.value.path()).read_bytes()


def texts(svg: bytes) -> list[str]:
    return [str(one.text) for one in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")]


def test_a_chart_is_saved_as_svg_png_and_csv(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(6)
    page.locator(".legend button").first.click()  # a hidden line is in no figure
    name, content = saved(page, "svg")
    assert name == "validation-loss-nats-per-byte-over-optimizer-steps.svg"
    shown = texts(content)
    assert "validation loss (nats per byte)" in shown and "optimizer steps" in shown and "10" in shown
    assert len([text for text in shown if text.startswith("depth")]) == 5 and not any("true" in t for t in shown[:3])
    drawing = ElementTree.fromstring(content)
    paths = [path.get("d", "") for path in drawing.iter(f"{NAMESPACE}path")]
    assert not any("NaN" in path or "Infinity" in path for path in paths) and len(paths) > 15
    name, content = saved(page, "png")
    width, height = struct.unpack(">II", content[16:24])
    assert name.endswith(".png") and content[:4] == b"\x89PNG" and width > 2000 and height > 600
    name, content = saved(page, "csv")
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert name.endswith(".csv") and len(rows) > 30 and len({row["line"] for row in rows}) == 5
    assert set(rows[0]) == {"line", "optimizer steps", "validation loss (nats per byte)", "low", "high", "runs"}


def test_every_kind_of_figure_is_saved_and_names_are_text(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/sweeps/1?tab=parallel")
    expect(page.locator(".parallel canvas")).to_be_visible()
    _, content = saved(page, "svg", 1)
    assert {"depth", "linear_value", "validation loss (nats per byte)"} <= set(texts(content))
    _, content = saved(page, "csv", 1)
    assert len(content.decode().splitlines()) == 19
    page.get_by_role("tab", name="Final values").click()
    expect(page.get_by_label("Save the figure as")).to_have_count(3)
    _, content = saved(page, "svg", 2)
    assert {"linear_value", "true", "false"} <= set(texts(content))
    _, content = saved(page, "csv", 1)
    assert {"run 1", "run 17", "mean"} <= {row[0] for row in csv.reader(content.decode().splitlines())}
    page.goto(f"{figures.base}/runs/1")
    own = page.locator("figure").filter(has_text=EVIL)
    expect(own.locator(".uplot")).to_be_visible()
    with page.expect_download() as found:
        own.get_by_label("Save the figure as").select_option("svg")
    content = Path(found.value.path()).read_bytes()
    assert EVIL in texts(content) and {one.tag for one in ElementTree.fromstring(content).iter()} <= {
        f"{NAMESPACE}{tag}" for tag in ("svg", "path", "rect", "text")
    }


def test_a_zoom_stands_in_the_address(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/sweeps/1")
    expect(page.locator(".legend button")).to_have_count(6)
    box = page.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function("location.search.includes('zoom=')")
    page.reload()
    expect(page.locator(".legend button")).to_have_count(6)
    steps = [float(row["optimizer steps"]) for row in csv.DictReader(saved(page, "csv")[1].decode().splitlines())]
    assert steps  # the CSV has all of it, the figure what is shown
    ticks = [float(text) for text in texts(saved(page, "svg")[1]) if text.isdecimal() and len(text) > 1]
    assert min(ticks) >= 60 and max(ticks) <= 130
    page.locator(".u-over").dblclick(position={"x": 20, "y": 20})
    page.wait_for_function("!location.search.includes('zoom=')")
    assert "10" in texts(saved(page, "svg")[1])


def test_all_charts_of_a_run_zoom_together(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/runs/1?zoom=50,100")
    expect(page.locator("figure .uplot").nth(3)).to_be_visible()
    for at in (0, 3):
        ticks = [float(text) for text in texts(saved(page, "svg", at)[1]) if text.isdecimal()]
        assert 50 in ticks and max(ticks) <= 100
    page.locator(".chart").first.focus()
    page.keyboard.press("Escape")
    assert "zoom" not in page.evaluate("location.search")
    assert max(float(text) for text in texts(saved(page, "svg", 3)[1]) if text.isdecimal()) == 150


def test_a_brush_filters_the_table_and_the_curves(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/sweeps/1?tab=parallel")
    expect(page.locator(".legend button")).to_have_count(6)

    def brush(share: float, begin: float, end: float) -> None:
        page.locator(".parallel canvas").scroll_into_view_if_needed()
        box = page.locator(".parallel canvas").bounding_box()
        assert box
        x = box["x"] + 56 + share * (box["width"] - 112)
        page.mouse.move(x, box["y"] + begin)
        page.mouse.down()
        page.mouse.move(x, box["y"] + end, steps=4)
        page.mouse.up()

    brush(0, 120, 290)  # depth: its two lower values
    filter_box = page.locator("#filter")
    expect(filter_box).to_have_value("depth>=2 depth<=4")
    expect(page.locator(".legend button")).to_have_count(4)
    brush(0.5, 20, 120)  # linear_value: one of two words
    expect(filter_box).to_have_value("depth>=2 depth<=4 linear_value=true")
    expect(page.locator(".legend button")).to_have_count(2)
    page.reload()
    expect(page.locator(".legend button")).to_have_count(2)
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator("table.runs tbody tr")).to_have_count(6)
    page.get_by_role("tab", name="Parallel").click()
    page.locator(".parallel canvas").dblclick(position={"x": 200, "y": 150})
    expect(filter_box).to_have_value("")
    expect(page.locator(".legend button")).to_have_count(6)
    page.keyboard.press("/")
    page.keyboard.type("run=1")
    expect(page.locator("#panel")).to_contain_text("1 run with a validation loss")


def test_a_filter_may_name_any_metric_also_in_a_link(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/sweeps/1?filter=val_pplx<10")
    expect(page.locator("table.runs tbody tr")).to_have_count(6)
    expect(page.locator("p.problem").first).to_have_text("")
    expect(page.locator(".legend button")).to_have_count(2)
    page.locator("#filter").fill("train_grad_norm>1")
    expect(page.locator("table.runs tbody tr")).to_have_count(18)


def test_any_metric_is_an_x_of_a_run(figures: Served, open_tab: OpenTab) -> None:
    page = open_tab(figures).visit("/runs/1")
    expect(page.locator("figure .uplot").first).to_be_visible()
    page.get_by_role("combobox", name="Over").select_option("lr")
    loss = page.locator('figure[data-metric="loss"]')
    expect(loss.get_by_role("group")).to_have_attribute("aria-label", re.compile("over learning rate"))
    page.reload()
    expect(page.get_by_role("combobox", name="Over")).to_have_value("lr")
    assert "0.05" in texts(saved(page, "svg")[1])
    rows = list(csv.reader(saved(page, "csv")[1].decode().splitlines()))
    assert rows[0][1] == "learning rate" and float(rows[1][1]) == pytest.approx(0.001)


def test_the_legend_over_a_metric_tells_of_the_last_step(tmp_path: Path, open_tab: OpenTab) -> None:
    """Not of the largest x: a loss falls, and its last step is the leftmost dot."""
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{}], seeds=[1, 2])
        worker = register(store)
        for _ in range(2):
            work(store, worker, [sample_point(Split.TRAIN, step, loss=5 - step / 20) for step in (10, 20, 30, 40)])
    with serving(db) as served:
        page = open_tab(served).visit("/sweeps/1?metric=train_lr&x=train_loss")
        value = page.locator(".legend .value")
        expect(value).to_have_text("0.04 · n 2")
        box = page.locator(".u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
        expect(value).to_have_text("0.01 · n 2")  # under the cursor: the largest loss, of the first step
        page.goto(f"{served.base}/runs/1?x=loss")
        expect(page.locator('figure[data-metric="lr"] .legend .value')).to_have_text("0.04")


# How many pixels of a chart have the colours of the first two lines.
COLOURED = """() => {
  const canvas = document.querySelector(".chart canvas");
  if (!canvas) return [0, 0];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const found = [0, 0];
  for (let at = 0; at < data.length; at += 4)
    [[11, 98, 196], [194, 65, 12]].forEach((colour, which) => {
      found[which] += data[at + 3] > 200 && colour.every((value, part) => data[at + part] === value);
    });
  return found;
}"""


def test_lines_that_come_and_go_keep_their_colours(tmp_path: Path, open_tab: OpenTab) -> None:
    """An arm may send its first evaluation after another, and a retry without a checkpoint takes all points back."""
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store, serving(db) as served:
        submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1], name="live")
        claims = [store.claim(register(store, pid=number)) for number in (1, 2)]

        def send(which: int, *points: Point) -> None:
            progress = Progress(
                phase=Phase.TRAIN, step=points[-1].step, fraction=0.5, tokens_per_second=1.0, tokens_seen=1
            )
            store.flush(claims[which].lease, points=points, progress=progress, facts=sample_facts())

        send(1, *(sample_point(Split.VAL, step, loss=5 - step / 100) for step in range(10, 100, 10)))
        send(0, sample_point(Split.TRAIN, 1, loss=8.0))
        page = open_tab(served).visit("/sweeps/1")
        until(lambda: page.evaluate(COLOURED)[1] > 50, "the second arm is drawn")
        assert page.evaluate(COLOURED)[0] < 20
        send(0, *(sample_point(Split.VAL, step, loss=8 - step / 100) for step in range(10, 100, 10)))
        until(lambda: min(page.evaluate(COLOURED)) > 50, "both arms are drawn")

        run = open_tab(served).visit("/runs/1")
        expect(run.locator("figure[data-metric=loss]")).to_have_count(1)
        for claim in claims:
            store.finish(
                claim.lease, Ending(reason=Reason.ERROR, permanent=True, error_type="Made", error_message="up")
            )
        assert store.retry(RunFilter(), "ada") == 2
        until(lambda: max(page.evaluate(COLOURED)) == 0, "their points are gone")
        expect(run.locator("figure[data-metric=loss]")).to_have_count(0)


def test_what_ended_early_is_no_final_value(tmp_path: Path, open_tab: OpenTab) -> None:
    """As `plot --final`: the last loss of a run that was cancelled, failed or stopped early is from less training."""
    db = tmp_path / "hlbq.db"
    with open_store(str(db), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2, 3], name="early")
        worker = register(store)
        for _ in range(2):
            work(store, worker, [sample_point(Split.VAL, 10, loss=2.0)])
        high = [sample_point(Split.VAL, 10, loss=9.0)]
        work(store, worker, high, reason=Reason.ERROR, permanent=True, error_type="Boom", error_message="made up")
        work(store, worker, high, reason=Reason.PRUNED)
        assert store.cancel(RunFilter(run_ids=(work(store, worker, high, reason=None).run.id,)), "ada") == 1
        work(store, worker, [sample_point(Split.VAL, 10, loss=4.0)], reason=None)  # it goes on
    left_out = "3 runs left out: failed, cancelled or stopped early."
    with serving(db) as served:
        page = open_tab(served).visit("/sweeps/1?tab=final")
        chart = page.locator("figure .chart")
        means = "Mean validation loss (nats per byte) by depth: 2: 2; 4: 3"
        expect(chart).to_have_attribute("aria-label", means)
        expect(page.get_by_text(left_out)).to_be_visible()
        page.get_by_role("tab", name="Parallel coordinates").click()
        of = "3 runs over depth, validation loss (nats per byte)"
        expect(page.locator(".parallel canvas")).to_have_attribute("aria-label", of)
        expect(page.get_by_text(left_out)).to_be_visible()
