"""Figures, from a database and from an exported table."""

from pathlib import Path

import pytest

from orchestrator.errors import ExportError
from orchestrator.export import export
from orchestrator.export.blocks import Selection
from orchestrator.metrics import Axis
from orchestrator.plots.curve_sets import Band, arm_curves, curves_from_csv, curves_from_store
from orchestrator.plots.figures import COLOURS, Drawing, band_note, draw, line_looks, metric_label, plot_metric
from orchestrator.records import RunFilter
from orchestrator.runs import Reason
from orchestrator.store import Store
from tests.sample_sweep import register, sample_points, submit_sweep, work

ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)]


@pytest.fixture
def swept(store: Store) -> Store:
    """Four arms of two seeds, all finished."""
    submit_sweep(store, ARMS, seeds=[1, 2])
    worker = register(store)
    for number in range(8):
        work(store, worker, sample_points(12 + number % 3, start=5 + number / 10))
    return store


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_every_format_is_written_the_same_each_time(swept: Store, tmp_path: Path, ending: str, magic: bytes) -> None:
    first, second = tmp_path / f"first.{ending}", tmp_path / f"second.{ending}"
    drawn = plot_metric(swept, first)
    assert (drawn.arms, drawn.runs) == (4, 8)
    assert first.read_bytes().startswith(magic)
    if ending == "png":
        plot_metric(swept, second)
        assert first.read_bytes() == second.read_bytes()


def test_a_line_an_arm_with_a_band_labelled_by_what_differs(swept: Store) -> None:
    runs = curves_from_store(swept, RunFilter(), "val_loss", Axis.TOKENS, smooth=0.0)
    arms = arm_curves(runs, Band.AUTO, past_shortest=False)
    figure = draw(arms, Drawing())
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels[0] == "depth 2, num_heads 1 (287.1K)" and len(labels) == 4
    assert len(axes.collections) == 4
    assert axes.get_xlabel() == "training tokens"
    assert axes.get_ylabel() == "validation loss (nats per byte)"
    assert {line.get_color() for line in axes.get_lines()} == set(COLOURS[:2])
    assert band_note(arms, Drawing()) == "mean of 2 seeds, band: lowest to highest"


def test_a_figure_from_a_csv_is_that_of_the_database(swept: Store, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    export(swept, path, Selection(runs=RunFilter()))
    for metric, axis in (("val_loss", Axis.TOKENS), ("grad_norm", Axis.STEPS), ("train_lr", Axis.SECONDS)):
        from_store = curves_from_store(swept, RunFilter(), metric, axis, smooth=0.0)
        from_csv = curves_from_csv(path, metric, axis, smooth=0.0)
        assert len(from_csv) == len(from_store) == 8
        for one, other in zip(from_store, from_csv, strict=True):
            assert list(one.x) == list(other.x) and list(one.y) == list(other.y)
            assert one.settings == other.settings
    assert plot_metric(path, tmp_path / "figure.png").arms == 4


def test_nothing_to_draw_is_said(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    with pytest.raises(ExportError, match="no run has points"):
        plot_metric(store, tmp_path / "figure.png")
    work(store, register(store), sample_points(2), reason=Reason.DIVERGED)
    with pytest.raises(ExportError, match="there is no metric 'val_los'"):
        plot_metric(store, tmp_path / "figure.png", Drawing(metric="val_los"))
    with pytest.raises(ExportError, match="names no figure format"):
        plot_metric(store, tmp_path / "figure.gif")
    with pytest.raises(ExportError, match="there is no folder"):
        plot_metric(store, tmp_path / "missing" / "figure.png")
    assert not list(tmp_path.glob("figure*"))


def test_one_seed_is_said_to_be_one(store: Store) -> None:
    submit_sweep(store)
    work(store, register(store), sample_points(4))
    runs = curves_from_store(store, RunFilter(), "val_loss", Axis.TOKENS, smooth=0.0)
    assert band_note(arm_curves(runs, Band.AUTO, past_shortest=False), Drawing()) == "one seed an arm"


def test_many_arms_are_told_apart() -> None:
    settings = [{"depth": d, "num_heads": h, "linear_value": v} for d in (2, 4) for h in (1, 2, 3) for v in (0, 1)]
    looks = line_looks(settings, ["depth", "num_heads", "linear_value"])
    assert len({(look.colour, str(look.style), look.width) for look in looks}) == len(settings)
    many = line_looks([{"depth": depth} for depth in range(20)], ["depth"])
    assert len({look.colour for look in many}) == 20


def test_units_of_y() -> None:
    assert metric_label("val_acc", []) == "validation accuracy"
    assert metric_label("train_my_metric", []) == "training my_metric"
