"""The CSV of the original tool in its newest form (hlb-gpt-cli since June 2024): read, drawn, written, not extended."""

import ast
import math
import shutil
from pathlib import Path

import numpy
import pandas
import pytest

from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.errors import ExportError
from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.columns import run_columns
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.frames import load
from orchestrator.export.metric_names import Axis
from orchestrator.export.writing import export
from orchestrator.plots.reading import Source
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work

# Made by hand in that form: two depths by two seeds, the last run diverged.
NEWEST = Path(__file__).parents[1] / "original_tool" / "results_041_newest_form.csv"


def original(with_pointless: bool = False) -> Selection:
    return Selection(runs=RunFilter(), layout=Layout.ORIGINAL, with_pointless=with_pointless)


@pytest.mark.parametrize(
    ("axis", "last"), [(Axis.TOKENS, 1544832), (Axis.EPOCHS, 0.0135), (Axis.SECONDS, 3.375)], ids=str
)
@pytest.mark.parametrize(
    ("metric", "first"), [("val_loss", 10.5), ("train_loss", 10.75), ("grad_norm", 1.5), ("train_lr", 2.62e-05)]
)
def test_every_curve_of_the_newest_form_is_read_over_every_axis(
    axis: Axis, last: float, metric: str, first: float
) -> None:
    curves = Source.of(NEWEST, RunFilter()).curves(metric, axis)
    assert [(curve.settings["depth"], curve.seed) for curve in curves] == [(4, 1000), (4, 1001), (8, 1000), (8, 1001)]
    assert curves[0].x[-1] == last and curves[0].y[0] == first and len(curves[0].y) == 4
    assert curves[3].diverged == (metric != "train_lr")
    with pytest.raises(ExportError, match="no column 'steps_val'"):
        Source.of(NEWEST, RunFilter()).curves("val_loss", Axis.STEPS)


def test_figures_and_frames_of_the_newest_form_are_as_of_hlbq_s_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "figure.svg"
    diverged, left_out = "1 run diverged: the line ends at the last finite", "1 run left out: the last val_loss is not"
    for kind, said in {
        "": diverged,
        "--x epochs": diverged,
        "--x seconds --metric train_loss": diverged,
        "--final depth": left_out,
        "--schedules": "(2 arms, 4 runs)",
    }.items():
        assert run_program(["plot", str(figure), "--csv", str(NEWEST), *kind.split()]) == 0
        assert said in capsys.readouterr().err
    assert figure.exists()
    frame = load(NEWEST)
    assert set(frame.columns) <= {column.name for column in run_columns()}
    assert frame.tokens_seen_val[0] == frame.tokens_seen_train[0] == [57216, 629376, 1201536, 1544832]
    assert list(frame.run_num) == [1, 2, 1, 2] and not frame.linear_value.any()


def trained(store: Store) -> None:
    """Two runs with an end between train points, one without an evaluation, one pending."""
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=[1, 2])
    worker = register(store)
    for start in (5.0, 4.0):
        work(store, worker, [*sample_points(4, start=start), sample_point(Split.VAL, 37, loss=start / 2)])
    work(store, worker, [sample_point(Split.TRAIN, 1, loss=math.nan)], reason=Reason.DIVERGED)


def test_the_newest_form_is_written_with_a_train_value_for_each_evaluation(store: Store, tmp_path: Path) -> None:
    trained(store)
    path = tmp_path / "results_041.csv"
    assert export(store, path, original(with_pointless=True)) == 2
    header = NEWEST.read_text().splitlines()[0]
    assert path.read_text().splitlines()[0] == header
    table = pandas.read_csv(path)
    lists = header.split(",")[15:]
    for name in lists:
        table[name] = table[name].apply(ast.literal_eval)
        assert [len(values) for values in table[name]] == [3, 3], name
    first = table.iloc[0]
    assert first.tokens_seen == [10_000, 30_000, 37_000] and first.learning_rate == [0.01, 0.03, 0.037]
    # Steps 10, 30, and 37, which has no train point of its own: that of step 30.
    assert first.train_loss == [5.0 / 1.1, 5.0 / 1.3, 5.0 / 1.3] and first.val_loss[-1] == first.last_val_loss == 2.5
    # What scripts for that form do: a mean over seeds on common values of any axis.
    for axis in ("epoch", "tokens_seen", "cumulative_time"):
        common = numpy.linspace(0, max(values[-1] for values in table[axis]), 50)
        drawn = [numpy.interp(common, row[axis], row.val_loss) for _, row in table.iterrows()]
        assert numpy.mean(drawn, axis=0)[-1] == pytest.approx((2.5 + 2.0) / 2)


