"""The loop of a run: which points, which limits, and the errors for people."""

import math
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch

from hlbgpt_core.errors import DataError, DeviceError, DivergedError, HlbqError, OutOfMemoryError, SettingsError
from hlbgpt_core.fast_path.memory import capacity_for
from hlbgpt_core.metrics import Moment
from hlbgpt_core.points import Outcome, Phase, Split, TrainingResult
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.recipes.v041 import LatentAttentionModel
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, is_training, small_data, small_settings, without_time


def trained(settings: Settings, *, seed: int = 3, **more: object) -> tuple[TrainingResult, Recorder]:
    reporter = Recorder()
    result = train(settings, small_data(), seed=seed, device="cpu", reporter=reporter, **more)  # type: ignore[arg-type]
    return result, reporter


def steps_of(reporter: Recorder, split: Split) -> list[int]:
    return [point.step for point in reporter.points if point.split is split]


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_the_same_seed_gives_the_same_points_and_another_does_not(recipe: str) -> None:
    first, second, other = (trained(small_settings(recipe), seed=seed)[1] for seed in (3, 3, 4))
    assert without_time(first.points) == without_time(second.points)
    assert without_time(first.points)[0] != without_time(other.points)[0]


def test_points_stand_where_they_should() -> None:
    result, reporter = trained(small_settings(log_every=4, eval_every=6, max_steps=14))
    assert steps_of(reporter, Split.TRAIN) == [1, 4, 8, 12]
    assert steps_of(reporter, Split.VAL) == [6, 12, 14]
    assert (result.outcome, result.steps, result.stopped_by) == (Outcome.FINISHED, 14, "max_steps")
    assert [point.step for point in reporter.points] == sorted(point.step for point in reporter.points)


def test_no_two_evaluations_at_one_step() -> None:
    _, reporter = trained(small_settings(eval_every=7, max_steps=14))
    assert steps_of(reporter, Split.VAL) == [7, 14]


def test_evaluations_by_epochs() -> None:
    settings = small_settings(eval_every=1000, max_epochs_between_evals=0.1, max_steps=14)
    _, reporter = trained(settings)
    vals = [point for point in reporter.points if point.split is Split.VAL]
    assert len(vals) > 2
    assert all(
        earlier.epoch + 0.1 <= later.epoch for earlier, later in pairwise(vals) if later.step < settings.max_steps
    )


def test_what_a_point_carries() -> None:
    result, reporter = trained(small_settings())
    train_points = [point for point in reporter.points if point.split is Split.TRAIN]
    seen = 0
    for point in train_points:
        assert point.microbatches is not None and point.grad_norm is not None
        seen += point.microbatches * point.batch_size * point.seq_length
        assert point.tokens_seen == seen
        assert point.epoch == seen / 5000
        assert point.pplx == pytest.approx(math.exp(point.loss))
        assert 0 <= point.acc <= 1
        assert set(point.extra) == {"lr_decay", "lr_position_bias", "lr_non_dot_products", "lr_outputs"}
        assert point.lr == point.extra["lr_decay"]
    assert result.tokens_seen == seen
    assert train_points[-1].loss < 3.5 < train_points[0].loss
    last_val = reporter.points[-1]
    # One byte a token: bits a byte are nats a token over ln 2.
    assert last_val.bits_per_byte == pytest.approx(last_val.loss / math.log(2))
    same_step = train_points[-1]
    for name in ("tokens_seen", "epoch", "batch_size", "seq_length", "lr", "weight_decay", "extra"):
        assert getattr(last_val, name) == getattr(same_step, name)
    assert last_val.grad_norm is None and last_val.microbatches is None


def test_a_steps_loss_is_the_mean_over_its_microbatches(monkeypatch: pytest.MonkeyPatch) -> None:
    from hlbgpt_core.training import training_step

    losses: list[float] = []
    real = training_step.next_token_loss

    def noting(model, tokens, *, with_accuracy):  # type: ignore[no-untyped-def]
        result = real(model, tokens, with_accuracy=with_accuracy)
        if torch.is_grad_enabled():
            losses.append(float(result.loss.detach()))
        return result

    monkeypatch.setattr(training_step, "next_token_loss", noting)
    _, reporter = trained(small_settings())
    for point in (point for point in reporter.points if point.split is Split.TRAIN):
        mine = [losses.pop(0) for _ in range(point.microbatches or 0)]
        assert point.loss == pytest.approx(sum(mine) / len(mine), rel=1e-12)
    assert losses == []


