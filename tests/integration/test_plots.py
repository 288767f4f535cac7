"""Figures of every kind, from a database and from an exported table, and what can't be drawn."""

import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Facts, Phase, Point, Progress, Split
from orchestrator.cli.main import run_program
from orchestrator.errors import ExportError
from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.metric_names import Axis, parse_metric
from orchestrator.export.writing import export
from orchestrator.plots import save
from orchestrator.plots.curve_sets import Band
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.drawing.heat_maps import HeatMap
from orchestrator.plots.drawing.style import COLOURS, line_styles, metric_label, parse_size
from orchestrator.plots.drawing.ticks import plain_number
from orchestrator.plots.figures import plot_curves, plot_final, plot_schedules
from orchestrator.plots.reading import Source
from orchestrator.queue.attempts import Ending
from orchestrator.queue.points import ReceivedPoint
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.sweep.baseline import baseline_text
from tests.sample_sweep import received, register, sample_facts, sample_point, sample_points, submit_sweep, work

pytestmark = pytest.mark.reader

ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4, 8) for heads in (1, 2)]


def fill(store: Store, arms: Sequence[dict[str, Any]] = ARMS, seeds: Sequence[int] = (1, 2)) -> None:
    """A finished sweep whose losses fall as depth ** -0.1, exactly."""
    submit_sweep(store, arms, seeds=seeds)
    worker = register(store)
    for seed in seeds:
        for arm in arms:
            start = 5 * arm.get("depth", 2) ** -0.1 + (0.1 if arm.get("num_heads") == 1 else 0.0)
            work(store, worker, sample_points(12, start=start + seed / 100))


