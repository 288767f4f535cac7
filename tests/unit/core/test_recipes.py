"""What the recipes compute beyond the recorded trajectories, and a recipe of one's own."""

import math
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn

from hlbgpt_core import recipes, scale
from hlbgpt_core.errors import SettingsError
from hlbgpt_core.points import Outcome, Split
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.attention import attention, causal_distances
from hlbgpt_core.recipes.protocol import (
    Accumulation,
    BatchShape,
    Dither,
    LanguageModel,
    ParameterGroup,
    Recipe,
    initialise,
)
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.random_streams import SeededNormals
from hlbgpt_core.training.trainer import train
from tests.small_runs import Recorder, small_data, small_settings


def made(recipe: str, *, tokens: int = 1000, **values: object) -> Recipe:
    settings = Settings.from_dict({"recipe": recipe, "depth": 1, "width": 64, "num_heads": 1, **values})
    return get_recipe(recipe)(settings, vocab_size=320, tokens_per_microbatch=tokens)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
@pytest.mark.parametrize(
    "values",
    [
        {"depth": 2, "width": 128, "tokenizer": "bytes"},
        {"depth": 1, "width": 192, "qk_dim_div": 16, "expand_factor": 3, "tokenizer": "bytes"},
        {"depth": 3, "width": 64, "expand_factor": 1, "linear_value": True, "tokenizer": "bytes"},
    ],
)
def test_counts_without_a_model_are_those_of_a_built_one(recipe: str, values: dict[str, object]) -> None:
    settings = Settings.from_dict({"recipe": recipe, "num_heads": 1, **values})
    sizes = scale.sizes(settings)
    model = get_recipe(recipe)(settings, vocab_size=sizes.vocab_size, tokens_per_microbatch=1).model
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(counts.values()) == sizes.num_params
    inner = [count for name, count in counts.items() if "embedding" not in name and "outputs" not in name]
    assert sum(inner) == sizes.num_non_embedding_params


@pytest.mark.parametrize(("recipe", "num_params"), [("0.4.1", 46_009_736), ("0.3.0", 30_823_302)])
def test_default_models_have_the_published_size(recipe: str, num_params: int) -> None:
    settings = scale.resolve(Settings.from_dict({"recipe": recipe}))
    with torch.device("meta"):
        built = get_recipe(recipe)(settings, vocab_size=50_304, tokens_per_microbatch=1)
    assert built.num_params == num_params == scale.sizes(settings).num_params


def test_030_batch_sizes_halve_or_round_whichever_is_less() -> None:
    def shapes(**values: object) -> list[tuple[int, int]]:
        recipe = made("0.3.0", sequence_growth_steps=1, **values)
        shape = recipe.first_shape()
        found = [(shape.batch_size, shape.sequence_length)]
        for step in range(1, 8):
            grown = recipe.next_shape(step, shape)
            if grown != shape:
                shape = grown
                found.append((shape.batch_size, shape.sequence_length))
        return found

    assert shapes() == [(1024, 32), (512, 64), (256, 128), (128, 256), (64, 512)]
    # round(500 / 48) = 10; then 320, not 333; and so on.
    assert shapes(max_sequence_length=500, initial_sequence_length=48) == [
        (640, 48),
        (320, 96),
        (160, 192),
        (80, 384),
        (40, 500),
    ]
    # Rounding down from 11 would leave no sequence at the end.
    assert shapes(gpu_capacity_scalar=1 / 64, initial_sequence_length=48)[-1] == (1, 512)
    assert made("0.3.0", gpu_capacity_scalar=0.001).evaluation_batch_size() == 1


def test_041_batches_are_cut_from_the_capacity() -> None:
    recipe = made("0.4.1", tokens=1000, max_sequence_length=300, sequence_growth_steps=10)
    assert recipe.first_shape() == BatchShape(batch_size=31, sequence_length=32)
    assert recipe.next_shape(0, recipe.first_shape()) == recipe.first_shape()
    assert recipe.next_shape(10, BatchShape(batch_size=1, sequence_length=256)) == BatchShape(
        batch_size=3, sequence_length=300
    )
    assert recipe.evaluation_batch_size() == 1
    assert made("0.4.1", tokens=320_000, max_sequence_length=1000).evaluation_batch_size() == 20


