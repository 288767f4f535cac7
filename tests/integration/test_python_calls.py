"""What `orchestrator` offers to scripts and notebooks, beside `submit`."""

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

import orchestrator
from hlbgpt_core.errors import HlbqError
from orchestrator.cli.compare import CompareOptions
from orchestrator.cli.main import run_program
from orchestrator.cli.plot import KindOptions, PlotOptions
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from tests.sample_sweep import register, sample_points, submit_sweep, work

ARMS = ({"depth": 2, "width": 128}, {"depth": 4, "width": 128})
NOISE = (0.010, -0.012, 0.004, 0.007, -0.009, 0.003, -0.005, 0.011)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of two arms with eight seeds, in the folder's hlbq.db: depth 4 is better by 0.2."""
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store, ARMS, seeds=range(100, 108))
        worker = register(store)
        for noise in NOISE:
            for start in (5.0 - noise / 2, 4.8 + noise / 2):
                work(store, worker, sample_points(start=start))
    return tmp_path / "hlbq.db"


def looks() -> int:
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        return len(store.looks(1))


def test_a_comparison_shows_itself_and_becomes_frames(database: Path) -> None:
    found = orchestrator.compare(sweep=1, baseline={"depth": 2})
    differences = found.to_frame()
    assert list(differences.arm) == ["depth 4"] and list(differences.verdict) == ["better"]
    assert list(differences.family) == ["arm"] and differences.pairs[0] == 8
    assert differences.always_valid_high[0] < 0 and -0.3 < differences.difference[0] < -0.1
    groups = found.to_frame("groups")
    assert list(groups.depth) == [2, 4] and list(groups.n) == [8, 8] and groups["mean"][0] > groups["mean"][1]
    page = found._repr_html_()
    assert "<table>" in page and "depth 4 against depth 2: better" in page
    with pytest.raises(HlbqError, match="no table 'arms'"):
        found.to_frame("arms")


def test_a_look_is_recorded_unless_asked_not_to(database: Path) -> None:
    assert not orchestrator.compare(baseline={"depth": 2}, no_record=True).is_recorded
    assert run_program(["compare", "--baseline", "depth=2", "--no_record"]) == 0
    assert looks() == 0
    assert orchestrator.compare(baseline={"depth": 2}).is_recorded
    assert looks() == 1


@pytest.mark.parametrize("baseline", [{"depth": 2}, {"depth": "2"}, ["depth=2"], "depth=2"])
def test_a_baseline_and_groups_are_given_as_elsewhere(database: Path, baseline: Any) -> None:
    """As `submit` takes them, or by name and value."""
    found = orchestrator.compare(by="depth", baseline=baseline, no_record=True)
    assert found.baseline == {"depth": 2} and list(found.to_frame().verdict) == ["better"]
    assert orchestrator.plot(difference=True, by="depth", baseline=baseline)
    assert orchestrator.plot(by="depth", baseline=baseline)
    submitted = orchestrator.submit({"depth": [4, 2], "width": 128}, baseline=baseline)
    assert submitted.definition["options"]["baseline"] in (["depth=2"], "depth=2")


def test_what_can_not_be_asked_is_refused(database: Path) -> None:
    refused: list[dict[str, Any]] = [{"baseline": {"dept": 2}}, {"baseline": {"depth": []}}, {"at_step": float("nan")}]
    refused += [{"target": float("nan")}, {"target": float("inf")}]
    for wrong in refused:
        with pytest.raises(HlbqError):
            orchestrator.compare(**wrong)
    with pytest.raises(HlbqError, match="smooth 2"):
        orchestrator.plot(smooth=2)
    with pytest.raises(HlbqError, match="--num_runs 0 is fewer"):
        orchestrator.extend(1, num_runs=0)
    with pytest.raises(HlbqError, match=r"(?s)'seed' is an option, not a setting.*beside the settings: seed="):
        orchestrator.submit({"depth": 4, "seed": 4}, db=str(database))
    with pytest.raises(HlbqError, match="depth is an empty list"):
        orchestrator.submit({"depth": [], "width": 128})
    with pytest.raises(HlbqError, match="holds control characters"):
        orchestrator.submit({"depth": 2, "width": 128}, name="two\nlines")