@pytest.fixture
def swept(store: Store) -> Store:
    """Six arms of two seeds, all finished."""
    fill(store)
    return store


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file, for the command."""
    path = tmp_path_factory.mktemp("swept") / "hlbq.db"
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        fill(store)
    return path


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_every_format_is_written(swept: Store, tmp_path: Path, ending: str, magic: bytes) -> None:
    drawn = plot_curves(swept)
    assert (drawn.arms, drawn.runs, list(drawn.warnings)) == (6, 12, [])
    save(drawn.figure, tmp_path / f"first.{ending}")
    assert (tmp_path / f"first.{ending}").read_bytes().startswith(magic)
    if ending == "png":
        save(plot_curves(swept).figure, tmp_path / "second.png")
        assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_line_an_arm_with_a_band_labelled_by_what_differs(swept: Store) -> None:
    figure = plot_curves(swept).figure
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels[0] == "depth 2, num_heads 1 (287.1K)" and len(labels) == 6
    assert len(axes.collections) == 6
    assert axes.get_xlabel() == "training tokens"
    assert axes.get_ylabel() == "validation loss (nats per byte)"
    assert {line.get_color() for line in axes.get_lines()} == set(COLOURS[:3])
    assert figure.get_supxlabel() == "mean of 2 seeds, band: lowest to highest"


def test_colour_and_style_are_chosen_by_settings(swept: Store) -> None:
    (axes,) = plot_curves(swept, Drawing(colour="num_heads")).figure.axes
    assert {line.get_color() for line in axes.get_lines()} == set(COLOURS[:2])
    (axes,) = plot_curves(swept, Drawing(style="depth")).figure.axes
    assert {line.get_color() for line in axes.get_lines()} == set(COLOURS[:2])
    assert len({str(line.get_linestyle()) for line in axes.get_lines()}) > 1


def test_small_multiples_have_a_panel_a_value_on_the_same_axes(swept: Store) -> None:
    figure = plot_curves(swept, Drawing(facet="depth")).figure
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["depth 2", "depth 4", "depth 8"]
    assert [line.get_label() for line in panels[0].get_lines()] == ["num_heads 1", "num_heads 2"]
    assert len({axes.get_ylim() for axes in panels}) == 1
    styles = [[line.get_color() for line in axes.get_lines()] for axes in panels]
    assert styles[0] == styles[1] == styles[2]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["num_heads 1", "num_heads 2"]


def test_the_baseline_is_named_in_the_legend(store: Store) -> None:
    fill(store, [{"num_heads": heads} for heads in (2, 1)])
    for baseline, place in ((None, 1), ({"num_heads": 1}, 0)):
        (axes,) = plot_curves(store, Drawing(baseline=baseline)).figure.axes
        marked = [text.get_text().endswith(", baseline") for text in axes.get_legend().get_texts()]
        assert [at for at, is_marked in enumerate(marked) if is_marked] == [place]
    with pytest.raises(ExportError, match="--baseline num_heads=3: no run here has that"):
        plot_curves(store, Drawing(baseline={"num_heads": 3}))


def test_a_baseline_that_diverged_everywhere_is_a_warning_and_no_missing_run(store: Store) -> None:
    submit_sweep(store, [{"num_heads": 1}, {"num_heads": 2}], seeds=[1])
    worker = register(store)
    work(store, worker, [sample_point(Split.VAL, 10, loss=math.nan)], reason=Reason.DIVERGED)
    work(store, worker, sample_points(4))
    drawn = plot_curves(store, Drawing(baseline={"num_heads": 1}))
    assert list(drawn.warnings) == ["1 run left out: no finite val_loss"]


def test_a_seed_that_was_trained_again_counts_once(swept: Store, tmp_path: Path) -> None:
    """As in a comparison: else its band is narrower than the seeds allow."""
    fill(swept)
    everything = RunFilter()
    export(swept, tmp_path / "all.csv", Selection(runs=everything))
    for source, runs in ((swept, everything), (tmp_path / "all.csv", None)):
        drawn = plot_curves(source, runs=runs)
        assert (drawn.arms, drawn.runs) == (6, 12)
        assert drawn.warnings == ["12 runs left out: of one arm and seed, only the newest run counts"]
        assert drawn.figure.get_supxlabel() == "mean of 2 seeds, band: lowest to highest"
        final = plot_final(source, FinalDrawing(against="depth"), runs)
        assert final.runs == 12 and drawn.warnings[0] in final.warnings


def test_a_table_of_another_layout_or_format_is_told_which_is_read(swept: Store, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    export(swept, points, Selection(runs=RunFilter(), layout=Layout.POINTS))
    with pytest.raises(ExportError, match="no column 'tokens_seen_val'") as caught:
        plot_curves(points)
    assert caught.value.hint == "Write a CSV with one row per run: hlbq export results.csv"


def test_last_values_over_a_setting_with_a_power_law(swept: Store) -> None:
    only = RunFilter(where={"num_heads": 2})
    (axes,) = plot_final(swept, FinalDrawing(against="depth"), only).figure.axes
    (text,) = axes.get_legend().get_texts()
    exponent = float(text.get_text().partition("^(")[2].split()[0])
    assert exponent == pytest.approx(-0.09, abs=0.02)
    assert axes.get_xlabel() == "depth" and axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4", "8"]
    assert axes.get_ylabel() == "final validation loss (nats per byte)"

    (axes,) = plot_final(swept, FinalDrawing(against="num_params"), only).figure.axes
    assert axes.get_xlabel() == "parameters"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["287.1K", "492.2K", "902.3K"]
    assert len(axes.get_legend().get_texts()) == 1


def test_a_law_whose_exponent_may_be_zero_is_not_drawn(store: Store) -> None:
    # The means fall steadily, but the noise of the seeds is larger than that.
    submit_sweep(store, [{"depth": depth} for depth in (2, 4, 8)], seeds=[1, 2])
    worker = register(store)
    for start in (5.2, 5.19, 5.18, 4.8, 4.79, 4.78):
        work(store, worker, sample_points(12, start=start))
    (axes,) = plot_final(store, FinalDrawing(against="depth")).figure.axes
    assert axes.get_legend() is None and axes.containers[0].lines[0].get_linestyle() == "-"


def test_dashes_are_seen_in_the_legend_of_last_values(swept: Store) -> None:
    (axes,) = plot_final(swept, FinalDrawing(against="depth")).figure.axes
    first, second = axes.get_legend().legend_handles
    assert first.get_linestyle() != second.get_linestyle() and first.get_label() != second.get_label()
    # No marker stands over the gap between two dashes.
    middle = sum(second.get_xdata()) / len(second.get_xdata())
    assert all(abs(x - middle) > 5 for x in second.get_xdata()[[0, -1]])


def test_many_lines_stay_at_their_value(store: Store) -> None:
    arms = [{"num_heads": heads, "warmup_steps": steps} for heads in (1, 2) for steps in range(1, 31)]
    fill(store, arms, seeds=[1])
    figure = plot_final(store, FinalDrawing(against="num_heads")).figure
    (axes,) = figure.axes
    figure.canvas.draw()
    one, two = (axes.transData.transform((x, 2))[0] for x in (1, 2))
    for line in (container.lines[0] for container in axes.containers):
        drawn = line.get_transform().transform(line.get_xydata())[:, 0]
        assert abs(drawn[0] - one) < (two - one) / 4 and abs(drawn[1] - two) < (two - one) / 4
        assert axes.bbox.x0 < drawn[0] and drawn[1] < axes.bbox.x1


def test_bands_thin_out_past_four_arms(swept: Store) -> None:
    (axes,) = plot_curves(swept, runs=RunFilter(where={"depth": [2, 4]})).figure.axes
    assert {band.get_alpha() for band in axes.collections} == {0.22}
    (axes,) = plot_curves(swept).figure.axes
    assert {round(band.get_alpha(), 6) for band in axes.collections} == {round(0.22 * 4 / 6, 6)}


def test_grouped_figures_average_each_seed_over_the_other_settings(swept: Store) -> None:
    drawn = plot_curves(swept, Drawing(by=["depth"]))
    (axes,) = drawn.figure.axes
    assert (drawn.arms, drawn.runs) == (3, 12)
    assert [line.get_label() for line in axes.get_lines()][1] == "depth 4 (492.2K)"
    alone = [plot_curves(swept, runs=RunFilter(where={"num_heads": heads})).figure.axes[0] for heads in (1, 2)]
    one, other = (axes.get_lines()[1].get_ydata() for axes in alone)
    assert list(axes.get_lines()[1].get_ydata()) == pytest.approx(list((one + other) / 2))
    assert drawn.figure.get_supxlabel().endswith("; each seed averaged over num_heads")
    figure = plot_final(swept, FinalDrawing(against="depth", by=["depth"])).figure
    assert len(figure.axes[0].get_lines()[0].get_xdata()) == 6  # dots: three depths of two seeds
    assert plot_schedules(swept, Drawing(by=["num-heads"])).arms == 2


def test_grouped_figures_leave_out_what_not_every_group_has(store: Store) -> None:
    fill(store, [{"depth": 2, "num_heads": 1}, {"depth": 2, "num_heads": 2}, {"depth": 4, "num_heads": 1}])
    drawn = plot_curves(store, Drawing(by=["depth"]))
    assert drawn.runs == 4
    assert list(drawn.warnings) == ["2 runs left out: not every group has their num_heads at their seed"]
    fill(store, [{"depth": 2, "num_heads": 1}, {"depth": 2, "num_heads": 2}, {"depth": 4, "num_heads": 4}])
    with pytest.raises(ExportError, match="groups by depth have no num_heads in common"):
        plot_curves(store, Drawing(by=["depth"]))


@pytest.mark.parametrize(
    ("text", "inches"), [("column", (3.4, None)), ("page", (7.0, None)), ("5x3", (5, 3)), ("2.5x2", (2.5, 2))]
)
def test_a_figure_has_the_size_that_is_asked_for(swept: Store, text: str, inches: tuple[float, Any]) -> None:
    size = parse_size(text)
    heat_map = HeatMap(rows="depth", columns="num_heads", size=size)
    for figure in (
        plot_curves(swept, Drawing(size=size)).figure,
        plot_curves(swept, Drawing(size=size, facet="depth")).figure,
        plot_final(swept, FinalDrawing(against="depth", size=size)).figure,
        plot_final(swept, heat_map).figure,
        plot_schedules(swept, Drawing(size=size)).figure,
    ):
        width, height = figure.get_size_inches()
        assert width == inches[0] and (inches[1] is None or height == inches[1])
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 6


@pytest.mark.parametrize("text", ["", "wide", "3", "x3", "3x", "0x3", "nanx3", "3xinf", "3x4x5", "-3x4", "1000x1000"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(HlbqError, match="no such size") as caught:
        parse_size(text)
    assert "--size 5x3" in caught.value.hint


def test_a_pdf_holds_its_fonts(swept: Store, tmp_path: Path) -> None:
    save(plot_curves(swept).figure, tmp_path / "figure.pdf")
    content = (tmp_path / "figure.pdf").read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content


def test_last_values_over_two_values_or_over_words_have_no_law(store: Store) -> None:
    fill(store, [{"linear_value": value} for value in (False, True)])
    (axes,) = plot_final(store, FinalDrawing(against="linear_value")).figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["false", "true"]
    assert axes.get_legend() is None


def test_a_heat_map_has_a_number_a_cell(swept: Store) -> None:
    figure = plot_final(swept, HeatMap(rows="depth", columns="num_heads")).figure
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "4", "8"]
    cells = [text.get_text().split("\n± ") for text in axes.texts]
    numbers = [float(mean) for mean, _ in cells]
    assert len(numbers) == 6 and numbers[0] == max(numbers)
    # Of two seeds whose curves begin 0.01 apart and are divided by 2.1 at their end.
    assert all(float(deviation) == pytest.approx(0.01 / 2.1 / math.sqrt(2), abs=1e-4) for _, deviation in cells)
    assert figure.get_supxlabel() == "mean ± standard deviation over seeds of 2 runs per cell"
    figure = plot_final(swept, HeatMap(rows="depth", columns="num_heads"), RunFilter(run_ids=(1, 4))).figure
    assert sorted(text.get_text() for text in figure.axes[0].texts).count("no run") == 2


def test_schedules_have_a_panel_each(swept: Store) -> None:
    figure = plot_schedules(swept, Drawing(x=Axis.STEPS)).figure
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "learning rate",
        "weight decay",
        "batch size (sequences)",
        "sequence length (tokens)",
    ]
    assert [len(axes.get_lines()) for axes in figure.axes] == [6] * 4
    assert figure.axes[3].get_lines()[0].get_ydata()[0] == 32


def test_a_figure_from_a_csv_is_that_of_the_database(swept: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    export(swept, path, Selection(runs=RunFilter()))
    for metric, axis in (
        ("val_loss", Axis.TOKENS),
        ("grad_norm", Axis.STEPS),
        ("train_lr", Axis.SECONDS),
        ("val_loss", Axis.FLOPS),
        ("val_loss", parse_metric("train_loss")),
        ("grad_norm", parse_metric("lr")),
    ):
        from_store = Source.of(swept, RunFilter()).curves(metric, axis)
        from_csv = Source.of(path, RunFilter()).curves(metric, axis)
        assert len(from_csv) == len(from_store) == 12
        for one, other in zip(from_store, from_csv, strict=True):
            assert list(one.x) == list(other.x) and list(one.y) == list(other.y)
            assert isinstance(axis, Axis) or list(one.over) == list(other.over)  # type: ignore[call-overload]
            assert one.settings == other.settings and one.num_params == other.num_params
            assert (one.state, one.diverged) == (other.state, other.diverged)
    assert plot_curves(path).arms == 6
    assert plot_final(path, FinalDrawing(against="depth")).runs == 12


def test_final_values_over_operations(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """One line through all arms: sizes and budgets make x, unless one of them is the colour."""
    arms = [{"depth": depth, "max_steps": steps} for depth in (2, 4) for steps in (100, 200)]
    submit_sweep(store, arms, seeds=(1, 2))
    worker = register(store)
    for seed in (1, 2):
        for arm in arms:
            lengths = [arm["max_steps"] // 2 + seed, arm["max_steps"] + seed]
            work(store, worker, [sample_point(Split.VAL, step, loss=5 - step / 200) for step in lengths])
    (axes,) = plot_final(store, FinalDrawing(against="flops")).figure.axes
    assert axes.get_xlabel() == "training FLOPs"
    dots = axes.get_lines()[0]
    assert len(dots.get_xdata()) == 8 and len(set(dots.get_xdata())) == 4
    (axes,) = plot_final(store, FinalDrawing(against="flops", colour="depth")).figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["depth 2", "depth 4"]
    with pytest.raises(ExportError, match="heat map over flops"):
        plot_final(store, HeatMap(rows="depth", columns="flops"))


def test_every_figure_is_drawn_from_the_csv_of_the_original_tool(tmp_path: Path) -> None:
    """It has Python's own lists, diverged runs with nan in them, and no steps."""
    path = tmp_path / "results_041.csv"
    names = "last_val_loss depth width num_params linear_value seed train_loss val_loss grad_norm tokens_seen_train"
    names += " tokens_seen_val epochs_val lrs_train weight_decays_train batch_sizes_train seq_lengths_train"
    rows = [names.replace(" ", ",")]
    for seed in (1000, 1001):
        for depth in (4, 8):
            losses = [4.0 + 1 / depth, math.nan if (seed, depth) == (1001, 8) else 3.0 + 1 / depth]
            lists = [losses, losses, [math.nan] * 2, [100, 200], *([[1, 2]] * 6)]
            rows.append(f"{losses[-1]},{depth},384,46009736,False,{seed}," + ",".join(f'"{one}"' for one in lists))
    path.write_text("\n".join(rows) + "\n")
    drawn = plot_curves(path)
    assert drawn.runs == 4
    assert list(drawn.warnings) == ["1 run diverged: the line ends at the last finite val_loss"]
    assert plot_final(path, FinalDrawing(against="depth")).runs == 3
    assert plot_schedules(path).runs == 4
    with pytest.raises(ExportError, match="nan or infinite at every point of 4 runs"):
        plot_curves(path, Drawing(metric="grad_norm"))
    with pytest.raises(ExportError, match="no column 'steps_val'") as caught:
        plot_curves(path, Drawing(x=Axis.STEPS))
    assert "--x tokens" in caught.value.hint
    with pytest.raises(ExportError, match="no column 'steps_val'") as caught:  # points of both are told by their steps
        plot_curves(path, Drawing(x=parse_metric("train_loss")))
    assert "--x tokens" in caught.value.hint