# Warm-ups of a fifth, of all steps, and of less than one step: torch's peak then lies before step 0.
@pytest.mark.parametrize(("total", "percent"), [(40, 0.2), (10, 1.0), (20, 0.001), (999, 0.001), (1, 0.001)])
def test_030_schedule_is_torchs_one_cycle_and_then_stays(total: int, percent: float) -> None:
    recipe = made("0.3.0", total_train_steps=total, warmup_percent=percent, learning_rate=0.5)
    schedule = recipe.parameter_groups()[0].schedule
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.5,
        total_steps=total,
        pct_start=percent,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=100,
        final_div_factor=0.02,
    )
    for step in range(total):
        assert 0.5 * schedule(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        if step + 1 < total:
            reference.step()
    assert schedule(10 * total) == schedule(total - 1)


@pytest.mark.parametrize(("total", "percent"), [(1, 0.001), (2, 1.0), (3, 5.0), (10, 0.01)])
def test_030_schedule_has_no_step_that_fails(total: int, percent: float) -> None:
    recipe = made("0.3.0", total_train_steps=total, warmup_percent=percent)
    schedule = recipe.parameter_groups()[0].schedule
    assert all(0 < schedule(step) <= 1 for step in range(total + 3))


def test_030_schedule_starts_at_its_peak_where_the_warm_up_is_one_step() -> None:
    recipe = made("0.3.0", total_train_steps=1000)
    schedule = recipe.parameter_groups()[0].schedule
    assert [schedule(0), schedule(999), schedule(5000)] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_microbatches_are_capped_and_come_down_again(recipe: str) -> None:
    bound = made(recipe, max_microbatches=3, microbatch_sample_every=1)
    state = bound.first_accumulation()
    for step in range(60):
        state = bound.next_accumulation(state, step=step, grad_norm=1e9 * 2.0**step, dither=lambda _, __: True)
        assert state.divisor <= 3 and state.level <= 3
    assert state.divisor == 3
    for step in range(60, 200):
        state = bound.next_accumulation(state, step=step, grad_norm=1e-9, dither=lambda _, __: False)
    assert state.divisor == 1
    infinite = bound.next_accumulation(state, step=200, grad_norm=math.inf, dither=lambda _, __: False)
    assert math.isfinite(infinite.level)


def test_030_counter_is_never_reset() -> None:
    recipe = made("0.3.0")
    state = Accumulation(divisor=3, level=3.0)
    assert [k for k in range(8) if recipe.step_is_due(state, microbatch=k, in_step=1)] == [0, 3, 6]


def test_weight_decay_of_a_huge_loss_is_zero() -> None:
    assert made("0.4.1").next_weight_decay(1e6) == 0.0
    assert made("0.3.0").next_weight_decay(2.0) == pytest.approx(0.03 / 4)


def test_distances_are_rounded_as_released_or_exact() -> None:
    def distance(released: bool, query: int, key: int) -> float:
        tables = causal_distances(1024, 1024, released=released, dtype=torch.float32, device=torch.device("cpu"))
        return float(tables.distance[query, key])

    assert distance(False, 1, 0) == -1.0 and distance(False, 1000, 1) == -999.0
    # Position 1 is -1022 from the end, which bfloat16 rounds to -1024; position 2 is -1021, rounded to -1020.
    assert [distance(True, query, 0) for query in range(4)] == [0.0, 0.0, -4.0, -4.0]
    assert distance(True, 1023, 1022) == -1.0


def test_distances_are_the_same_below_256() -> None:
    tables = [
        causal_distances(100, 256, released=released, dtype=torch.float64, device=torch.device("cpu"))
        for released in (True, False)
    ]
    assert torch.equal(tables[0].distance, tables[1].distance)


def test_attention_is_torchs_with_a_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 16, 8, dtype=torch.float64, generator=generator) for _ in range(2))
    value = torch.randn(2, 3, 16, 5, dtype=torch.float64, generator=generator)
    slope = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    tables = causal_distances(16, 16, released=False, dtype=torch.float64, device=torch.device("cpu"))
    found = attention(query, key, value, tables.bias(slope))
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=tables.bias(slope))
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), slope)
    assert torch.isfinite(gradient) and gradient != 0