@pytest.mark.parametrize(
    ("limits", "stopped_by"),
    [
        ({"max_steps": 3}, "max_steps"),
        ({"max_epochs": 0.1}, "max_epochs"),
        ({"max_tokens": 600}, "max_tokens"),
        ({"max_time_seconds": 1e-6}, "max_time_seconds"),
    ],
)
def test_each_limit_stops_and_evaluates_once_more(limits: dict[str, float], stopped_by: str) -> None:
    result, reporter = trained(small_settings(**limits))
    assert result.stopped_by == stopped_by
    last = reporter.points[-1]
    assert last.split is Split.VAL and last.step == result.steps
    reached = {
        "max_steps": result.steps >= 3,
        "max_epochs": last.epoch >= 0.1,
        "max_tokens": result.tokens_seen >= 600,
        "max_time_seconds": result.training_seconds >= 1e-6,
    }
    assert reached[stopped_by]
    if stopped_by == "max_tokens":
        assert reporter.points[-3].tokens_seen < 600


def test_progress_before_every_batch() -> None:
    _, reporter = trained(small_settings())
    microbatches = sum(point.microbatches or 0 for point in reporter.points if point.split is Split.TRAIN)
    assert sum(is_training(progress) for progress in reporter.progresses) == microbatches
    assert sum(progress.phase is Phase.EVALUATE for progress in reporter.progresses) == 3 * 4
    fractions = [progress.fraction for progress in reporter.progresses]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert reporter.progresses[-1].tokens_per_second > 0 and reporter.progresses[-1].memory_bytes > 0
    assert reporter.calls[0] == "facts" and reporter.calls.count("facts") == 1


def test_facts_and_fixed_facts() -> None:
    _, reporter = trained(small_settings(max_steps=1))
    (facts,) = reporter.known
    assert (facts.data_fingerprint, facts.train_tokens, facts.val_tokens) == ("made-up", 5000, 1000)
    assert (facts.device, facts.precision, facts.threads) == ("cpu", "float32", 1)
    assert facts.provenance["torch"] == torch.__version__
    fixed: Mapping[str, object] = {"data_fingerprint": "made-up", "precision": "float64"}
    _, again = trained(small_settings(max_steps=1), fixed=fixed)
    assert again.known[0].precision == "float64"
    with pytest.raises(DataError, match="data has changed"):
        trained(small_settings(max_steps=1), fixed={"data_fingerprint": "another"})


def test_bfloat16_trains_on_a_cpu() -> None:
    result, reporter = trained(small_settings(precision="bfloat16", max_steps=6, position_distance="exact"))
    assert result.steps == 6 and reporter.points[-1].loss < reporter.points[0].loss


def test_extra_metrics_land_in_every_point() -> None:
    def embedding_norm(moment: Moment) -> dict[str, float]:
        return {"embedding_norm": float(moment.model.get_parameter("embedding.weight").norm())}

    _, reporter = trained(small_settings(max_steps=2), metrics=embedding_norm)
    assert len(reporter.points) == 3
    assert all(point.extra["embedding_norm"] > 0 for point in reporter.points)


@pytest.mark.parametrize("name", ["loss", "grad_norm", "lr_decay", "tokens", "run_id", "git_commit", "recorded_at"])
def test_a_metric_of_one_s_own_can_not_have_the_name_of_another(name: str) -> None:
    with pytest.raises(HlbqError, match=f"extra_metrics returns '{name}'"):
        trained(small_settings(max_steps=2), metrics=lambda moment: {name: 1.0})


