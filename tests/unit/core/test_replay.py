"""The trainer walks the recorded trajectories, and the replay sees when it does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core import replay
from hlbgpt_core.recipes.v041 import Recipe041

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = ("golden_v041.json", "golden_v030.json")


WAYS = [("float64", ()), ("float64", ("--fast",)), ("float32", ()), ("float32", ("--fast",))]


def replay_whole(file: Path, precision: str, path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Replay every case of the file to its end."""
    assert replay.main([str(file), "--precision", precision, *path]) == 0
    printed = capsys.readouterr().out
    cases = json.loads(file.read_text())
    assert printed.count(f"{precision}{', fast path' if path else ''})\n") == len(cases)
    assert printed.count("parameter sum") == printed.count("microbatch loss") == len(cases)
    assert "PAST" not in printed


@pytest.mark.long
@pytest.mark.parametrize(("precision", "path"), WAYS)
@pytest.mark.parametrize("file", FILES)
def test_every_case_of_the_recorded_trajectories(
    file: str, precision: str, path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    replay_whole(GOLDEN / file, precision, path, capsys)


@pytest.mark.parametrize("file", FILES)
def test_the_first_case_to_its_end(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, case = next(iter(json.loads((GOLDEN / file).read_text()).items()))
    (tmp_path / file).write_text(json.dumps({name: case}))
    replay_whole(tmp_path / file, "float64", (), capsys)


@pytest.mark.parametrize(("precision", "path"), WAYS)
@pytest.mark.parametrize("file", FILES)
def test_the_first_steps_of_every_case(file: str, precision: str, path: tuple[str, ...]) -> None:
    for case in json.loads((GOLDEN / file).read_text()).values():
        case["config"]["steps"] = 8
        case["optimizer_steps"] = case["optimizer_steps"][:8]
        found = without_final(case, precision, fast=bool(path))
        assert found and all(one.within for one in found)


def shortened(file: str = "golden_v041.json") -> dict[str, Any]:
    """The file's first case, five steps of it."""
    name, case = next(iter(json.loads((GOLDEN / file).read_text()).items()))
    case["config"]["steps"] = 5
    case["optimizer_steps"] = case["optimizer_steps"][:5]
    return {name: case}


def without_final(case: dict[str, Any], precision: str = "float64", *, fast: bool = False) -> list[replay.Deviation]:
    # The recorded final parameters are those after all the steps.
    found = replay.replay_case(case, precision, fast=fast)
    return [one for one in found if not one.quantity.startswith("parameter ")]


@pytest.mark.parametrize(
    ("quantity", "part", "key", "factor"),
    [
        ("microbatch loss", "microbatches", "loss", 1 + 1e-8),
        ("gradient norm", "optimizer_steps", "grad_norm", 1 + 1e-8),
        ("dither probability", "dither", "p", 1 + 1e-4),
        ("validation loss", "validation", "loss", 1 + 1e-5),
        ("batch size and length", "microbatches", "batch_size", 2),
    ],
)
def test_a_changed_record_is_past_the_tolerance(quantity: str, part: str, key: str, factor: float) -> None:
    (case,) = shortened().values()
    case[part][0][key] *= factor
    assert [deviation.quantity for deviation in without_final(case) if not deviation.within] == [quantity]


def test_changed_code_is_past_the_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "short.json"
    file.write_text(json.dumps(shortened()))
    monkeypatch.setattr(Recipe041, "adamw_eps", 1e-6)
    assert replay.main([str(file)]) == 1


def test_a_loss_that_is_not_a_number_is_past_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = shortened().values()
    monkeypatch.setattr(Recipe041, "initial_std", lambda self, name: float("nan"))
    deviations = {deviation.quantity: deviation for deviation in without_final(case)}
    assert not deviations["microbatch loss"].within


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "is not JSON"),
        ("[]", "holds no cases"),
        ('{"a": {}}', "no config"),
        ('{"a": {"config": {"vocab": "many"}}}', "config.vocab is not a number"),
    ],
)
def test_another_file_is_refused(content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    assert replay.main([str(file)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("part", ["num_params", "optimizer_steps", "dither", "final_parameters", "microbatches"])
def test_a_case_that_lacks_a_part_is_refused(part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = shortened()
    for case in cases.values():
        del case[part]
    file = tmp_path / "x.json"
    file.write_text(json.dumps(cases))
    assert replay.main([str(file)]) == 2
    assert part in capsys.readouterr().err


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main([str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_record_with_too_few_microbatches_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = shortened()
    for case in cases.values():
        case["microbatches"] = case["microbatches"][:3]
    file = tmp_path / "x.json"
    file.write_text(json.dumps(cases))
    assert replay.main([str(file)]) == 2
    assert "microbatches are missing" in capsys.readouterr().err
