"""Figures of differences from the baseline: forest plots, and the difference along training."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.comparison.questions import Question
from orchestrator.comparison.results import compare
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis
from orchestrator.plots import save
from orchestrator.plots.differences import plot_differences
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.difference_figures import DifferenceDrawing
from orchestrator.plots.drawing.style import parse_size
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests import sample_sweep
from tests.integration import test_policies
from tests.integration.test_compare import train_all
from tests.integration.test_factorial_comparison import EVERYTHING, grid, loss_by, submit_sweep
from tests.sample_sweep import register, sample_point, sample_points, work
from tests.store_examples import register as register_worker

pytestmark = pytest.mark.reader

ALONG = DifferenceDrawing(along=Drawing(x=Axis.TOKENS))
EFFECTS = DifferenceDrawing(effects=True)
HEADS = [{"num_heads": heads} for heads in (1, 2, 4)]


@pytest.fixture
def swept(store: Store) -> Store:
    """A factorial sweep in which depth alone helps."""
    grid(store, loss_by({("depth", 3): -0.2}))
    return store


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_row_for_each_arm_with_its_pairs_interval_and_verdict(swept: Store) -> None:
    drawn = plot_differences(swept, Question(margin=0.05), DifferenceDrawing(), EVERYTHING)
    (axes,) = drawn.figure.axes
    found = compare(swept, EVERYTHING, Question(arms=True, margin=0.05)).contrasts
    assert drawn.comparison is not None and drawn.comparison.contrasts == found and drawn.arms == 3
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.label for one in found]
    for one, text in zip(found, texts(axes), strict=True):
        assert text.startswith(one.finding.verdict) and text.endswith("(6 pairs)")
    assert axes.get_xlabel() == "difference in last val_loss from depth 2, num_heads 1"
    lines = [list(line.get_xdata()) for line in axes.get_lines()]
    for one in found:
        interval = one.finding.difference.always_valid_interval
        assert interval is not None and [interval.low, interval.high] in lines
        assert list(one.pairs.differences.values()) in lines and [one.finding.difference.summary.mean] in lines
    (margin,) = axes.patches
    assert (margin.get_x(), margin.get_width()) == (-0.05, 0.1)
    assert "grey: no more than the margin of 0.05" in drawn.figure.get_supxlabel()


def test_main_effects_and_interactions_are_panels_of_the_same_x(swept: Store) -> None:
    drawn = plot_differences(swept, Question(), EFFECTS, EVERYTHING)
    main, crossed = drawn.figure.axes
    assert [main.get_title(loc="left"), crossed.get_title(loc="left")] == ["main effects", "interactions"]
    assert [label.get_text() for label in main.get_yticklabels()] == [
        "depth 3 against depth 2",
        "num_heads 2 against num_heads 1",
    ]
    assert texts(main)[0].startswith("better -0.20") and len(texts(crossed)) == 1
    assert main.get_xlim() == crossed.get_xlim()


def test_the_difference_along_training_stands_beside_the_curves(swept: Store) -> None:
    drawn = plot_differences(swept, Question(), ALONG, EVERYTHING)
    curves, difference = drawn.figure.axes
    assert len(curves.get_lines()) == 4
    lines = difference.get_lines()[:3]
    assert drawn.comparison is not None
    assert [line.get_label() for line in lines] == [one.label for one in drawn.comparison.contrasts]
    # The same arm, the same line.
    looks = {line.get_color() + str(line.get_linestyle()) + str(line.get_marker()) for line in lines}
    assert looks < {
        line.get_color() + str(line.get_linestyle()) + str(line.get_marker()) for line in curves.get_lines()
    }
    for line, one in zip(lines, drawn.comparison.contrasts, strict=True):
        assert line.get_ydata()[-1] == pytest.approx(one.finding.difference.summary.mean)
    assert difference.get_xlabel() == "training tokens" and len(difference.collections) == 3
    effects = DifferenceDrawing(effects=True, along=Drawing(x=Axis.STEPS))
    (axes,) = plot_differences(swept, Question(), effects, EVERYTHING).figure.axes
    assert len(axes.collections) == 3 and axes.get_xlabel() == "optimizer steps"


def test_few_pairs_have_dots_and_no_bar(store: Store) -> None:
    submit_sweep(store, HEADS, seeds=[1, 2])
    train_all(store, loss_by({}))
    for drawing in (DifferenceDrawing(), ALONG):
        figure = plot_differences(store, Question(), drawing, EVERYTHING).figure
        assert all(axes.get_xlim()[1] < 1e7 for axes in figure.axes)
    drawn = plot_differences(store, Question(), DifferenceDrawing(), EVERYTHING)
    assert texts(drawn.figure.axes[0])[0].startswith("undecided")
    assert "no bar: too few pairs for an interval" in drawn.figure.get_supxlabel()


def test_groups_are_compared_as_hlbq_compare_does(swept: Store) -> None:
    drawn = plot_differences(swept, Question(by=["depth"]), ALONG, EVERYTHING)
    curves, difference = drawn.figure.axes
    assert len(curves.get_lines()) == 2 and difference.get_title() == "depth 3: better"


@pytest.mark.parametrize(
    ("arms", "drawing", "said"),
    [
        ([{}], DifferenceDrawing(), "there is one arm"),
        (HEADS, EFFECTS, "--effects"),
        (HEADS, DifferenceDrawing(along=Drawing(metric="val_los")), "no metric 'val_los'"),
    ],
)
def test_where_there_is_nothing_to_draw_it_is_said(
    store: Store, arms: list[dict[str, int]], drawing: DifferenceDrawing, said: str
) -> None:
    submit_sweep(store, arms, seeds=range(4))
    train_all(store, loss_by({}))
    with pytest.raises(HlbqError) as caught:
        plot_differences(store, Question(), drawing, EVERYTHING)
    assert said in caught.value.message and caught.value.hint


def test_a_sweep_without_a_baseline_is_told_of_one_that_it_has(store: Store) -> None:
    sample_sweep.submit_sweep(store, [{"depth": 1}, {"depth": 2}], seeds=range(4))  # its axes say nothing of the width
    train_all(store, loss_by({}))
    with pytest.raises(ExportError, match="no difference from a baseline") as caught:
        plot_differences(store, Question(), DifferenceDrawing(), EVERYTHING)
    assert caught.value.hint == "Name one: --baseline depth=1"
    assert plot_differences(store, Question(baseline={"depth": 1}), DifferenceDrawing(), EVERYTHING).figure


def test_an_arm_without_a_curve_yet_is_no_line(store: Store) -> None:
    submit_sweep(store, HEADS, seeds=range(2))
    worker = register(store)
    for _ in range(2):
        work(store, worker, sample_points())
    drawn = plot_differences(store, Question(), ALONG, EVERYTHING)
    assert len(drawn.figure.axes[-1].get_lines()) == 2, "the difference of num_heads 2, and zero"


def test_runs_that_share_no_second_are_not_said_to_have_no_pair_yet(store: Store) -> None:
    submit_sweep(store, HEADS[:2], seeds=range(2))
    worker = register(store)
    for number in range(4):
        points = [sample_point(Split.VAL, step, loss=3.0) for step in (10, 20)]
        work(store, worker, [replace(one, cumulative_time=one.step + 100.0 * number) for one in points])
    drawing = DifferenceDrawing(along=Drawing(x=Axis.SECONDS))
    with pytest.raises(ExportError, match="at no place of it do all completed runs have a number") as refused:
        plot_differences(store, Question(), drawing, EVERYTHING)
    assert "--x tokens or steps" in refused.value.hint
    assert plot_differences(store, Question(), ALONG, EVERYTHING).figure


def test_the_way_out_is_another_axis(store: Store) -> None:
    submit_sweep(store, HEADS[:2], seeds=range(1))
    worker = register(store)
    for number in range(2):
        work(store, worker, [replace(sample_point(Split.VAL, 10, loss=3.0), tokens_seen=1000 + number)])
    drawing = DifferenceDrawing(along=Drawing(x=Axis.TOKENS))
    with pytest.raises(ExportError, match="at no place of it do all completed runs have a number") as refused:
        plot_differences(store, Question(), drawing, EVERYTHING)
    assert "Draw over another: --x steps." in refused.value.hint


@pytest.mark.parametrize("effects", [False, True])
def test_differences_along_training_need_a_pair(store: Store, effects: bool) -> None:
    submit_sweep(store, [{"num_heads": heads, "lr_mult": rate} for heads in (1, 2) for rate in (1.0, 2.0)], seeds=[0])
    worker = register(store)
    for number in range(4):
        loss = 3.0 if number == 3 else math.nan
        reason = Reason.FINISHED if number == 3 else Reason.DIVERGED
        work(store, worker, [sample_point(Split.VAL, 10, loss=loss)], reason=reason)
        if number in (2, 3):  # none has a number, then one
            drawing = DifferenceDrawing(effects=effects, along=Drawing(x=Axis.TOKENS))
            with pytest.raises(HlbqError, match="--x tokens: no arm has a pair\n"):
                plot_differences(store, Question(), drawing, RunFilter(states=(State.FAILED, State.COMPLETED)))


@pytest.mark.parametrize("number", [1, 12, 60])
@pytest.mark.parametrize("size", ["", "column", "page"])
def test_many_rows_have_their_room(tmp_path: Path, number: int, size: str, recwarn: pytest.WarningsRecorder) -> None:
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"warmup_steps": 1000 + steps} for steps in range(number + 1)], seeds=range(4))
        train_all(store, loss_by({}))
        drawing = DifferenceDrawing(size=parse_size(size) if size else None)
        figure = plot_differences(store, Question(), drawing, RunFilter()).figure
    save(figure, tmp_path / "figure.png")
    assert [str(warning.message) for warning in recwarn] == []
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    (axes,) = figure.axes
    assert axes.get_window_extent(renderer).width > 0.3 * figure.bbox.width
    rows = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    assert len(rows) == number and all(box.x0 >= 0 for box in rows)
    assert not any(one.overlaps(other) for one, other in pairwise(rows))
    verdicts = [text.get_window_extent(renderer) for text in axes.texts]
    assert all(box.x1 <= figure.bbox.x1 for box in verdicts) and bool(verdicts) is (size != "column")


def test_the_command_draws_them_and_records_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        grid(store, loss_by({("depth", 3): -0.2}))
    for options in ("--difference", "--difference --x tokens --size column", "--effects --margin 0.01"):
        assert run_program(["plot", "figure.png", *options.split()]) == 0
        assert "wrote figure.png (3 differences, 24 runs)" in capsys.readouterr().err
        assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert run_program(["compare", "--arms"]) == 0
    assert "look 1 at this question" in capsys.readouterr().out
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        assert len(store.looks(1)) == 2  # one of arms, one of effects
    assert run_program(["plot", "figure.png", "--difference", "--csv", "results.csv"]) == 2
    assert "Leave --csv out" in capsys.readouterr().err
    assert run_program(["plot", "figure.png", "--difference", "--facet", "depth"]) == 0
    assert "--facet has no effect with --difference" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "idle_along"),
    [("difference", ""), ("effects", "--band and --past_shortest have no effect with --effects")],
)
def test_what_has_no_effect_on_differences_depends_on_x(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, idle_along: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        grid(store, loss_by({("depth", 3): -0.2}))
    for x, idle in (
        (["--x", "tokens"], idle_along),
        ([], f"--band, --past_shortest and --log_x have no effect with --{kind}"),
    ):
        assert run_program(["plot", "a.png", f"--{kind}", *x, "--band", "none", "--past_shortest", "--log_x"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "no effect" in line]
        assert said == ([f"warning: {idle}"] if idle else [])


def test_what_a_policy_decided_is_drawn(store: Store) -> None:
    """By its bound, with fewer seeds than hlbq compare would need, and against its margin."""
    sweep, worker = test_policies.submitted(store, test_policies.declaration(margin=0.05)), register_worker(store)
    while test_policies.train_one(store, worker) is not None:
        test_policies.steps(store)
    drawn = plot_differences(store, Question(), DifferenceDrawing(), RunFilter(sweep_ids=(sweep,)))
    (axes,) = drawn.figure.axes
    first, second = texts(axes)
    assert first.startswith("better") and second.startswith("no difference larger than 0.05")
    assert len(axes.patches) == 1 and "by the sweep's policy: evidence of 10" in drawn.figure.get_supxlabel()


def test_intervals_narrow_seed_by_seed(swept: Store) -> None:
    drawn = plot_differences(swept, Question(margin=0.05), DifferenceDrawing(by_seed=True), EVERYTHING)
    (axes,) = drawn.figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for one in drawn.comparison.contrasts:
        line = lines[f"{one.label} against {one.baseline}"]
        assert list(line.get_xdata()) == [2, 3, 4, 5, 6]
        assert list(line.get_ydata())[-1] == one.finding.difference.summary.mean
    assert "always-valid 95 % intervals after so many pairs" in drawn.figure.get_supxlabel()


@pytest.mark.parametrize(("first_look", "evidence"), [(3, "10"), (8, "4.17")])
def test_a_growing_sweep_is_drawn_by_its_policys_bound(store: Store, first_look: int, evidence: str) -> None:
    """That bound holds from the first look on: before, there is no interval."""
    sweep = test_policies.submitted(store, test_policies.declaration(margin=0.05, first_look=first_look))
    worker = register_worker(store)
    while test_policies.train_one(store, worker) is not None:
        test_policies.steps(store)
    runs = RunFilter(sweep_ids=(sweep,), with_members=True)
    drawn = plot_differences(store, Question(), DifferenceDrawing(by_seed=True), runs)
    (axes,) = drawn.figure.axes
    one = drawn.comparison.contrasts[0]
    interval = one.finding.difference.always_valid_interval
    assert interval is not None
    (band, *_) = axes.collections
    pairs = len(one.pairs.differences)
    ends = [y for x, y in band.get_paths()[0].vertices if x == pairs]
    assert min(ends) == pytest.approx(interval.low) and max(ends) == pytest.approx(interval.high)
    assert min(x for x, _ in band.get_paths()[0].vertices) == first_look
    assert f"by evidence of {evidence}" in drawn.figure.get_supxlabel().replace("\n", " ")