def test_a_metric_over_another_is_dots_without_a_band(store: Store) -> None:
    """At each step at which a run recorded both; as tests/integration/test_dashboard.py has it of the page."""
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2])
    worker = register(store)
    for start in (5.0, 5.1, 6.0, 6.1):
        work(store, worker, sample_points(8, start=start))
    x = parse_metric("train_loss")
    drawn = plot_curves(store, Drawing(x=x, band=Band.SEEDS, log_x=True))
    (axes,) = drawn.figure.axes
    lines = [line for line in axes.get_lines() if str(line.get_label()).startswith("depth")]
    for line, starts in zip(lines, ((5.0, 6.0), (5.1, 6.1)), strict=True):
        both = [sample_points(8, start=start) for start in starts]
        validated = {point.step for point in both[0] if point.split is Split.VAL}
        means = [
            [
                sum(losses) / 2
                for losses in zip(
                    *([p.loss for p in points if p.split is split and p.step in validated] for points in both),
                    strict=True,
                )
            ]
            for split in (Split.TRAIN, Split.VAL)
        ]
        expected = sorted(zip(*means, strict=True))  # training loss falls: the last step stands first
        assert list(zip(*line.get_data(), strict=True)) == [pytest.approx(pair) for pair in expected]
    assert {line.get_linestyle() for line in axes.get_lines()} == {"None"} and not axes.collections
    assert len({line.get_marker() for line in lines}) == 2 and len(axes.get_lines()) == 2 + 4
    assert axes.get_xlabel() == "training loss (nats per byte)" and axes.get_ylabel().startswith("validation loss")
    assert drawn.figure.get_supxlabel() == "a dot: a step, mean of 2 seeds, thin: every seed"
    assert plot_curves(store, Drawing(x=x)).figure.get_supxlabel() == "a dot: a step, mean of 2 seeds"
    assert list(plot_curves(store, Drawing(x=x, band=Band.RANGE)).warnings) == [
        "--band range has no effect where x is a metric: both vary"
    ]
    assert plot_schedules(store, Drawing(x=x)).figure.axes[0].get_lines()[0].get_linestyle() == "None"


