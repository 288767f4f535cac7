"""The fast path computes what the plain one does: attention, loss, gradients, steps and whole runs."""

import gc
import itertools
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hlbgpt_core.device import DeviceFacts
from hlbgpt_core.fast_path import output_loss as output_loss_module
from hlbgpt_core.fast_path.compiling import CompiledCode
from hlbgpt_core.fast_path.float8 import Float8Weight
from hlbgpt_core.fast_path.output_loss import chunks, losses_and_gradient, output_loss
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.points import Outcome, Split
from hlbgpt_core.recipes.folded_attention import cut, position_features, two_parts
from hlbgpt_core.recipes.positions import sequence_positions
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.checkpoint import Checkpointing
from hlbgpt_core.training.trainer import resolve_path, train
from hlbgpt_core.training.training_step import Counters, Trainer
from tests.small_runs import (
    Recorder,
    checkpointing_in,
    one_curve,
    release_at,
    small_data,
    small_settings,
    without_time,
)

CPU = torch.device("cpu")
# Few points, evaluations and norms, so that most steps begin early.
SELDOM_POINTS = {"log_every": 7, "eval_every": 11, "microbatch_sample_every": 3}


def randoms(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize(
    ("heads", "length", "max_length", "score_channels", "value_channels"),
    [(1, 32, 1024, 48, 384), (3, 16, 16, 16, 128), (2, 7, 64, 5, 10), (1, 1, 8, 8, 8), (4, 33, 300, 40, 7)],
)
def test_folded_attention_is_attention_with_a_dense_bias(
    heads: int, length: int, max_length: int, score_channels: int, value_channels: int, released: bool
) -> None:
    query, key, value = randoms([(2, heads, length, channels) for channels in (*[score_channels] * 2, value_channels)])
    found = []
    for fast in (False, True):
        slope = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        positions = sequence_positions(
            length,
            max_length,
            score_channels=score_channels,
            value_channels=value_channels,
            released=released,
            fast=fast,
            dtype=torch.float64,
            device=CPU,
        )
        # The block between two others.
        _, own, _ = positions.of_blocks(torch.stack([slope - 1, slope, slope + 1]))
        attended = positions.attend(query, key, value, own)
        weights = torch.linspace(-1, 1, attended.numel(), dtype=torch.float64).view_as(attended)
        found.append((attended, *torch.autograd.grad((attended * weights).sum(), (query, key, value, slope))))
    for plain, fast_one in zip(*found, strict=True):
        torch.testing.assert_close(fast_one, plain, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("released", [True, False])
def test_in_bfloat16_two_parts_keep_slope_and_distances_to_sixteen_bits(released: bool) -> None:
    features = position_features(
        1024, 1024, score_channels=48, value_channels=384, released=released, dtype=torch.bfloat16, device=CPU
    )
    slope = torch.tensor(1.3132)
    (own,) = features.of_blocks(slope[None])
    # What a kernel computes: products of bfloat16 numbers, added up in float32 or better.
    product = own.double() @ features.key_features.double().t() * 48**-0.5
    position = torch.arange(1024, dtype=torch.float32) - 1023
    position = (position.to(torch.bfloat16) if released else position).double()
    rows, columns = torch.tensor([0, 1, 500, 1023]), torch.tensor([0, 1, 300, 499])
    # Differences within a row are all that a softmax sees.
    found = product[rows][:, columns] - product[rows][:, :1]
    exact = slope.double() * (position[columns] - position[0])
    torch.testing.assert_close(found, exact.expand_as(found), rtol=2**-14, atol=1e-9)


def test_two_parts_have_the_gradient_of_one() -> None:
    exact = torch.tensor(5.4321, requires_grad=True)
    high, low = two_parts(exact)
    assert float((high.double() + low.double()).detach()) == pytest.approx(5.4321, rel=2**-15)
    # Both parts are multiplied by the same, so each gets the same gradient; the sum must count it once.
    (gradient,) = torch.autograd.grad(3.0 * high + 3.0 * low, exact)
    assert float(gradient) == 3.0


def test_values_are_cut_into_pieces_that_kernels_take() -> None:
    for score_channels, value_channels in itertools.product(range(1, 200, 7), range(1, 700, 13)):
        pieces, width = cut(score_channels, value_channels)
        assert value_channels % pieces == 0 and width % 8 == 0
        assert width >= max(score_channels, value_channels // pieces)
    assert cut(48 + 5, 384) == (6, 64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_output_loss_is_cross_entropy(rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    states, weight = randoms([(10, 8), (40, 8)], dtype)
    targets = torch.arange(10) * 3
    monkeypatch.setattr(output_loss_module, "LOGITS_BYTES", {"cpu": rows * 40 * dtype.itemsize})
    logits = F.linear(states, weight)
    plain = F.cross_entropy(logits, targets)
    expected = torch.autograd.grad(plain / 3, (states, weight))
    loss, accuracy = output_loss(states, weight, targets, with_accuracy=True)
    assert accuracy is not None and float(accuracy) == float((logits.argmax(-1) == targets).double().mean())
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss / 3, (states, weight)), expected)
    with torch.no_grad():
        alone, _ = output_loss(states, weight, targets, with_accuracy=False)
    torch.testing.assert_close(alone, plain.detach())


def test_chunks_are_even_and_cover_all_rows() -> None:
    for count in (1, 2, 999, 4096, 10_001):
        cuts = list(chunks(torch.empty(count, 1), 1024))
        assert [row for one in cuts for row in range(one.start, one.stop)] == list(range(count))
        sizes = {one.stop - one.start for one in cuts}
        assert max(sizes) * 1024 * 4 <= output_loss_module.LOGITS_BYTES["cpu"] and max(sizes) - min(sizes) < len(cuts)


def test_a_gradient_of_several_chunks_is_added_up_in_more_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    # bfloat16 is slow on a CPU, but this is small.
    states, weight = randoms([(64, 8), (16, 8)], torch.bfloat16)
    targets = torch.arange(64) % 16
    found = []
    for rows in (64, 1):
        monkeypatch.setattr(output_loss_module, "LOGITS_BYTES", {"cpu": rows * 16 * 2})
        found.append(torch.autograd.grad(output_loss(states, weight, targets, with_accuracy=False)[0], weight)[0])
    exact_loss, _ = output_loss(states.double(), weight.double(), targets, with_accuracy=False)
    exact = torch.autograd.grad(exact_loss, weight)[0].double()
    errors = [float((one.double() - exact).norm() / exact.norm()) for one in found]
    assert errors[1] < 1.5 * errors[0] < 0.02


def test_a_logit_that_is_not_finite_shows_in_the_loss() -> None:
    logits = torch.zeros(2, 5)
    logits[1, 2] = float("nan")
    losses = losses_and_gradient(logits, torch.tensor([0, 1]))
    assert torch.isfinite(losses).tolist() == [True, False]


def trained(settings: Settings, path: str | None) -> Recorder:
    reporter = Recorder()
    train(settings, small_data(), seed=3, device="cpu", reporter=reporter, path=path)
    return reporter


@pytest.mark.parametrize("changes", [{}, SELDOM_POINTS, {"output_precision": "float8"}])
@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_runs_learn_the_same_on_both_paths(recipe: str, changes: dict[str, object]) -> None:
    settings = small_settings(recipe, precision="float64", **changes)
    plain, fast = trained(settings, None), trained(settings, "fast")
    assert [plain.known[0].path, fast.known[0].path] == ["plain", "fast"]
    assert [(point.split, point.step, point.microbatches) for point in fast.points] == [
        (point.split, point.step, point.microbatches) for point in plain.points
    ]
    for one, other in zip(fast.points, plain.points, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-9) and one.acc == pytest.approx(other.acc)
        assert (one.grad_norm or 0) == pytest.approx(other.grad_norm or 0, rel=1e-9)


@pytest.mark.parametrize("number", range(2, 26))
def test_a_step_that_began_early_is_done_again_when_the_run_is_given_back(number: int, tmp_path: Path) -> None:
    settings, data = small_settings(**SELDOM_POINTS), small_data()
    whole, first, second = trained(settings, "fast"), Recorder(release_at(number)), Recorder()
    place: Checkpointing = checkpointing_in(tmp_path)
    result = train(settings, data, seed=3, device="cpu", reporter=first, checkpointing=place, path="fast")
    assert result.outcome is Outcome.RELEASED and first.saved
    train(
        settings,
        data,
        seed=3,
        device="cpu",
        reporter=second,
        checkpointing=place,
        resume=first.saved,
        fixed={"path": "fast"},
    )
    assert second.known[0].path == "fast"
    assert one_curve(first, second, first.saved[-1].step) == without_time(whole.points)


def test_tokens_on_the_device_give_the_same_sequences() -> None:
    text = small_data()
    given = {"seed": 3, "max_length": 32, "num_eval_tokens": 128, "evaluation_batch_size": 3}
    from_host = RandomBatches(text.train, text.val, **given)
    warm = ProcessCache(CompiledCode(Path("unused")))
    tokens = warm.tokens(text, CPU)
    assert tokens is not None and warm.tokens(text, CPU) is tokens
    on_device = RandomBatches(*tokens, **given)
    shape = BatchShape(batch_size=5, sequence_length=16)
    for number in range(3):
        one, other = (torch.as_tensor(batches.training(number, shape)) for batches in (on_device, from_host))
        assert torch.equal(one, other)
    for one, other in zip(on_device.validation(), from_host.validation(), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_tokens_that_would_fill_the_device_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hlbgpt_core.fast_path.process_cache.device_facts",
        lambda device: DeviceFacts(name="small", memory_bytes=32 * 4 * 5999),
    )
    assert ProcessCache(CompiledCode(Path("unused"))).tokens(small_data(), CPU) is None


def test_steps_begin_early_at_doublings_too_and_not_before_points(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[tuple[int, int]] = []
    begin = Trainer._begin_next

    def noted(self: Trainer, before: Counters, microbatch: int, accumulation: Accumulation) -> Tensor:
        began.append((before.step + 1, self.recipe.next_shape(before.step, before.shape).sequence_length))
        return begin(self, before, microbatch, accumulation)

    monkeypatch.setattr(Trainer, "_begin_next", noted)
    trained(small_settings(**SELDOM_POINTS), "fast")
    # Steps 1, 7 and 14 have points, 11 an evaluation; the norms of steps 1, 4, 7, 10 and 13 decide how many
    # microbatches the next takes. Sequences double after steps 5 and 9.
    assert began == [(2, 8), (3, 8), (5, 16), (8, 16), (9, 32), (12, 32)]


def test_a_run_that_is_over_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[weakref.ref[torch.nn.Module]] = []
    begin = Trainer.__init__

    def noted(self: Trainer, *arguments: Any, **more: Any) -> None:
        begin(self, *arguments, **more)
        models.append(weakref.ref(self.model))

    monkeypatch.setattr(Trainer, "__init__", noted)
    gc.disable()  # a GPU's memory is not what makes Python look for circles
    try:
        trained(small_settings(max_steps=2), "fast")
        assert [model() for model in models] == [None]
    finally:
        gc.enable()


def test_the_first_attempts_path_stays_the_runs() -> None:
    gpu = torch.device("cuda", 0)
    wanted = [
        resolve_path(None, CPU, fixed={}, deterministic=False),
        resolve_path(None, gpu, fixed={}, deterministic=False),
        resolve_path(None, gpu, fixed={}, deterministic=True),
        resolve_path("plain", gpu, fixed={}, deterministic=False),
        resolve_path("plain", gpu, fixed={"path": "fast"}, deterministic=True),
    ]
    assert wanted == ["plain", "fast", "plain", "plain", "fast"]


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_muon_steps_the_blocks_matrices_and_resumes_to_the_bit(recipe: str, tmp_path: Path) -> None:
    settings = small_settings(recipe, block_optimizer="muon", max_steps=6)
    whole = trained(settings, None)
    assert whole.points[0].loss == trained(small_settings(recipe, max_steps=6), None).points[0].loss
    last = [point.loss for point in whole.points if point.split is Split.TRAIN]
    assert last[-1] < last[0]
    assert last[-1] != trained(small_settings(recipe, max_steps=6), None).points[-1].loss
    first, second, place = Recorder(release_at(5)), Recorder(), checkpointing_in(tmp_path)
    train(settings, small_data(), seed=3, device="cpu", reporter=first, checkpointing=place)
    train(settings, small_data(), seed=3, device="cpu", reporter=second, checkpointing=place, resume=first.saved)
    assert one_curve(first, second, first.saved[-1].step) == without_time(whole.points)


@pytest.mark.parametrize("path", ["plain", "fast"])
def test_a_float8_weight_is_rounded_once_a_step_and_never_old(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small_settings(output_precision="float8", microbatch_scale_lr=5.0)
    as_it_is, rounded = trained(settings, path), []
    prepare = Float8Weight.of

    def anew(self: Float8Weight, weight: Tensor) -> object:
        self.changed()
        rounded.append(weight)
        return prepare(self, weight)

    monkeypatch.setattr(Float8Weight, "of", anew)
    always = trained(settings, path)
    assert without_time(as_it_is.points) == without_time(always.points)
    monkeypatch.setattr(Float8Weight, "of", prepare)
    count = len(rounded)
    rounded.clear()

    def noted(self: Float8Weight) -> None:
        rounded.append(self)
        self._prepared = None

    monkeypatch.setattr(Float8Weight, "changed", noted)
    steps = trained(settings, path).points[-1].step
    assert len(rounded) == steps < count / 2


def test_evaluations_on_the_fast_path_are_a_few_large_batches_with_the_same_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sequences: dict[str, list[int]] = {"plain": [], "fast": []}
    taken: dict[str, list[float]] = {}
    validation = RandomBatches.validation
    for path, seen in sequences.items():

        def noted(self: RandomBatches, seen: list[int] = seen) -> Any:
            for batch in validation(self):
                seen.append(len(batch))
                yield batch

        with monkeypatch.context() as patched:
            patched.setattr(RandomBatches, "validation", noted)
            found = trained(small_settings(precision="float64", max_steps=2), path)
        taken[path] = [point.loss for point in found.points if point.split is Split.VAL]
    assert sum(sequences["plain"]) == sum(sequences["fast"]) and len(sequences["fast"]) <= len(sequences["plain"]) / 4
    assert taken["fast"] == pytest.approx(taken["plain"], rel=1e-12)


def test_float8_output_is_close_to_the_ordinary_one_and_learns() -> None:
    ordinary = trained(small_settings(), None).points
    rounded = trained(small_settings(output_precision="float8"), None).points
    assert rounded[0].loss != ordinary[0].loss
    assert rounded[0].loss == pytest.approx(ordinary[0].loss, rel=0.02)
    assert rounded[-1].loss < 0.95 * rounded[0].loss
