"""Figures of tables that were written by hand, joined or cut: what they show, and what is said of the rest."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis
from orchestrator.plots.curve_sets import Band
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.figure_options import FigureOptions
from orchestrator.plots.figures import plot_curves, plot_final, plot_schedules

pytestmark = pytest.mark.reader


def table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A table of these rows, which have the same columns."""
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def row(seconds: Sequence[float], losses: Sequence[float] = (5.0, 4.0, 3.0), **others: Any) -> dict[str, Any]:
    tokens = [10 * number for number in range(1, len(losses) + 1)]
    lists = {"val_loss": list(losses), "cumulative_time_val": list(seconds), "tokens_seen_val": tokens}
    return {"depth": 2, "num_heads": 1, "seed": 1, "num_params": 1000, **lists, **others}


APART = [row([1, 2, 3]), row([10, 20, 30], [9, 8, 7], seed=2)]


@pytest.mark.parametrize("past_shortest", [False, True])
@pytest.mark.parametrize("band", [Band.AUTO, Band.SEEDS])
def test_no_curve_of_one_seed_is_called_the_mean_of_two(tmp_path: Path, band: Band, past_shortest: bool) -> None:
    drawing = Drawing(x=Axis.SECONDS, band=band, past_shortest=past_shortest)
    with pytest.raises(
        ExportError, match=r"at no place of x \(seconds\) do all seeds of an arm have a number"
    ) as refused:
        plot_curves(table(tmp_path, APART), drawing)
    assert refused.value.hint == "Draw over another: --x tokens or steps."
    both = [*APART, row([1, 2, 3], depth=4), row([2, 3, 4], depth=4, seed=2)]
    drawn = plot_curves(table(tmp_path, both), drawing)
    (axes,) = drawn.figure.axes
    assert [text for text in drawn.warnings if text.startswith("1 arm left out (depth 2): at no place of x (seconds)")]
    assert axes.get_lines()[-1].get_xdata()[0] == 2 and all(run.get_xdata()[-1] < 5 for run in axes.get_lines())
    assert (drawn.arms, drawn.runs) == (1, 2) and plot_curves(table(tmp_path, both)).arms == 2


def test_an_arm_that_is_not_drawn_still_sets_the_others_apart(tmp_path: Path) -> None:
    """What remains is depth 4 alone: not all runs, and not the baseline, which had depth 2."""
    both = [*APART, row([1, 2, 3], depth=4), row([2, 3, 4], depth=4, seed=2)]
    drawing = Drawing(x=Axis.SECONDS, baseline={"depth": 2, "num_heads": 1})
    several = [*both, row([1, 2, 3], depth=4, num_heads=2), row([2, 3, 4], depth=4, num_heads=2, seed=2)]
    for rows, labels in (
        (both, ["depth 4"]),
        (several, ["depth 4, num_heads 1", "depth 4, num_heads 2"]),
    ):
        (axes,) = plot_curves(table(tmp_path, rows), drawing).figure.axes
        assert axes.get_legend_handles_labels()[1] == labels


def test_no_run_stands_for_the_others_of_its_seed(tmp_path: Path) -> None:
    apart = [APART[0], {**APART[1], "seed": 1, "depth": 4}]
    drawing = Drawing(x=Axis.SECONDS, by=("num_heads",))
    with pytest.raises(ExportError, match="runs of a seed, which are averaged over depth, have a number"):
        plot_curves(table(tmp_path, apart), drawing)
    together = [row([1, 2, 3], seed=2, depth=depth) for depth in (2, 4)]
    drawn = plot_curves(table(tmp_path, [*apart, *together]), drawing)
    assert drawn.runs == 2 and drawn.warnings[0].startswith("2 runs left out: at no place of x (seconds) do all runs")


def test_schedules_need_a_mean_too(tmp_path: Path) -> None:
    rows = [
        {"depth": 2, "seed": one["seed"], "lrs_train": [1, 2, 3], "weight_decays_train": [1, 2, 3],
         "batch_sizes_train": [1, 2, 3], "seq_lengths_train": [1, 2, 3], "tokens_seen_train": [1, 2, 3],
         "cumulative_time_train": one["cumulative_time_val"]}
        for one in APART
    ]  # fmt: skip
    assert plot_schedules(table(tmp_path, rows)).runs == 2
    with pytest.raises(ExportError, match="there is no mean to draw"):
        plot_schedules(table(tmp_path, rows), Drawing(x=Axis.SECONDS))


