"""The benchmark that only a GPU can run for what it is: what it does when a row goes wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_rows, train_gpu
from benchmarks.plain_recipe import DEMO
from hlbgpt_core import scale
from hlbgpt_core.settings import Settings

CPU = torch.device("cpu")


def test_out_of_memory_halves_both_sides_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def measured(settings: Settings, *_: object, **__: object) -> dict[str, object]:
        asked.append(settings.gpu_capacity_scalar)
        if len(asked) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"ratio": 2.0}

    monkeypatch.setattr(gpu_rows, "measured_steps", measured)
    settings = scale.resolve(Settings.from_dict({**DEMO, "gpu_capacity_scalar": 1.0}))
    row = gpu_rows.step_row(settings, None, CPU, length=32, steps=1, rounds=1)  # type: ignore[arg-type]
    assert asked == [1.0, 0.5, 0.25]
    assert row["ratio"] == 2.0 and "both sides at gpu_capacity_scalar 0.25" in str(row["note"])


def test_a_row_that_fails_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(options: object, kind: str, *more: str) -> dict[str, object]:
        return {"error": "the GPU is lost"} if "64" in more else {"ratio": 2.0}

    monkeypatch.setattr(train_gpu, "in_a_process", measured)
    monkeypatch.setattr(train_gpu, "text_tokens", lambda *_, **__: [0])
    output = tmp_path / "rows.json"
    arguments = ["step", "--small", "--device", "cpu", "--lengths", "32", "64", "128", "--output", str(output)]
    assert train_gpu.main(arguments) == 1
    kept: dict[str, Any] = json.loads(output.read_text())
    assert [sorted(row) for row in kept["figures"]["step"]["rows"]] == [
        ["name", "ratio"],
        ["error", "name"],
        ["name", "ratio"],
    ]
    assert kept["machine"]["device"] == "CPU" and kept["figures"]["step"]["machine"] == kept["machine"]
    assert "name train_step_L64, error the GPU is lost" in capsys.readouterr().out


def test_a_process_that_dies_is_a_row_with_its_last_words(tmp_path: Path) -> None:
    options = train_gpu.options_of(["run", "--small", "--device", "cpu", "--tokens", str(tmp_path / "missing.npy")])
    assert "missing.npy" in str(train_gpu.in_a_process(options, "plain")["error"])


def test_medians_leave_out_what_failed() -> None:
    rows = [{"name": "plain", "training_seconds": 4.0}, {"name": "auto", "training_seconds": 2.0}]
    found = gpu_rows.run_medians([*rows, {"name": "auto", "error": "lost"}, {"name": "plain", "training_seconds": 6.0}])
    assert found["plain"] == 5.0 and found["plain / auto"] == 2.5
    assert "plain / auto" not in gpu_rows.run_medians(rows[1:])
