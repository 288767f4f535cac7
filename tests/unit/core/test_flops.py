"""Operations of training: against torch's own counter, along a run, and as a share of a device's peak."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hlbgpt_core.flops import TrainingFlops, flops_per_token, model_flops_utilisation, sequence_length
from hlbgpt_core.points import Point, Split
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings


@pytest.mark.parametrize("length", [16, 64])
@pytest.mark.parametrize(
    "values",
    [
        {"recipe": "0.4.1", "depth": 2, "width": 128, "num_heads": 2, "expand_factor": 3, "qk_dim_div": 4},
        {"recipe": "0.4.1", "depth": 1, "width": 64, "num_heads": 1, "linear_value": True},
        {"recipe": "0.3.0", "depth": 3, "width": 192, "num_heads": 3},
    ],
)
def test_a_forward_and_backward_pass_takes_what_torch_counts(values: dict[str, object], length: int) -> None:
    settings = resolve(Settings.from_dict({**values, "tokenizer": "bytes", "max_sequence_length": 64}))
    vocab_size = sizes(settings).vocab_size
    model = get_recipe(settings.recipe)(settings, vocab_size=vocab_size, tokens_per_microbatch=1000).model
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    tokens = torch.arange(5 * length).view(5, length) % vocab_size
    with FlopCounterMode(display=False) as counter:
        model(tokens).sum().backward()
    assert counter.get_total_flops() == tokens.numel() * flops_per_token(settings, length)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_a_run_adds_up_to_its_steps_at_their_lengths(recipe: str) -> None:
    changes = {"initial_sequence_length": 4, "sequence_growth_steps": 7, "max_steps": 30, "log_every": 1}
    settings = small_settings(recipe, **changes, eval_every=10)
    recorder = Recorder()
    train(settings, seed=3, data=small_data(train_tokens=50_000), reporter=recorder, device="cpu")
    points = [point for point in recorder.points if point.split is Split.TRAIN]
    assert [point.seq_length for point in points] == [sequence_length(settings, point.step) for point in points]
    assert len({point.seq_length for point in points}) > 2
    before, total = 0, 0.0
    for point in points:
        total += (point.tokens_seen - before) * flops_per_token(settings, point.seq_length)
        before = point.tokens_seen
    assert _at_last(settings, points) == pytest.approx(total, rel=1e-12)
    evaluations = [point for point in recorder.points if point.split is Split.VAL]
    assert evaluations[-1].tokens_seen == points[-1].tokens_seen
    assert _at_last(settings, evaluations) == pytest.approx(total, rel=0.01)


def _at_last(settings: Settings, points: list[Point]) -> float | None:
    counter = TrainingFlops(settings=settings)
    return [counter.at(point.step, point.tokens_seen) for point in points][-1]


def test_the_default_model_by_the_formula_of_palm() -> None:
    classic = Settings.from_dict({"recipe": "0.3.0", "tokenizer": "gpt2"})
    assert flops_per_token(classic, 512) == pytest.approx(6 * 30_823_302 + 12 * 6 * 384 * 512, rel=1e-3)


@pytest.mark.parametrize(
    ("device_name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA L4", "bfloat16", 121e12),
        ("NVIDIA L40", "bfloat16", None),
        ("NVIDIA RTX A1000", "bfloat16", None),
        ("NVIDIA GB200", "bfloat16", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        ("NVIDIA A100-SXM4-80GB", "float32", None),
        ("AMD EPYC 7763", "float32", None),
    ],
)
def test_utilisation_is_known_where_the_peak_is(device_name: str, precision: str, peak: float | None) -> None:
    settings = Settings()
    found = model_flops_utilisation(
        settings, step=0, tokens_per_second=1e5, device_name=device_name, precision=precision
    )
    wanted = None if peak is None else pytest.approx(1e5 * flops_per_token(settings, 32) / peak)
    assert found == wanted