def test_last_values_of_a_table_are_averaged_as_they_are(tmp_path: Path) -> None:
    """A seed's mean over other settings was taken where its shortest run ends."""
    short = row([1, 2], [5.0, 4.0])
    rows = [{**one, "num_heads": heads} for heads in (1, 2) for one in (short, row([1, 2, 3], depth=4))]
    drawn = plot_final(table(tmp_path, rows), FinalDrawing(against="num_heads", by=("num_heads",)))
    assert list(drawn.figure.axes[0].get_lines()[0].get_ydata()) == [3.5, 3.5]


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"run_id": 5, "created_at": 200.0}, {"run_id": 9, "created_at": 100.0}),  # of two databases
        ({"run_id": 9, "created_at": 100.0}, {"run_id": 5, "created_at": 100.0}),
        ({"ended_at": 200.0}, {"ended_at": 100.0}),
        ({"run_id": 9}, {"run_id": 5}),
        ({"run_id": ""}, {"run_id": ""}),  # only the order of rows is left
    ],
)
def test_of_a_table_the_newest_run_of_a_seed_is_taken(
    tmp_path: Path, newer: Mapping[str, Any], older: Mapping[str, Any]
) -> None:
    rows = [row([1, 2, 3], [9, 9, 9], **older), row([1, 2, 3], **newer)]
    for both in (rows, rows[::-1] if any(newer.values()) else rows):
        drawn = plot_curves(table(tmp_path, both))
        assert list(drawn.figure.axes[0].get_lines()[0].get_ydata()) == [5, 4, 3]
        assert drawn.warnings == ["1 run left out: of one arm and seed, only the newest run counts"]


def test_without_states_a_run_without_a_last_loss_has_no_final_value(tmp_path: Path) -> None:
    ended = [row([1, 2, 3], seed=seed, depth=2 * seed, last_val_loss=3.0) for seed in (1, 2)]
    pruned = row([1, 2], [9.0, 9.0], seed=3, last_val_loss="")
    path = table(tmp_path, [*ended, pruned])
    drawn = plot_final(path, FinalDrawing(against="depth"))
    assert drawn.runs == 2 and drawn.warnings == ["1 run left out: the table has no last_val_loss of them"]
    assert "the table has no last_val_loss of 1 run" in plot_curves(path).warnings[0]
    # A run that was trained again counts once it is through.
    again = row([1, 2], [9.0, 9.0], seed=2, depth=4, last_val_loss="")
    assert plot_final(table(tmp_path, [*ended, again]), FinalDrawing(against="depth")).runs == 2


@pytest.mark.parametrize("cell", ["['a', 2, 1]", '[""a"", 2, 1]', "[[3], [2], [1]]"])
def test_what_is_no_list_of_numbers_is_shown(tmp_path: Path, cell: str) -> None:
    with pytest.raises(ExportError, match="under 'val_loss' instead of a list"):
        plot_curves(table(tmp_path, [row([1, 2, 3], val_loss=cell)]))


def test_a_table_cannot_come_by_a_pipe(tmp_path: Path) -> None:
    """It is read more than once: the second time only the rest was there, and it was called a broken table."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ExportError, match="is a pipe, and a table is read more than once") as refused:
        FigureOptions().draw(pipe, None)
    assert "to a file first" in refused.value.hint


def test_hints_for_a_table_are_of_what_works_for_a_table(tmp_path: Path) -> None:
    facts = {"dataset": "pystdlib", "data_fingerprint": "d", "num_eval_tokens": 2048, "train_tokens": 11531037}
    rows = [row([1, 2, 3], tokenizer=name, evaluation_fingerprint=name, **facts) for name in ("bytes", "gpt2")]
    with pytest.raises(ExportError, match="across tokenizers") as refused:
        plot_curves(table(tmp_path, rows))
    assert "write a table of one: hlbq export one.csv --where tokenizer=bytes" in refused.value.hint
    rows = [{**one, "tokenizer": "bytes", "num_eval_tokens": 2048 * at} for at, one in enumerate(rows, start=1)]
    path = table(tmp_path, rows)
    with pytest.raises(ExportError, match="different evaluations") as refused:
        plot_final(path, FinalDrawing(against="num_eval_tokens"))
    assert refused.value.hint.startswith("Write a table of one: hlbq export one.csv --where num_eval_tokens=2048   Or ")
    with pytest.raises(ExportError, match="no run here has that") as refused:
        plot_curves(path, Drawing(baseline={"depth": 9, "lr_mult": 2.0}))
    assert refused.value.hint == "The table has depth 2; lr_mult -."
    for name in ("train_tokens", "tokens"):
        with pytest.raises(ExportError, match=f"there is no metric '{name}'"):
            plot_curves(path, Drawing(metric=name))