def test_an_x_that_no_run_recorded_with_the_metric_is_told_of(store: Store) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    work(store, worker, sample_points(4))
    own = [sample_point(Split.TRAIN, step, loss=4.0, extra={"norm": 2.0 - step}) for step in (1, 10)]
    work(store, worker, [*own, sample_point(Split.VAL, 7, loss=4.0)])
    with pytest.raises(ExportError, match="the runs have no train_norm at any step of val_loss") as refused:
        plot_curves(store, Drawing(x=parse_metric("norm", ["norm"])))
    assert "hlbq export points.csv --layout points" in refused.value.hint
    drawing = Drawing(metric="train_loss", x=parse_metric("norm", ["norm"]))
    drawn = plot_curves(store, drawing)
    assert drawn.runs == 1 and list(drawn.warnings) == ["1 run left out: no train_norm at any step of train_loss"]
    said = "1 run has values of train_norm that are not above 0: a logarithmic axis does not show them"
    assert said in plot_curves(store, replace(drawing, log_x=True)).warnings


def test_as_x_too_a_loss_is_refused_where_it_means_different_things(store: Store) -> None:
    submit_sweep(store, [{"num_eval_tokens": 2048}, {"num_eval_tokens": 8192}], seeds=[1])
    finish_with(store, sample_facts(), sample_facts())
    drawing = Drawing(metric="train_loss", x=parse_metric("val_loss"))
    with pytest.raises(ExportError, match="'val_loss' of different evaluations"):
        plot_curves(store, drawing)
    (warning,) = plot_curves(store, replace(drawing, allow_mixed_evaluation=True)).warnings
    assert "'val_loss' is of different evaluations" in warning
    submit_sweep(store, [{"tokenizer": "bytes"}, {"tokenizer": "gpt2"}], seeds=[1])
    finish_with(store, sample_facts(), sample_facts())
    with pytest.raises(
        ExportError, match="'val_loss' counts tokens, and can't be compared across tokenizers"
    ) as refused:
        plot_curves(store, Drawing(metric="grad_norm", x=parse_metric("val_loss")))
    assert "Use --x val_bits_per_byte" in refused.value.hint


def test_a_metric_of_one_s_own_is_drawn_from_database_and_csv(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    work(store, worker, sample_points(4))  # the first run does not have it
    own = [sample_point(Split.TRAIN, step, loss=4.0, extra={"embedding_norm": 2.0 + step}) for step in (1, 10)]
    work(store, worker, own)
    path = tmp_path / "results.csv"
    export(store, path, Selection(runs=RunFilter()))
    for source in (store, path):
        for name in ("embedding_norm", "train_embedding_norm", "embedding-norm"):
            drawn = plot_curves(source, Drawing(metric=name))
            assert drawn.runs == 1
            assert list(drawn.figure.axes[0].get_lines()[0].get_ydata()) == [3.0, 12.0]
        with pytest.raises(ExportError, match="there is no metric 'embeding_norm'") as caught:
            plot_curves(source, Drawing(metric="embeding_norm"))
        assert caught.value.hint == "Did you mean 'embedding_norm'?"


def diverging(*losses: float) -> list[Point]:
    return [sample_point(Split.VAL, 10 * step, loss=loss) for step, loss in enumerate(losses, start=1)]


def test_curves_of_nan_end_where_they_are_finite_and_are_told_of(store: Store) -> None:
    submit_sweep(store, [{}, {"num_heads": 2}], seeds=[1, 2])
    worker = register(store)
    work(store, worker, diverging(4.0, 3.0, 2.0))
    work(store, worker, diverging(4.0, 3.5, math.nan), reason=Reason.DIVERGED)
    work(store, worker, diverging(4.1, 3.1, 2.1))
    work(store, worker, diverging(math.nan, math.inf), reason=Reason.DIVERGED)

    drawn = plot_curves(store)
    assert drawn.runs == 3
    assert list(drawn.warnings) == [
        "1 run left out: no finite val_loss",
        "1 run diverged: the line ends at the last finite val_loss",
    ]
    assert [len(line.get_xdata()) for line in drawn.figure.axes[0].get_lines()] == [3, 2]
    with pytest.raises(ExportError, match="have num_heads 1"):
        plot_final(store, FinalDrawing(against="num_heads"))  # a diverged run has no last value
    only_nan = RunFilter(where={"seed": 2, "num_heads": 2})
    with pytest.raises(ExportError, match="nan or infinite at every point of 1 run"):
        plot_curves(store, runs=only_nan)


def test_a_run_that_failed_has_no_final_value_and_its_cell_says_so(store: Store) -> None:
    submit_sweep(store, [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)], seeds=[1, 2])
    worker = register(store)
    for place in range(8):
        if place == 3:  # of depth 4 with 2 heads both are lost, in different ways; of depth 2 with 2 heads one
            work(store, worker, sample_points(2, start=9.0), reason=Reason.ERROR, permanent=True, error_type="OSError")
        elif place in (5, 7):
            work(store, worker, diverging(4.0, math.nan), reason=Reason.DIVERGED)
        else:
            work(store, worker, sample_points(12))
    said = [
        "2 runs left out: the last val_loss is not finite",
        "1 run left out: failed, cancelled or stopped early",
    ]
    drawn = plot_final(store, HeatMap(rows="depth", columns="num_heads"))
    texts = [text.get_text().split("\n") for text in drawn.figure.axes[0].texts]
    assert [text[1:] for text in texts] == [["± 0"], ["1 of 2 runs"], ["± 0"], ["none of 2 runs"]]
    assert texts[3][0] == ""
    assert list(drawn.warnings) == said and drawn.runs == 5
    words = "mean ± standard deviation over seeds of 1 to 2 runs per cell"
    assert drawn.figure.get_supxlabel() == f"{words}; 3 runs without a final value left out"
    drawn = plot_final(store, FinalDrawing(against="depth"))
    assert drawn.figure.get_supxlabel().endswith("; 3 runs without a final value left out")
    # Curves show it, and say that it cuts its arm's line short.
    drawn = plot_curves(store)
    assert "1 run failed, was cancelled or stopped early. An arm's line ends with its first run" in drawn.warnings[1]
    assert drawn.figure.get_supxlabel() == "mean of 2 seeds, band: lowest to highest; 2 runs diverged"