def test_a_database_may_be_a_path(database: Path) -> None:
    assert orchestrator.compare(db=database, no_record=True).runs == 16  # type: ignore[arg-type]
    assert orchestrator.submit({"depth": 2, "width": 128}, db=database).id == 2  # type: ignore[arg-type]


def test_without_a_baseline_the_frame_of_differences_is_empty(database: Path) -> None:
    alone = orchestrator.compare(where={"depth": 4})
    assert alone.to_frame().empty and list(alone.to_frame("groups").n) == [8]


def test_runs_are_chosen_in_the_same_way_everywhere(database: Path) -> None:
    both: dict[str, Any] = {"sweep": 1, "where": {"depth": [2, 4], "seed": range(100, 103)}}
    assert len(orchestrator.load(**both)) == 6
    assert orchestrator.curves(**both).run_id.nunique() == 6
    assert orchestrator.compare(**both).runs == 6
    assert {state: count for state, count in orchestrator.wait(**both).items() if count} == {State.COMPLETED: 6}
    assert len(orchestrator.load(runs=RunFilter(run_ids=(1,)))) == 1
    assert len(orchestrator.load(str(database), where={"depth": "4"})) == 8
    refused: list[dict[str, Any]] = [
        {"sweep": 7}, {"where": {"dept": 4}}, {"where": {"seed": "x"}}, {"sweep": 1, "all": True},
        {"runs": RunFilter(), "where": {"depth": 2}}, {"sweep": []}, {"sweep": "12"}, {"sweep": "x"}, {"sweep": 1.5},
        {"sweep": 10**30}, {"sweep": numpy.nan}, {"where": "depth=2"}, {"where": {4: 4}},
        {"where": {"depth": numpy.array([[2, 4]])}},
    ]  # fmt: skip
    for wrong in refused:
        for call in (orchestrator.load, orchestrator.curves, orchestrator.compare, orchestrator.wait):
            with pytest.raises(HlbqError):
                call(**wrong)


def test_a_number_beyond_the_database_names_no_sweep(database: Path) -> None:
    with pytest.raises(HlbqError, match="there is no sweep 1000000"):
        orchestrator.compare(sweep=10**30)


def test_any_iterable_chooses_several_values(database: Path) -> None:
    depths = (numpy.array([2, 4]), pandas.Series([2, 4]), (depth for depth in (2, 4)), {2: 0, 4: 0}.keys())
    for several in depths:
        chosen = orchestrator.curves(where={"depth": several, "seed": numpy.arange(100, 103)})
        assert chosen.run_id.nunique() == 6
    assert orchestrator.curves(sweep=numpy.array([1]), where={"seed": numpy.array(100)}).run_id.nunique() == 2


def test_a_filter_takes_numbers_of_numpy_and_words(database: Path) -> None:
    """No run had the number numpy.int64(3), and several were an error."""
    for numbers in (numpy.array([3]), numpy.array([3, 4])):
        assert list(orchestrator.load(runs=RunFilter(run_ids=numbers)).run_id) == list(numbers)
    assert len(orchestrator.load(runs=RunFilter(sweep_ids=numpy.array([1])))) == 16
    words: Any = {"states": ("completed", "failed"), "reasons": ["finished"]}
    assert len(orchestrator.load(runs=RunFilter(**words))) == 16
    assert orchestrator.load(runs=RunFilter(**words | {"states": ["failed"]})).empty