def test_first_values_do_not_depend_on_other_parameters_or_order() -> None:
    shallow, deep = made("0.4.1", depth=1), made("0.4.1", depth=2)
    for recipe in (shallow, deep):
        initialise(recipe, SeededNormals(5))
    first, second = dict(shallow.model.named_parameters()), dict(deep.model.named_parameters())
    assert torch.equal(first["attn_layers.0.expand"], second["attn_layers.0.expand"])
    assert not torch.equal(second["attn_layers.0.expand"], second["attn_layers.1.expand"])
    assert float(first["outputs.weight"].detach().std()) == pytest.approx(0.5 / 8, rel=0.02)


@pytest.mark.parametrize("recipe", ["0.4.1", "0.3.0"])
def test_every_parameter_is_in_one_group_and_set(recipe: str) -> None:
    bound = made(recipe)
    grouped = [parameter for group in bound.parameter_groups() for parameter in group.parameters]
    assert sorted(map(id, grouped)) == sorted(map(id, bound.model.parameters()))
    assert [group.name for group in bound.parameter_groups() if group.decays] == ["decay"]
    drawn = {name for name, _ in bound.model.named_parameters() if bound.initial_std(name) is not None}
    kept = {name for name, _ in bound.model.named_parameters()} - drawn
    assert all("norm" in name or "position_bias" in name or "linear_encoding" in name for name in kept)


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"no recipe '0\.5\.0'"):
        get_recipe("0.5.0")


class BagOfWordsModel(LanguageModel):
    """Predicts the next token from this one alone."""

    def __init__(self, settings: Settings, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, settings.width)
        self.outputs = nn.Linear(settings.width, vocab_size, bias=False)

    @property
    def output_weight(self) -> Tensor:
        return self.outputs.weight

    def hidden_states(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens)


class MadeUpRecipe(Recipe):
    """As small as a recipe can be: constant everything, always two microbatches."""

    adamw_eps = 1e-8

    def build_model(self, vocab_size: int) -> BagOfWordsModel:
        return BagOfWordsModel(self.settings, vocab_size)

    def initial_std(self, name: str) -> float | None:
        return 0.1

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup(
                name="everything",
                parameters=list(self.model.parameters()),
                learning_rate=0.05,
                betas=(0.9, 0.95),
                schedule=lambda step: 1.0,
                decays=True,
            )
        ]

    def next_weight_decay(self, loss: float) -> float:
        return self.settings.weight_decay

    def first_shape(self) -> BatchShape:
        return BatchShape(batch_size=8, sequence_length=self.settings.initial_sequence_length)

    def next_shape(self, step: int, shape: BatchShape) -> BatchShape:
        return shape

    def evaluation_batch_size(self) -> int:
        return 4

    @staticmethod
    def least_capacity(settings: Settings) -> float:
        return 0.0

    def first_accumulation(self) -> Accumulation:
        return Accumulation(divisor=2, level=2.0)

    def step_is_due(self, state: Accumulation, *, microbatch: int, in_step: int) -> bool:
        return in_step == 2

    def wants_grad_norm(self, step: int) -> bool:
        return False

    def next_accumulation(
        self, state: Accumulation, *, step: int, grad_norm: float | None, dither: Dither
    ) -> Accumulation:
        return state


def test_a_recipe_of_ones_own_is_trained_without_a_change_to_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = MappingProxyType({**recipes.RECIPE_CLASSES, "made-up": MadeUpRecipe})
    monkeypatch.setattr(recipes, "RECIPE_CLASSES", classes)
    row = scale.RecipeScale(width=64, depth=1, num_params=100_000)
    monkeypatch.setattr(scale, "RECIPE_SCALES", {**scale.RECIPE_SCALES, "made-up": row})
    reporter = Recorder()
    # from_dict refuses the name, as it is none of the choices that settings.py lists.
    settings = replace(small_settings(max_steps=40, eval_every=20), recipe="made-up", weight_decay=0.01)
    result = train(settings, small_data(), seed=1, device="cpu", reporter=reporter)
    assert result.outcome is Outcome.FINISHED
    losses = [point.loss for point in reporter.points if point.split is Split.VAL]
    assert losses[-1] < 3 and losses[-1] < losses[0]
    assert reporter.points[0].microbatches == 2
    assert reporter.points[0].extra == {"lr_everything": 0.05}