def test_a_run_that_diverged_before_its_first_evaluation_is_told_of(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"lr_mult": 1.0}, {"lr_mult": 1e30}, {"lr_mult": 2.0}], seeds=[1])
    worker = register(store)
    work(store, worker, sample_points(4))
    work(store, worker, [sample_point(Split.TRAIN, 1, loss=math.nan)], reason=Reason.DIVERGED)
    work(store, worker, sample_points(4))
    submit_sweep(store, [{"depth": 4}], seeds=[1])  # still waiting: nothing to tell of
    path = tmp_path / "results.csv"
    export(store, path, Selection(runs=RunFilter(), with_pointless=True))
    for source in (store, path):
        drawn = plot_curves(source, runs=RunFilter())
        assert drawn.runs == 2 and list(drawn.warnings) == ["1 run left out: ended without any val_loss"]
        drawn = plot_final(source, FinalDrawing(against="lr_mult"), RunFilter())
        assert drawn.figure.get_supxlabel().endswith("; 1 run without a final value left out")


def test_a_valley_is_joined_and_not_called_a_power_law(store: Store) -> None:
    submit_sweep(store, [{"lr_mult": 2.0**place} for place in range(-3, 4)])
    worker = register(store)
    for place in range(-3, 4):
        work(store, worker, sample_points(12, start=5 + abs(place) / 10))
    (axes,) = plot_final(store, FinalDrawing(against="lr_mult")).figure.axes
    assert axes.get_legend() is None
    means = axes.containers[0].lines[0]
    assert means.get_linestyle() == "-" and len(means.get_xdata()) == 7


def test_many_values_of_one_setting_are_a_scale_and_many_arms_stand_beside(store: Store) -> None:
    submit_sweep(store, [{"lr_mult": place / 10} for place in range(1, 21)])
    worker = register(store)
    for _ in range(20):
        work(store, worker, sample_points(4))
    figure = plot_curves(store).figure
    axes, bar = figure.axes
    assert axes.get_legend() is None and not figure.legends and bar.get_ylabel() == "lr_mult"
    assert [label.get_text() for label in bar.get_yticklabels()][:2] == ["0.1", "0.3"]
    fill(store, [{"depth": depth, "num_heads": heads} for depth in (1, 2, 3) for heads in (1, 2, 4)], seeds=[1])
    figure = plot_curves(store).figure
    assert figure.axes[0].get_legend() is None and len(figure.legends[0].get_texts()) == 9


def test_one_point_shows_its_band_and_the_last_panel_above_a_gap_its_x(store: Store) -> None:
    submit_sweep(store, [{"depth": depth} for depth in (1, 2, 3, 4)], seeds=[1, 2])
    worker = register(store)
    for place in range(8):
        work(store, worker, [sample_point(Split.VAL, 10, loss=4 + place / 10)])
    (axes,) = plot_curves(store).figure.axes
    spans = [path.vertices[:, 1].tolist() for one in axes.collections[1::2] for path in one.get_paths()]
    assert spans[0] == pytest.approx([4.0, 4.4])
    panels = plot_curves(store, Drawing(facet="depth")).figure.axes
    assert [axes.get_xlabel() for axes in panels[:4]] == ["", "training tokens", "training tokens", "training tokens"]


def test_runs_that_are_still_training_have_no_last_value(store: Store) -> None:
    fill(store, [{"num_heads": 1}, {"num_heads": 2}], seeds=[1])
    submit_sweep(store, [{"num_heads": 3}])
    work(store, register(store), sample_points(4), reason=None)
    everything = RunFilter(where={"depth": 2})
    drawn = plot_final(store, FinalDrawing(against="num_heads"), everything)
    assert drawn.runs == 2 and list(drawn.warnings) == ["1 run left out: not finished"]
    with pytest.raises(ExportError, match="no run has a final 'val_loss'"):
        plot_final(store, FinalDrawing(against="num_heads"))


def test_one_seed_is_said_to_be_one(store: Store) -> None:
    fill(store, ARMS[::2], seeds=[1])
    figure = plot_curves(store).figure
    assert figure.get_supxlabel() == "one seed per arm: no interval" and not figure.axes[0].collections
    assert plot_final(store, FinalDrawing(against="depth")).figure.get_supxlabel() == "one seed per value: no interval"


def test_runs_of_different_data_are_drawn_only_when_that_is_wanted(store: Store) -> None:
    submit_sweep(store, seeds=[1, 2])
    worker = register(store)
    work(store, worker, sample_points(4))
    claim = store.claim(worker)
    assert claim is not None
    progress = Progress(phase=Phase.TRAIN, step=30)
    store.flush(claim.lease, points=sample_points(4), progress=progress, facts=sample_facts(data_fingerprint="beef"))
    with pytest.raises(ExportError, match="2 versions of their data"):
        plot_curves(store)
    assert plot_curves(store, Drawing(allow_mixed_data=True)).runs == 2


def finish_with(store: Store, *found: Facts) -> None:
    """Finish the next runs, each with facts of its own."""
    worker = register(store)
    for facts in found:
        claim = store.claim(worker)
        assert claim is not None
        store.flush(claim.lease, points=sample_points(4), progress=Progress(phase=Phase.TRAIN, step=30), facts=facts)
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))


def test_two_data_sets_are_drawn_only_when_that_is_wanted(store: Store) -> None:
    submit_sweep(store, [{"depth": 2}, {"depth": 4, "dataset": "wikitext-103"}], seeds=[1])
    finish_with(store, *(sample_facts(data_fingerprint=fingerprint) for fingerprint in ("f00d", "beef")))
    with pytest.raises(ExportError, match="different data: pystdlib, wikitext-103"):
        plot_curves(store)
    with pytest.raises(ExportError, match="different data: pystdlib, wikitext-103"):
        plot_final(store, FinalDrawing(against="depth"))
    assert plot_curves(store, Drawing(allow_mixed_data=True)).runs == 2


def test_a_value_that_a_shell_would_take_apart_is_quoted_in_hints(store: Store) -> None:
    odd = "text:/a b;'c'.txt"
    submit_sweep(store, [{"dataset": odd}, {"dataset": "wikitext-103"}], seeds=[1])
    finish_with(store, *(sample_facts(data_fingerprint=fingerprint) for fingerprint in ("f00d", "beef")))
    with pytest.raises(ExportError, match="different data") as caught:
        plot_curves(store)
    assert f"--where {shlex.quote(f'dataset={odd}')} " in caught.value.hint
    assert baseline_text({"dataset": odd, "depth": 2}) == f"{shlex.quote(f'dataset={odd}')} depth=2"


def test_seconds_of_different_devices_are_warned_of(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, seeds=[1, 2])
    finish_with(store, *(sample_facts(device_name=name) for name in ("a fast one", "a slow one")))
    said = ["seconds of different devices are compared: a fast one, a slow one"]
    path = tmp_path / "results.csv"
    export(store, path, Selection(runs=RunFilter()))
    for source in (store, path):
        assert list(plot_curves(source, Drawing(x=Axis.SECONDS)).warnings) == said
        assert list(plot_curves(source, Drawing(metric="val-cumulative-time")).warnings) == said
        assert list(plot_curves(source).warnings) == []