def test_a_sweep_that_is_named_twice_counts_once(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        submit_sweep(store, ARMS, with_baseline=True)
        work(store, worker := register(store), sample_points())
        work(store, worker, sample_points())
    for sweep in ([2, 2], numpy.array([2, 2])):
        assert orchestrator.compare(sweep=sweep, no_record=True).baseline == {"depth": 2}
    assert orchestrator.compare(runs=RunFilter(sweep_ids=(2, 2)), no_record=True).has_verdicts
    assert run_program(["compare", "--sweep", "2", "2"]) == 0
    assert "depth 4 against depth 2" in capsys.readouterr().out


def test_a_file_has_no_runs_to_choose(database: Path) -> None:
    assert run_program(["export", "results.csv"]) == 0
    assert len(orchestrator.load("results.csv", where={})) == 16
    chosen: list[dict[str, Any]] = [{"sweep": 1}, {"where": {"depth": 2}}, {"runs": RunFilter()}, {"all": True}]
    for choice in chosen:
        for name in ("results.csv", "results.jsonl"):
            with pytest.raises(HlbqError, match=f"'{name}' is a table, but .* choose from a database"):
                orchestrator.load(name, **choice)


def test_numbers_of_numpy_and_paths_are_taken(database: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"random": numpy.int64(3), "num_runs": numpy.array(2), "futility": 0.2, "name": None}
    options |= {"log_csv": numpy.True_, "logfile": tmp_path / "r.csv", "margin": numpy.float32(0.5), "decide": True}
    settings = {"num_heads": numpy.array([1, 2, 3]), "lr_mult": numpy.array(2.0), "linear_value": numpy.True_}
    sweep = orchestrator.submit(settings, baseline={"num_heads": numpy.int64(1)}, **options)
    assert sweep.definition["axes"] == {"num_heads": [1, 2, 3], "lr_mult": [2.0], "linear_value": [True]}
    assert sweep.name == "" and sweep.csv is not None and Path(sweep.csv.path) == tmp_path / "r.csv"
    assert sweep.definition["options"]["futility"] == "0.2" and sweep.definition["options"]["margin"] == 0.5
    grown: Any = orchestrator.extend(numpy.int64(1), num_runs=numpy.int64(9))  # type: ignore[arg-type]
    assert grown.counts[State.PENDING] == 2
    asked: dict[str, Any] = {"margin": numpy.float64(0.1), "metric": None, "by": numpy.array(["depth"])}
    assert orchestrator.compare(sweep=1, no_record=True, **asked).margin == 0.1


def test_settings_may_be_spelt_with_dashes_as_in_a_sweep_file(database: Path) -> None:
    sweep = orchestrator.submit({"max-steps": 100, "num-heads": [1, 2]})
    assert sweep.definition["axes"] == {"max_steps": [100], "num_heads": [1, 2]}
    assert orchestrator.extend(sweep.id, {"num-heads": 4}).definition["axes"]["num_heads"] == [1, 2, 4]


def test_an_argument_of_another_type_is_refused(database: Path) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = [
        (orchestrator.plot, {"size": (5, 3)}), (orchestrator.plot, {"metric": 5}), (orchestrator.plot, {"by": 5}),
        (orchestrator.plot, {"smooth": "0.5"}), (orchestrator.compare, {"margin": "0.1"}),
        (orchestrator.compare, {"by": [5]}), (orchestrator.compare, {"baseline": 5}),
        (orchestrator.curves, {"metric": ["val_loss"]}), (orchestrator.extend, {"sweep": "x", "num_runs": 9}),
        (orchestrator.extend, {"sweep": 1, "num_runs": "9"}), (orchestrator.extend, {"sweep": 1, "settings": "depth"}),
        (orchestrator.submit, {"settings": "depth"}), (orchestrator.submit, {"settings": {"depth": {"a": 4}}}),
        (orchestrator.submit, {"settings": {}, "notify": ["mail"]}),
        (orchestrator.submit, {"settings": {}, "preset": 5}),
        (orchestrator.submit, {"settings": {}, "where": {"depth": 4}}),
        (orchestrator.submit, {"settings": {"max-steps": 9, "max_steps": 9}}),
        (orchestrator.wait, {"every": "x"}), (orchestrator.wait, {"every": -1.0}), (orchestrator.wait, {"runs": "x"}),
        (orchestrator.load, {"runs": "x"}), (orchestrator.curves, {"runs": [1]}), (orchestrator.compare, {"runs": 1}),
    ]  # fmt: skip
    for call, arguments in calls:
        with pytest.raises(HlbqError):
            call(**arguments)


def test_curves_are_a_frame_with_every_x(database: Path) -> None:
    points = orchestrator.curves("val_loss", where={"depth": 2})
    assert list(points) == ["run_id", "seed", "steps", "epochs", "tokens", "seconds", "flops", "wall_clock", "val_loss"]
    assert list(points.steps[:2]) == [10, 30] and list(points.tokens[:2]) == [10_000, 30_000]
    assert (points.flops > 1e6 * points.tokens).all()
    assert "depth" in orchestrator.curves("grad_norm") and orchestrator.curves("test_loss").empty
    with pytest.raises(HlbqError, match="no metric 'val_los'"):
        orchestrator.curves("val_los")


def test_plot_returns_figures_of_every_kind(database: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = orchestrator.plot(x="flops")
        assert figure.axes[0].get_xlabel() == "training FLOPs"
        assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
        assert orchestrator.plot(final="depth").axes[0].get_xlabel() == "depth"
        assert orchestrator.plot(schedules=True, x="steps").axes
        assert orchestrator.plot(x="train_loss").axes[0].get_xlabel().startswith("training loss")
        forest = orchestrator.plot(difference=True, margin=0.01, size="page")
        assert forest.axes[0].get_xlabel().startswith("difference in last val_loss") and forest.get_figwidth() == 7
        assert len(orchestrator.plot(difference=True, x="flops").axes) == 2 and looks() == 2
    for wrong in ({"x": "miles"}, {"band": "wide"}, {"final": "depth", "schedules": True}, {"size": "wide"}):
        with pytest.raises(HlbqError):
            orchestrator.plot(**wrong)  # type: ignore[arg-type]
    with pytest.raises(HlbqError, match="--heatmap takes two settings, not 1"):
        orchestrator.plot(heatmap="depth")


def test_extend_adds_seeds_and_values_and_wait_names_what_is_left(database: Path) -> None:
    with pytest.raises(HlbqError, match="sweep 1: no"):
        orchestrator.extend(1, num_runs=12, undecided=True)
    sweep = orchestrator.extend(1, num_runs=9)
    assert sweep.counts[State.PENDING] == 2
    sweep = orchestrator.extend(1, {"depth": 8})
    assert sweep.counts[State.PENDING] > 2 and sweep.definition["axes"]["depth"] == [2, 4, 8]
    with pytest.raises(HlbqError, match=r"(?s)depth: 16\.\.32 is a range.*List values: hlbq extend 1 --depth 16 32"):
        orchestrator.extend(1, {"depth": "16..32"})
    with pytest.raises(HlbqError, match="nothing to add"):
        orchestrator.extend(1)
    with pytest.raises(HlbqError):
        orchestrator.extend(2, num_runs=3)


@pytest.mark.parametrize(("call", "options"), [("compare", (CompareOptions,)), ("plot", (PlotOptions, KindOptions))])
def test_the_arguments_are_the_options_of_the_command(call: str, options: tuple[type, ...]) -> None:
    chosen = {"db", "sweep", "where", "runs", "all"}
    arguments = set(inspect.signature(getattr(orchestrator, call)).parameters) - chosen
    known = {name for group in options for name in group.__dataclass_fields__}  # type: ignore[attr-defined]
    assert arguments == known - {"markdown", "csv"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compar'"):
        orchestrator.compar  # noqa: B018
