"""The baseline of a sweep: what it is by default, what is stored, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.errors import UsageError
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.baseline import baseline_of, check_baseline, parse_baseline, restricted
from orchestrator.sweep.definition import definition_of
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import Plan, make_plan
from orchestrator.sweep.shapes import Axes, Shape
from tests.command_line import Hlbq, hlbq_in

DEPTHS = {"depth": [8, 4], "width": [192, 384]}


def planned(values: dict[str, list[Any]], shape: Shape | None = None) -> tuple[Plan, Axes]:
    axes = axes_of(values)
    return make_plan(axes, shape=shape or Shape()), axes


def baseline(values: dict[str, list[Any]], shape: Shape | None = None, *, is_old: bool = False, **options: Any) -> Any:
    """The baseline by the settings that differ; `is_old` as of a sweep stored before base arms were."""
    plan, axes = planned(values, shape)
    definition = json.loads(json.dumps(definition_of(plan, axes, options)))
    if is_old:
        del definition["base_arm"]
    return restricted(baseline_of(definition), plan.varying())


@pytest.mark.parametrize("is_old", [False, True])
def test_the_first_value_of_each_axis_is_the_baseline(is_old: bool) -> None:
    found = baseline(DEPTHS, is_old=is_old)
    assert (found["depth"], found["width"]) == (8, 192)
    found = baseline(DEPTHS | {"num_heads": [3, 1]}, Shape(one_at_a_time=True), is_old=is_old)
    assert (found["depth"], found["width"], found["num_heads"]) == (8, 192, 3)
    found = baseline(DEPTHS, Shape(zips=(("depth", "width"),)), is_old=is_old)
    assert (found["depth"], found["width"]) == (8, 192)


@pytest.mark.parametrize("is_old", [False, True])
def test_where_the_base_arm_cannot_be_trained_the_first_that_can_is_it(is_old: bool) -> None:
    assert baseline({"num_heads": [7, 3, 1]}, is_old=is_old) == {"num_heads": 3}
    found = baseline(DEPTHS, Shape(where=("width / depth > 30",)), is_old=is_old)
    assert (found["depth"], found["width"]) == (8, 384)


@pytest.mark.parametrize("is_old", [False, True])
def test_random_draws_have_a_baseline_only_if_it_is_named(is_old: bool) -> None:
    shape = Shape(random_draws=2)
    assert baseline({"num_heads": [1, 3, 6]}, shape, is_old=is_old) == {}
    assert restricted(baseline_of({"options": {"baseline": ["num_heads=3"]}}), ["num_heads"]) == {"num_heads": 3}


def test_a_width_is_the_one_that_is_trained() -> None:
    assert baseline({"depth": [4], "width": [60, 128]})["width"] == 64


def test_a_named_baseline_is_kept_as_it_is() -> None:
    assert baseline(DEPTHS, baseline=["depth=4"]) == {"depth": 4}
    assert baseline_of({}) == {} and baseline_of({"axes": {"depth": [2, 3]}}) == {}


@pytest.mark.parametrize(
    ("texts", "nearest"),
    [
        (["depth=5"], "depth=4"),
        (["width=200", "depth=4"], "width=192 depth=4"),
        (["tokenizer=gpt"], "tokenizer=gpt2"),
    ],
)
def test_a_baseline_that_no_arm_has_is_refused_with_the_nearest(texts: list[str], nearest: str) -> None:
    plan, _ = planned(DEPTHS)
    with pytest.raises(UsageError, match="no arm of the sweep has that") as refused:
        check_baseline(parse_baseline(texts), plan)
    assert refused.value.hint == f"The nearest is --baseline {nearest}"


def test_of_zipped_values_the_nearest_arm_is_named() -> None:
    plan, _ = planned(DEPTHS, Shape(zips=(("depth", "width"),)))
    with pytest.raises(UsageError) as refused:
        check_baseline({"depth": 8, "width": 384}, plan)
    assert refused.value.hint == "The nearest is --baseline depth=8 width=192"


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def test_command_line_file_and_python_store_the_same(hlbq: Hlbq) -> None:
    Path("sweep.toml").write_text('[settings]\nnum_heads = [1, 3]\n[sweep]\nbaseline = ["num_heads=3"]\n')
    for line in ("--num_heads 1 3 --baseline num_heads=3", "sweep.toml", "--num_heads 1 3"):
        assert hlbq(f"submit {line}").code == 0
    orchestrator.submit({"num_heads": [1, 3]}, baseline="num_heads=3")
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        sweeps = store.sweeps()
    assert [restricted(baseline_of(sweep.definition), ["num_heads"]) for sweep in sweeps] == [
        {"num_heads": 3}, {"num_heads": 3}, {"num_heads": 1}, {"num_heads": 3}
    ]  # fmt: skip
    assert "baseline" not in sweeps[2].definition["options"]
    assert "baseline: num_heads=3" in hlbq("show --sweep 1").out
    assert 'baseline = ["num_heads=3"]' in hlbq("show --sweep 1 --toml").out


def test_bad_baselines_exit_with_2_and_write_nothing(hlbq: Hlbq) -> None:
    for line, words in (
        ("--baseline num_heads=2", ("no arm", "--baseline num_heads=3")),
        ("--baseline num_haeds=3", ("num_haeds", "Did you mean 'num_heads'?")),
        ("--baseline num_heads", ("no value", "--baseline num_heads=VALUE")),
        ("--baseline num_heads=1 num_heads=3", ("twice",)),
    ):
        done = hlbq(f"submit --num_heads 1 3 {line}")
        assert done.code == 2 and all(word in done.err for word in words), done.err
    assert not Path("hlbq.db").exists()


def test_a_baseline_outlives_an_extension_by_another_setting(hlbq: Hlbq) -> None:
    assert hlbq("submit --num_heads 1").code == 0
    assert hlbq("extend 1 --lr_mult 5").code == 0
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        (sweep,) = store.sweeps()
    assert restricted(baseline_of(sweep.definition), ["lr_mult"]) == {"lr_mult": 2.62}