def test_a_table_whose_lists_do_not_fit_together_is_refused(swept: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    export(swept, path, Selection(runs=RunFilter(run_ids=(1,))))
    text = path.read_text()
    path.write_text(text.replace('"[10000, ', '"[', 1))
    assert path.read_text() != text
    with pytest.raises(ExportError, match="6 values of 'val_loss' and 5 of 'tokens_seen_val' in a row"):
        plot_curves(path)


def test_settings_that_do_not_exist_or_do_not_vary_are_named(swept: Store) -> None:
    for drawing in (Drawing(facet="dpth"), Drawing(colour="dpth"), Drawing(style="dpth")):
        with pytest.raises(HlbqError, match="no setting 'dpth'"):
            plot_curves(swept, drawing)
    with pytest.raises(HlbqError, match="no setting 'dpth'"):
        plot_final(swept, HeatMap(rows="dpth", columns="num_heads"))
    with pytest.raises(HlbqError, match="no setting 'dpth'"):
        plot_final(swept, FinalDrawing(against="depth", colour="dpth"))
    with pytest.raises(HlbqError, match="no setting 'dpth'"):
        plot_schedules(swept, Drawing(style="dpth"))
    with pytest.raises(ExportError, match="two different"):
        plot_final(swept, HeatMap(rows="depth", columns="depth"))
    with pytest.raises(ExportError, match="all 12 runs have width 128") as caught:
        plot_final(swept, FinalDrawing(against="width"))
    assert caught.value.hint == "These differ: depth, num_heads."
    with pytest.raises(ExportError, match="the one run has width 128"):
        plot_final(swept, FinalDrawing(against="width"), RunFilter(run_ids=(1,)))


def test_what_only_runs_without_a_final_value_vary_is_told(store: Store) -> None:
    submit_sweep(store, [{"lr_mult": 1.0}, {"lr_mult": 4.0}, {"lr_mult": 2.0, "num_heads": 2}], seeds=[1])
    worker = register(store)
    work(store, worker, sample_points(4))
    for _ in range(2):
        work(store, worker, [*sample_points(4), sample_point(Split.VAL, 50, loss=math.nan)], reason=Reason.DIVERGED)
    with pytest.raises(ExportError, match="the one run with a final value has lr_mult 1") as caught:
        plot_final(store, FinalDrawing(against="lr_mult"))
    assert caught.value.hint == "Only runs without a final value have another lr_mult: 2, 4."
    with pytest.raises(ExportError, match="the one run with a final value has width 128") as caught:
        plot_final(store, FinalDrawing(against="width"))
    assert caught.value.hint == "These differ: num_heads, lr_mult."


def test_a_table_without_the_column_or_without_rows_is_named(swept: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    export(swept, path, Selection(runs=RunFilter()))
    header, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header.replace("lr_mult,", "other,"), *rows]))
    for drawing in (FinalDrawing(against="lr_mult"), HeatMap(rows="depth", columns="lr_mult")):
        with pytest.raises(ExportError, match=r"results\.csv' has no column 'lr_mult'"):
            plot_final(path, drawing)
    path.write_text(header)
    for draw in (plot_curves, plot_schedules, lambda source: plot_final(source, FinalDrawing(against="depth"))):
        with pytest.raises(ExportError, match=r"results\.csv' has no row below its header") as caught:
            draw(path)
        assert "hlbq export" in caught.value.hint