def test_a_loss_that_is_not_a_number_is_written_as_the_original_s_scripts_read_it(store: Store, tmp_path: Path) -> None:
    submit_sweep(store)
    points = [sample_point(Split.TRAIN, 1, loss=5.0), sample_point(Split.VAL, 10, loss=math.nan)]
    work(store, register(store), points, reason=Reason.DIVERGED)
    path = tmp_path / "results_041.csv"
    export(store, path, original())
    assert path.read_text().splitlines()[1].startswith("NaN,")  # polars takes `nan` for a text
    assert math.isnan(load(path).last_val_loss[0])


def test_what_was_written_in_the_newest_form_is_read_again(store: Store, tmp_path: Path) -> None:
    trained(store)
    own, path = tmp_path / "own.csv", tmp_path / "results_041.csv"
    export(store, own, Selection(runs=RunFilter()))
    export(store, path, original())
    for one, again in zip(read_csv_rows(own), read_csv_rows(path), strict=False):
        for name in ("val_loss", "tokens_seen_val", "cumulative_time_val", "lrs_val", "max_steps", "linear_value"):
            assert one[name] == again[name]


def test_the_newest_form_is_a_csv_of_runs_that_were_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store)
        work(store, register(store), [sample_point(Split.TRAIN, 1, loss=5.0)])
    for command, said in {
        "export results.parquet --layout original": "--layout original is a CSV",
        "export results.csv --layout original --append": "of --layout runs",
        "export results.csv --layout original": "none of the runs of sweep 1, the latest, has evaluations yet",
        "export results.csv --layout newest": "Use runs, points, original.",
    }.items():
        run_program(command.split())
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("results*"))


def test_append_to_either_form_is_refused_at_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No row says whose it is: rows of a resumed sweep would stand twice."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(NEWEST, "newest.csv")
    Path("first.csv").write_text('last_val_loss,seed,val_loss,tokens_seen_val\n3.5,1000,"[3.5]","[100]"\n')
    for name in ("newest.csv", "first.csv"):
        before = Path(name).read_bytes()
        command = f"submit -c --append --logfile {name} --depth 2 --width 64 --tokenizer bytes"
        assert run_program(command.split()) == 2
        assert "CSVs of the original tool have no uid" in capsys.readouterr().err
        assert Path(name).read_bytes() == before
    assert not Path("hlbq.db").exists()


@pytest.mark.parametrize(
    ("arms", "untold"),
    [
        ([{"lr_mult": 0.5}, {"lr_mult": 1.0, "num_eval_tokens": 512}], "lr_mult, num_eval_tokens: rows"),
        ([{"depth": 2, "lr_mult": 0.5}, {"depth": 4}], ""),  # the depth tells them apart
        ([{"depth": 2}, {"depth": 4}, {"depth": 4, "num_eval_tokens": 512}], "num_eval_tokens: rows"),
        ([{"depth": 2}, {"depth": 4}], ""),
    ],
)
@pytest.mark.parametrize("target", ["o.csv", "-"])
def test_settings_that_the_form_has_no_column_for_are_named(
    target: str,
    arms: list[dict[str, object]],
    untold: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store, arms, seeds=[1, 2])
        submit_sweep(store, [{"weight_decay": 0.5}])  # which has no points, and no row
        worker = register(store)
        for _ in range(2 * len(arms)):
            work(store, worker, sample_points(4))
    assert run_program(f"export {target} --all --layout original".split()) == 0
    said = capfd.readouterr().err
    assert f"no column for {untold}" in said if untold else "no column" not in said
    assert run_program("export runs.csv --all".split()) == 0
    assert "no column" not in capfd.readouterr().err
