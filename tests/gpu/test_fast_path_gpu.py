"""The fast path on a CUDA device; skipped where there is none."""

from pathlib import Path

import pytest
import torch

from hlbgpt_core.compile_mode import CompileMode
from hlbgpt_core.compiling import CompiledCode
from hlbgpt_core.output_loss import losses_and_gradient, output_loss, triton_works
from hlbgpt_core.points import Split
from hlbgpt_core.recipes.positions import sequence_positions
from hlbgpt_core.trainer import train
from hlbgpt_core.warm import Warm
from tests.small_runs import Recorder, small_data, small_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
GPU = "cuda:0"


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """‖found - exact‖ / ‖exact‖."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("length", [32, 1000, 1024])
@pytest.mark.parametrize("heads", [1, 3])
def test_folded_attention_in_bfloat16_is_near_the_dense_one_in_float64(heads: int, length: int) -> None:
    torch.manual_seed(0)
    given = [torch.randn(2, heads, length, channels // heads, device=GPU) for channels in (48, 48, 384)]
    found = []
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float64)):
        query, key, value = (one.to(torch.bfloat16).to(dtype).requires_grad_() for one in given)
        slope = torch.tensor(0.05, device=GPU, dtype=torch.bfloat16).to(dtype).requires_grad_()
        positions = sequence_positions(length, 1024, released=False, fast=fast, dtype=dtype, device=query.device)
        attended = positions.attend(query, key, value, slope)
        loss = (attended.double() * torch.linspace(-1, 1, attended.numel(), device=GPU).view_as(attended)).sum()
        found.append([attended.detach(), *torch.autograd.grad(loss, (query, key, value, slope))])
    errors = [relative_error(*pair) for pair in zip(*found, strict=True)]
    assert max(errors[:4]) < 0.02 and errors[4] < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [(1, 320), (130, 4096), (33, 50_304), (7, 50_240)])
def test_the_kernel_is_torchs_own_operations(rows: int, columns: int, dtype: torch.dtype) -> None:
    assert triton_works(torch.device(GPU))
    from hlbgpt_core.output_loss_kernel import losses_and_gradient_by_triton

    torch.manual_seed(1)
    logits = (8 * torch.randn(rows, columns, device=GPU)).to(dtype)
    targets = torch.randint(columns, (rows,), device=GPU)
    one, other = logits.clone(), logits.clone()
    losses = losses_and_gradient_by_triton(one, targets)
    torch.testing.assert_close(losses, losses_and_gradient(other, targets), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one.float(), other.float(), rtol=0.01, atol=1e-5)


@pytest.mark.parametrize("float8", [False, True])
def test_the_output_loss_in_bfloat16_is_near_the_one_in_float64(float8: bool) -> None:
    torch.manual_seed(2)
    states, weight = torch.randn(300, 128, device=GPU), 0.1 * torch.randn(50_304, 128, device=GPU)
    targets = torch.randint(50_304, (300,), device=GPU)
    found = []
    for dtype in (torch.bfloat16, torch.float64):
        own = [one.to(torch.bfloat16).to(dtype).requires_grad_() for one in (states, weight)]
        loss, _ = output_loss(*own, targets, with_accuracy=False, float8=float8 and dtype == torch.bfloat16)
        found.append([loss.detach(), *torch.autograd.grad(loss, own)])
    errors = [relative_error(*pair) for pair in zip(*found, strict=True)]
    assert max(errors) < (0.1 if float8 else 0.02)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_the_default_path_is_fast_and_learns_as_the_plain_one(recipe: str) -> None:
    curves = {}
    for path in (None, "plain"):
        reporter = Recorder()
        train(small_settings(recipe), small_data(), seed=3, device=GPU, reporter=reporter, path=path)
        curves[reporter.known[0].path] = [point.loss for point in reporter.points if point.split is Split.VAL]
    assert curves["fast"] == pytest.approx(curves["plain"], rel=0.05)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_compiled_blocks_and_resident_tokens_learn_the_same(recipe: str, tmp_path: Path) -> None:
    warm, curves = Warm(CompiledCode(tmp_path)), []
    for more in ({}, {"compile_mode": CompileMode.ALWAYS, "warm": warm}):
        reporter = Recorder()
        settings = small_settings(recipe, precision="float32")
        train(settings, small_data(), seed=3, device=GPU, reporter=reporter, **more)  # type: ignore[arg-type]
        curves.append([point.loss for point in reporter.points])
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)
    assert reporter.points[-1].extra["compile_seconds"] > 0