def test_a_loss_that_is_not_finite_is_shown_and_ends_the_run() -> None:
    reporter = Recorder()
    settings = small_settings(lr_mult=1e12, log_every=1000, warmup_steps=1)
    with pytest.raises(DivergedError, match=r"at step \d+") as caught:
        train(settings, small_data(), seed=3, device="cpu", reporter=reporter)
    last = reporter.points[-1]
    assert not math.isfinite(last.loss) and f"at step {last.step}" in caught.value.message
    assert all(math.isfinite(point.loss) for point in reporter.points[:-1])
    assert "lr_mult" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_a_value_that_fits(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LatentAttentionModel, tokens: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(LatentAttentionModel, "hidden_states", fail)
    with pytest.raises(OutOfMemoryError, match=r"gpu_capacity_scalar 0\.01") as caught:
        trained(small_settings(gpu_capacity_scalar=0.01))
    assert "--gpu_capacity_scalar 0.005" in caught.value.hint
    with pytest.raises(OutOfMemoryError) as caught:
        trained(small_settings(gpu_capacity_scalar=0.0007))
    assert "No smaller --gpu_capacity_scalar helps" in caught.value.hint


def test_a_real_allocation_that_fails_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatentAttentionModel, "hidden_states", lambda self, tokens: torch.empty(10**16))
    with pytest.raises(OutOfMemoryError):
        trained(small_settings())


def test_other_errors_of_the_model_stay_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LatentAttentionModel, tokens: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(LatentAttentionModel, "hidden_states", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(small_settings())


def test_capacity_follows_memory_and_precision() -> None:
    settings = Settings.from_dict({"gpu_capacity_scalar": 4.0, "depth": 8, "width": 384})
    assert capacity_for(settings, 80_000_000_000, 2) == 2.0
    assert capacity_for(settings, 40_000_000_000, 2) == 1.0
    assert capacity_for(settings, 40_000_000_000, 4) == 0.5
    assert capacity_for(settings, 100_000_000, 2) is None


@pytest.mark.parametrize(("split", "what"), [("train_tokens", "training"), ("val_tokens", "validation")])
def test_a_text_shorter_than_a_sequence_is_refused(split: str, what: str) -> None:
    reporter = Recorder()
    with pytest.raises(DataError, match=f"the {what} text has 32 tokens.*needs 33"):
        train(small_settings(), small_data(**{split: 32}), seed=1, device="cpu", reporter=reporter)
    train(small_settings(max_steps=1), small_data(**{split: 33}), seed=1, device="cpu", reporter=reporter)


def test_a_device_that_is_not_there() -> None:
    for name in ("cuda:99", "tpu", "mps"):
        with pytest.raises(DeviceError, match=name):
            train(small_settings(), small_data(), seed=1, device=name, reporter=Recorder())


def test_unfit_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="num_heads 3"):
        trained(small_settings(num_heads=3))


def test_every_run_is_evaluated_on_the_same_sequences_however_they_are_cut() -> None:
    def sequences(seed: int, batch_size: int) -> np.ndarray:
        data = small_data()
        batches = RandomBatches(
            data.train, data.val, seed=seed, max_length=32, num_eval_tokens=200, evaluation_batch_size=batch_size
        )
        first, second = (np.concatenate(list(batches.validation())) for _ in range(2))
        assert np.array_equal(first, second)
        return first

    assert sequences(1, 4).shape == (6, 33)
    assert np.array_equal(sequences(1, 4), sequences(2, 6))


def test_training_batches_repeat_by_number_and_reach_both_ends() -> None:
    data = small_data(train_tokens=12, val_tokens=12)
    batches = RandomBatches(data.train, data.val, seed=-7, max_length=8, num_eval_tokens=8, evaluation_batch_size=1)
    shape = BatchShape(batch_size=200, sequence_length=8)
    drawn = batches.training(5, shape)
    assert np.array_equal(drawn, batches.training(5, shape))
    assert not np.array_equal(drawn, batches.training(6, shape))
    windows = {tuple(data.train[start : start + 9].tolist()) for start in range(4)}
    assert {tuple(row) for row in drawn.tolist()} == windows


def test_the_trainer_needs_only_torch_and_numpy() -> None:
    program = """
import sys
for name in ("safetensors", "tiktoken", "datasets", "tokenizers", "sqlalchemy", "pandas"):
    sys.modules[name] = None
import torch
torch.set_num_threads(1)
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings
reporter = Recorder()
train(small_settings(max_steps=2), small_data(), seed=1, device="cpu", reporter=reporter)
print(len(reporter.points))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("3", 0), done.stderr
