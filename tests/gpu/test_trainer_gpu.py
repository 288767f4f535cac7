"""The trainer on a CUDA device; skipped where there is none."""

from pathlib import Path

import pytest
import torch

from hlbgpt_core.device import resolve_precision
from hlbgpt_core.errors import OutOfMemoryError
from hlbgpt_core.points import Outcome, Split
from hlbgpt_core.recipes.v041 import LatentAttentionModel
from hlbgpt_core.training.trainer import train
from tests.small_runs import (
    Recorder,
    checkpointing_in,
    one_curve,
    release_at,
    small_data,
    small_settings,
    without_time,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_float32_agrees_with_the_cpu(recipe: str) -> None:
    curves = []
    for device in ("cpu", "cuda:0"):
        reporter = Recorder()
        settings = small_settings(recipe, precision="float32")
        train(settings, small_data(), seed=3, device=device, reporter=reporter)
        curves.append([point.loss for point in reporter.points])
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_bfloat16_learns(recipe: str) -> None:
    assert resolve_precision("auto", torch.device("cuda")) == "bfloat16"
    reporter = Recorder()
    result = train(small_settings(recipe), small_data(), seed=3, device="cuda:0", reporter=reporter)
    losses = [point.loss for point in reporter.points if point.split is Split.TRAIN]
    assert result.outcome is Outcome.FINISHED and losses[-1] < losses[0]
    assert reporter.known[0].precision == "bfloat16" and reporter.progresses[-1].memory_bytes > 0


@pytest.mark.parametrize("number", [7, 20])
def test_deterministic_runs_resume_to_the_bit(number: int, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")  # what checkpoints are written with
    settings, data = small_settings(), small_data()
    whole, first, second = Recorder(), Recorder(release_at(number)), Recorder()
    train(settings, data, seed=3, device="cuda:0", reporter=whole, deterministic=True)
    place = checkpointing_in(tmp_path)
    train(settings, data, seed=3, device="cuda:0", reporter=first, checkpointing=place, deterministic=True)
    train(
        settings,
        data,
        seed=3,
        device="cuda:0",
        reporter=second,
        checkpointing=place,
        resume=first.saved,
        deterministic=True,
    )
    assert one_curve(first, second, first.saved[-1].step) == without_time(whole.points)


def test_out_of_memory_is_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        LatentAttentionModel, "hidden_states", lambda self, tokens: torch.empty(2**42, device=tokens.device)
    )
    with pytest.raises(OutOfMemoryError, match="gpu_capacity_scalar"):
        train(small_settings(), small_data(), seed=1, device="cuda:0", reporter=Recorder())