def hlbq(database: Path, folder: Path, *arguments: str) -> int:
    return run_program(["plot", str(folder / arguments[0]), "--db", str(database), *arguments[1:]])


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--metric train_loss --x steps --log_x --log_y --smooth 0.5 --band seeds",
        "--metric grad_norm --x seconds --band interval --past_shortest --title Norms",
        "--metric val_acc --x epochs --band none --colour num_heads --style depth",
        "--facet num_heads --band range",
        "--final depth --log_y",
        "--final num-params",
        "--heatmap depth num_heads --metric val_bits_per_byte",
        "--schedules --x steps",
        "--size column --by depth num_heads",
        "--x train_loss --smooth 0.5 --band seeds --log_x",
        "--metric grad-norm --x lr --facet num_heads --size page",
        "--schedules --x train-loss",
    ],
)
def test_the_command_draws_every_kind(
    database: Path, tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hlbq(database, tmp_path, "figure.png", *options.split()) == 0, capsys.readouterr().err
    assert capsys.readouterr().err == f"wrote {tmp_path / 'figure.png'} (6 arms, 12 runs)\n"
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--final depth --facet num_heads --x steps", "--x and --facet have no effect with --final"),
        ("--heatmap depth num_heads --log_y", "--log_y has no effect with --heatmap"),
        ("--schedules --smooth 0.5 --metric val_acc", "--metric and --smooth have no effect with --schedules"),
    ],
)
def test_options_without_effect_are_told_of(
    database: Path, tmp_path: Path, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hlbq(database, tmp_path, "figure.png", *options.split()) == 0
    assert capsys.readouterr().err.splitlines()[0] == f"warning: {said}"


@pytest.mark.parametrize(
    ("file", "options", "said"),
    [
        ("a.png", "--metric val_los", ["there is no metric 'val_los'", "Did you mean 'val_loss'?"]),
        (
            "a.png",
            "--x val_los",
            ["there is no axis or metric 'val_los'", "There are steps, ", "Did you mean 'val_loss'?"],
        ),
        ("a.png", "--difference --x lr", ["--x lr: differences are drawn along training", "Use one of seeds, steps, "]),
        ("a.png", "--sweep 9", ["there is no sweep 9"]),
        ("a.png", "--where depth=3", ["no run has points of 'val_loss'"]),
        ("a.png", "--final depth --schedules", ["--final and --schedules are different figures"]),
        ("a.png", "--heatmap depth", ["--heatmap takes two settings, not 1"]),
        ("a.png", "--margin 0.1", ["--margin needs a figure of differences"]),
        ("a.png", "--size wide", ["--size wide: no such size"]),
        ("a.png", "--by dpth", ["no setting 'dpth'"]),
        ("a.png", "--band wide", ["--band wide: no such choice"]),
        ("a.gif", "", ["the ending '.gif' is not a figure format"]),
        ("missing/a.png", "", ["there is no folder"]),
        ("", "", ["is a folder"]),
        ("locked/a.png", "", ["can't be written"]),
    ],
)
def test_what_can_not_be_drawn_is_said_in_a_line_with_exit_code_2(
    database: Path, tmp_path: Path, file: str, options: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if file.startswith("locked"):
        # A folder that even root can't write to is a file.
        (tmp_path / "locked").write_text("")
        said = ["there is no folder"]
    assert hlbq(database, tmp_path, file, *options.split()) == 2
    error = capsys.readouterr().err
    assert all(text in error for text in said) and "Traceback" not in error
    assert not (tmp_path / "a.png").exists()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv, to be somebody who may not write")
def test_a_folder_that_may_not_be_written_to_is_named(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    code = "import sys; from orchestrator.cli.main import main; main()"
    command = [sys.executable, "-c", code, "plot", str(folder / "a.png"), "--db", str(database)]
    drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    done = subprocess.run([*drop, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "can't be written: permission denied" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("chosen", [{}, {"style": "depth"}, {"colour": "num_heads"}])
@pytest.mark.parametrize("both", [True, False])
def test_many_arms_are_told_apart_in_grey_too(chosen: dict[str, str], both: bool) -> None:
    settings = [{"depth": d, "num_heads": h, "linear_value": v} for d in (2, 4) for h in (1, 2, 3) for v in (0, 1)]
    chosen = {"colour": "num_heads", "style": "depth"} if both else chosen  # the third setting is left
    styles = line_styles(settings, ["depth", "num_heads", "linear_value"], **chosen)
    assert len({(str(one.dashes), one.marker) for one in styles}) == len(settings)


def test_sixty_arms_are_told_apart() -> None:
    settings = [{"depth": d, "num_heads": h, "warmup_steps": w} for d in (2, 4, 8) for h in (1, 2) for w in range(10)]
    styles = line_styles(settings, ["depth", "num_heads", "warmup_steps"])
    assert len({(one.colour, str(one.dashes), one.marker) for one in styles}) == 60
    many = line_styles([{"depth": depth} for depth in range(20)], ["depth"])
    assert len({one.colour for one in many}) == 20


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0001, "0.0001"),
        (0.1, "0.1"),
        (1, "1"),
        (1000, "1000"),
        (20_000, "20k"),
        (1e6, "1M"),
        (3e9, "3G"),
        (1e30, "1e+30"),
    ],
)
def test_ticks_are_plain_numbers(number: float, text: str) -> None:
    assert plain_number(number) == text


def test_units_of_y() -> None:
    assert metric_label("val_acc", ()) == metric_label("val-acc", []) == "validation accuracy"
    assert metric_label("train_my_metric", []) == "training my_metric"
    assert metric_label("train_tokens_seen", []) == metric_label("val_tokens_seen", []) == "training tokens"


def test_curves_of_the_wanted_metrics_alone(store: Store) -> None:
    submit_sweep(store)
    worker = register(store)
    points = [
        sample_point(Split.TRAIN, step, loss=loss, extra={"norm": 2.0}) for step, loss in ((1, 4.0), (2, math.nan))
    ]
    claim = work(store, worker, points)
    (some,) = store.curves([claim.run.id], names=("tokens_seen", "loss"))
    assert list(some.columns) == ["step", "loss", "tokens_seen"] and some.extra == {}
    assert some["loss"][0] == 4.0 and math.isnan(some["loss"][1]) and list(some["step"]) == [1, 2]
    (own,) = store.curves([claim.run.id], names=("step", "norm"))
    assert list(own.columns) == ["step"] and own["norm"] == [2.0, 2.0]


def test_texts_of_users_are_no_formulas_and_are_never_cut(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{}, {"num_heads": 2}], seeds=range(6))
    worker = register(store)
    for _ in range(12):
        work(store, worker, sample_points(4))
    title = "a $\\frac$ of " + "many words " * 20
    drawn = plot_curves(store, Drawing(smooth=0.6, title=title, past_shortest=True))
    for ending in ("png", "svg", "pdf"):
        save(drawn.figure, tmp_path / f"figure.{ending}")
    figure = drawn.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()


def test_a_logarithmic_axis_needs_values_above_zero(store: Store) -> None:
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1])
    worker = register(store)
    extra = ({"sunk": -1.0, "mixed": -1.0}, {"sunk": 0.0, "mixed": 1.0})
    for own in extra:
        work(store, worker, [sample_point(Split.VAL, step, loss=4.0, extra=own) for step in (10, 20)])
    for drawing in (
        Drawing(metric="val_sunk", log_y=True),
        FinalDrawing(against="depth", metric="val_sunk", log_y=True),
    ):
        draw: Any = plot_curves if isinstance(drawing, Drawing) else plot_final
        with pytest.raises(ExportError, match="no value of 'val_sunk' is above 0"):
            draw(store, drawing)
    said = ["1 run has values of val_mixed that are not above 0: a logarithmic axis does not show them"]
    assert list(plot_curves(store, Drawing(metric="val_mixed", log_y=True)).warnings) == said


def test_numbers_as_large_as_a_perplexity_that_ran_away_have_short_labels(
    store: Store, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=range(5))
    worker = register(store)
    for loss in range(400, 500, 10):
        work(store, worker, [sample_point(Split.VAL, step, loss=loss) for step in (10, 20)])
    for drawing in (Drawing(metric="val_pplx"), FinalDrawing(against="depth", metric="val_pplx")):
        draw: Any = plot_curves if isinstance(drawing, Drawing) else plot_final
        figure = draw(store, drawing).figure
        save(figure, tmp_path / "figure.png")
        assert max(len(label.get_text()) for label in figure.axes[0].get_yticklabels()) < 12
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("number", [1e251, 1.7e308, -1e300])
def test_what_no_axis_has_room_for_counts_as_infinite(
    store: Store, tmp_path: Path, recwarn: pytest.WarningsRecorder, number: float
) -> None:
    submit_sweep(store, [{"depth": 2}, {"depth": 4}, {"depth": 8}], seeds=(1, 2, 3))
    worker = register(store)
    for _ in range(3):
        for last in (number, 1e249, 1e249):
            points = [(10, {"own": 2.0}), (20, {"own": last})]
            work(store, worker, [sample_point(Split.VAL, step, loss=2.0, extra=extra) for step, extra in points])
    drawn = plot_curves(store, Drawing(metric="val_own", log_y=True, smooth=0.5))
    assert "3 runs diverged: the line ends at the last finite val_own" in drawn.warnings
    save(drawn.figure, tmp_path / "curves.png")
    save(plot_curves(store, Drawing(x=parse_metric("val_own", ["own"]), log_x=True)).figure, tmp_path / "over.png")
    final = plot_final(store, FinalDrawing(against="num_params", metric="val_own"))
    assert list(final.warnings) == ["3 runs left out: the last val_own is not finite"]
    save(final.figure, tmp_path / "final.png")
    assert [str(warning.message) for warning in recwarn] == []


LONG = [f"text:/data/a/folder/with/a/long/name/that/goes/on/and/on/file-{number}.txt" for number in range(5)]


