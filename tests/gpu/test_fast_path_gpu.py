"""The fast path on a CUDA device; skipped where there is none."""

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hlbgpt_core.device import attention_kernels
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import CompiledCode
from hlbgpt_core.fast_path.output_loss import losses_and_gradient, output_loss, triton_works
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.points import Split
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.positions import sequence_positions
from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.random_streams import SeededDither, SeededNormals
from hlbgpt_core.training.trainer import train
from hlbgpt_core.training.training_step import Trainer
from tests.small_runs import Recorder, small_data, small_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
GPU = "cuda:0"
DEVICE = torch.device(GPU)
# What Triton builds its launchers with; where it is missing the trainer takes torch's own operations, and says so.
HAS_C_COMPILER = any(shutil.which(name) for name in ("gcc", "clang", "cc"))
HAS_HEADERS = Path(sysconfig.get_path("include"), "Python.h").exists()
needs_c_compiler = pytest.mark.skipif(
    not (HAS_C_COMPILER and HAS_HEADERS), reason="there is no C compiler, or Python's headers are missing"
)


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """‖found - exact‖ / ‖exact‖."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("length", [32, 1000, 1024])
@pytest.mark.parametrize("heads", [1, 3])
def test_folded_attention_in_bfloat16_is_near_the_dense_one_in_float64(heads: int, length: int) -> None:
    # Drawn on the CPU, so that the numbers are always the same: the slope's gradient is a small sum of large numbers.
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(2, heads, length, channels // heads, generator=generator) for channels in (48, 48, 384)]
    found = []
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float64)):
        query, key, value = (one.to(torch.bfloat16).to(GPU, dtype).requires_grad_() for one in given)
        slope = torch.tensor(0.05, device=GPU, dtype=torch.bfloat16).to(dtype).requires_grad_()
        positions = sequence_positions(
            length,
            1024,
            score_channels=48 // heads,
            value_channels=384 // heads,
            released=False,
            fast=fast,
            dtype=dtype,
            device=query.device,
        )
        (own,) = positions.of_blocks(slope[None])
        # No other kernel may stand in for flash attention.
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION if fast else SDPBackend.MATH):
            attended = positions.attend(query, key, value, own)
            weights = torch.linspace(-1, 1, attended.numel(), device=GPU).view_as(attended)
            loss = (attended.double() * weights).sum()
            found.append([attended.detach(), *torch.autograd.grad(loss, (query, key, value, slope))])
    errors = [relative_error(*pair) for pair in zip(*found, strict=True)]
    assert max(errors[:4]) < 0.02 and errors[4] < 0.1


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        # Rows of an odd length, of which the value is a part: misaligned, where nobody looks after it.
        ("0.4.1", {"num_heads": 1, "qk_dim_div": 7, "linear_value": True}),
        ("0.4.1", {"num_heads": 2, "qk_dim_div": 6}),
        ("0.3.0", {"num_heads": 3}),
    ],
)
def test_flash_attention_takes_whole_models(recipe: str, changes: dict[str, Any]) -> None:
    trainer = trainer_of(small_settings(recipe, width=384, **changes))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        record = trainer.train_step(measure=True)
    assert 0 < record.loss < 10 and record.grad_norm is not None and 0 < record.grad_norm < 100


def trainer_of(settings: Settings) -> Trainer:
    """A trainer on the fast path, in bfloat16, with the text on the device."""
    settings = resolve(settings)
    found = sizes(settings)
    recipe = get_recipe(settings.recipe)(
        settings, vocab_size=found.vocab_size, tokens_per_microbatch=found.microbatch_tokens
    )
    recipe.model.fast = True
    tokens = ProcessCache(CompiledCode(Path("unused"))).tokens(small_data(), DEVICE)
    assert tokens is not None
    batches = RandomBatches(
        *tokens,
        seed=3,
        max_length=settings.max_sequence_length,
        num_eval_tokens=settings.num_eval_tokens,
        evaluation_batch_size=recipe.evaluation_batch_size(),
    )
    return Trainer(
        recipe,
        batches=batches,
        dither=SeededDither(3),
        normals=SeededNormals(3),
        device=DEVICE,
        dtype=torch.bfloat16,
    )


def test_a_step_waits_for_nothing_but_its_losses() -> None:
    trainer = trainer_of(small_settings(sequence_growth_steps=1000, microbatch_sample_every=1000))
    with attention_kernels(DEVICE):
        for _ in range(3):
            trainer.train_step(goes_on=lambda step, tokens: True)
        with no_waiting():
            for _ in range(3):
                trainer.train_step(goes_on=lambda step, tokens: True)
            assert trainer.counters.step == 6
        trainer.train_step()


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever has the host wait for the device is an error; an event that is waited for by name is not."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_c_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "columns"), [(1, 320), (130, 4096), (33, 50_304), (7, 50_240)])
def test_the_kernel_is_torchs_own_operations(rows: int, columns: int, dtype: torch.dtype) -> None:
    assert triton_works(DEVICE)
    from hlbgpt_core.fast_path.output_loss_kernel import losses_and_gradient_by_triton

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


@pytest.mark.parametrize("path", ["fast", "plain"])
@pytest.mark.parametrize("changes", [{"block_optimizer": "muon"}, {"output_precision": "float8"}])
def test_settings_that_change_the_learning_still_learn(changes: dict[str, str], path: str) -> None:
    reporter = Recorder()
    train(small_settings(**changes), small_data(), seed=3, device=GPU, reporter=reporter, path=path)
    losses = [point.loss for point in reporter.points if point.split is Split.TRAIN]
    assert losses[-1] < 0.95 * losses[0]


@needs_c_compiler
@pytest.mark.parametrize(("precision", "width", "near"), [("float32", 64, 2e-3), ("bfloat16", 384, 0.03)])
@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_compiled_blocks_and_resident_tokens_learn_the_same(
    recipe: str, precision: str, width: int, near: float, tmp_path: Path
) -> None:
    warm, curves = ProcessCache(CompiledCode(tmp_path)), []
    for more in ({}, {"compile_mode": CompileMode.ALWAYS, "warm": warm}):
        reporter = Recorder()
        settings = small_settings(recipe, precision=precision, width=width)
        train(settings, small_data(), seed=3, device=GPU, reporter=reporter, path="fast", **more)  # type: ignore[arg-type]
        curves.append([point.loss for point in reporter.points])
    assert not warm.compiled_code.broken
    assert curves[1] == pytest.approx(curves[0], rel=near)
    assert reporter.points[-1].extra["compile_seconds"] > 0