@pytest.mark.parametrize(
    ("arms", "draw"),
    [
        (
            [{"depth": d, "num_heads": h, "warmup_steps": w} for d in (2, 4, 8) for h in (1, 2) for w in range(1, 17)],
            curves,
        )
        for curves in (
            plot_curves,
            lambda store: plot_curves(store, Drawing(facet="num_heads")),
            plot_schedules,
        )
    ]
    + [
        ([{"dataset": name} for name in LONG], long)
        for long in (
            lambda store: plot_curves(store, Drawing(allow_mixed_data=True)),
            lambda store: plot_final(store, FinalDrawing(against="dataset", allow_mixed_data=True)),
            lambda store: plot_curves(store, Drawing(facet="dataset", allow_mixed_data=True)),
        )
    ],
)
def test_many_and_long_names_leave_the_figure_its_room(
    tmp_path: Path, arms: list[dict[str, Any]], draw: Any, recwarn: pytest.WarningsRecorder
) -> None:
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE) as store:
        submit_sweep(store, arms, seeds=[1])
        worker = register(store)
        for _ in arms:
            work(store, worker, sample_points(4))
        figure = draw(store).figure
    save(figure, tmp_path / "figure.png")
    assert [str(warning.message) for warning in recwarn] == []
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_window_extent(renderer) for axes in figure.axes if axes.get_visible()]
    assert all(box.width > 200 and box.height > 150 for box in boxes)
    for legend in figure.legends:
        around = legend.get_window_extent(renderer)
        assert not any(around.overlaps(box) for box in boxes)
        assert around.y0 >= 0 and around.x1 <= figure.bbox.x1 + 1
    for axes in figure.axes:
        labels = [label.get_window_extent(renderer) for label in axes.get_xticklabels() if label.get_text()]
        # Slanted labels may come near each other, upright ones must not.
        slanted = any(label.get_rotation() for label in axes.get_xticklabels())
        assert slanted or not any(one.overlaps(other) for one, other in pairwise(labels))
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]
    assert not any(one.overlaps(other) for one, other in combinations(titles, 2))
    for axes in figure.axes:
        inside = axes.get_legend()
        assert inside is None or inside.get_window_extent(renderer).width < axes.bbox.width * 0.7


def test_losses_of_different_evaluations_are_drawn_only_when_that_is_wanted(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"num_eval_tokens": 2048}, {"num_eval_tokens": 8192}], seeds=[1])
    finish_with(store, sample_facts(), sample_facts())
    export(store, tmp_path / "runs.csv", Selection(runs=RunFilter()))
    final, heat = FinalDrawing(against="num_eval_tokens"), HeatMap(rows="num_eval_tokens", columns="num_params")
    for source in (store, tmp_path / "runs.csv"):
        for drawing in (final, heat):
            with pytest.raises(ExportError, match="different evaluations") as refused:
                plot_final(source, drawing)
            assert "--allow_mixed_evaluation" in refused.value.hint
        with pytest.raises(ExportError, match="num_eval_tokens 2048, 8192"):
            plot_curves(source)
        drawn = plot_curves(source, Drawing(allow_mixed_evaluation=True))
        assert drawn.runs == 2 and "is of different evaluations" in drawn.warnings[0]
        assert plot_curves(source, Drawing(metric="train_loss")).runs == 2


def test_the_test_loss_is_drawn_from_a_database_and_from_its_table(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"depth": 2, "test_tokens": 2048}, {"depth": 4, "test_tokens": 2048}], seeds=[1])
    worker = register(store)
    for loss in (3.0, 2.5):
        work(store, worker, [*sample_points(4), sample_point(Split.TEST, 30, loss=loss)])
    export(store, tmp_path / "runs.csv", Selection(runs=RunFilter()))
    for source in (store, tmp_path / "runs.csv"):
        drawn = plot_final(source, FinalDrawing(metric="test_loss", against="depth"))
        assert drawn.runs == 2
        (axes, *_) = drawn.figure.axes
        assert "test loss" in axes.get_ylabel()


def test_curves_over_the_wall_clock_and_runs_that_have_none(store: Store, tmp_path: Path) -> None:
    submit_sweep(store, [{"depth": 2}], seeds=[1, 2])
    worker = register(store)
    work(store, worker, sample_points(4))
    with pytest.raises(ExportError, match="no wall clock"):
        plot_curves(store, Drawing(x=Axis.WALL_CLOCK))
    claim = work(store, worker, [], reason=None)
    assert claim.run.started_at is not None
    points = received(sample_points(4), began=claim.run.started_at)
    store.finish(claim.lease, Ending(reason=Reason.FINISHED), points=points)
    drawn = plot_curves(store, Drawing(x=Axis.WALL_CLOCK))
    (axes,) = drawn.figure.axes
    assert list(axes.get_lines()[0].get_xdata()) == pytest.approx([7.0, 17.0], rel=1e-4)
    assert axes.get_xlabel() == "wall-clock time since the start (s)"
    assert drawn.runs == 1 and any("1 run left out: no wall clock" in warning for warning in drawn.warnings)
    path = tmp_path / "results.csv"
    export(store, path, Selection(runs=RunFilter()))
    with pytest.raises(ExportError, match="no wall clock"):
        plot_curves(path, Drawing(x=Axis.WALL_CLOCK))


def test_over_the_wall_clock_time_stands_still_where_a_clock_was_set_back(store: Store) -> None:
    """Or where a run goes on at a host whose clock is behind. Its line went back, and its mean was of wrong places."""
    submit_sweep(store, [{"depth": 2}])
    claim = work(store, register(store), [], reason=None)
    began = claim.run.started_at or 0.0
    steps_and_seconds = [(10, -5.0), (20, 30.0), (30, 12.0), (40, 50.0)]
    points = [
        ReceivedPoint(**vars(sample_point(Split.VAL, step, loss=3.0)), recorded_at=began + seconds)
        for step, seconds in steps_and_seconds
    ]
    store.finish(claim.lease, Ending(reason=Reason.FINISHED), points=points)
    (axes,) = plot_curves(store, Drawing(x=Axis.WALL_CLOCK)).figure.axes
    # At 30 s the mean of a run's line has one value.
    assert list(axes.get_lines()[0].get_xdata()) == pytest.approx([0.0, 30.0, 50.0], abs=0.01)


@pytest.mark.parametrize("values", [(1.0, 1.7e308), (5e-324, 1.0), (1e-300, 1e240)])
def test_values_that_no_axis_holds_stand_side_by_side(store: Store, tmp_path: Path, values: Sequence[float]) -> None:
    """A report of such a sweep ended with matplotlib's traceback."""
    submit_sweep(store, [{"lr_mult": value} for value in values])
    worker = register(store)
    for _ in values:
        work(store, worker, sample_points(2))
    save(plot_final(store, FinalDrawing(against="lr_mult")).figure, tmp_path / "final.png")
