"""What a recipe gives to the trainer. The trainer knows nothing else of a recipe.

A recipe is one file with a subclass of `Recipe`: the model, its parameter groups with their schedules, the
weight-decay rule, the batch-shape rule and the accumulation rule. To write your own:

1. write the file here, with a subclass of `Recipe`;
2. give it a name in `RECIPES` of settings.py, its sizes in scale.py, its operations in flops.py;
3. add the name and the class to `RECIPE_CLASSES` in __init__.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hlbgpt_core.fast_path.float8 import Float8Linear, Float8Weight
from hlbgpt_core.settings import Settings


class LanguageModel(nn.Module, ABC):
    """A model of the next token. Output layer and loss stand apart, so that they can be fused.

    A model may know a faster way to the same numbers, such as attention without a dense bias: it takes it where
    `fast` is set. `run_block` calls a block; what is set there instead may be a compiled version. With `float8_output`
    the output layer multiplies factors rounded to float8.
    """

    fast: bool = False
    float8_output: Float8Weight | None = None

    def __init__(self) -> None:
        super().__init__()
        self.run_block: Callable[..., Tensor] = call_block

    @abstractmethod
    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token values (batch, length) to states (batch, length, width), normed and ready for the output layer."""

    def changed(self) -> None:
        """The parameters have other values now: what was made of them is made again."""
        if self.float8_output is not None:
            self.float8_output.changed()

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """The output layer's matrix (vocabulary, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Token values (batch, length) to logits (batch, length, vocabulary)."""
        states = self.hidden_states(tokens)
        if self.float8_output is None:
            return nn.functional.linear(states, self.output_weight)
        logits: Tensor = Float8Linear.apply(states.flatten(0, -2), self.output_weight, self.float8_output)  # type: ignore[no-untyped-call]
        return logits.view(*states.shape[:-1], -1)


def call_block(block: nn.Module, *inputs: object) -> Tensor:
    """What `block` makes of `inputs`."""
    states: Tensor = block(*inputs)
    return states


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that share a learning rate. `schedule` maps the optimizer step, from 0, to a factor on it.

    The learning rate that a step used is recorded as `lr_<name>`. Only groups with `decays` get weight decay. With
    `muon` the group's matrices are stepped by Muon, at the same learning rate, instead of AdamW.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float]
    schedule: Callable[[int], float]
    decays: bool = False
    muon: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Sequences a microbatch, and tokens a sequence."""

    batch_size: int
    sequence_length: int

    @property
    def tokens(self) -> int:
        """Tokens a microbatch."""
        return self.batch_size * self.sequence_length


@dataclass(frozen=True, kw_only=True)
class Accumulation:
    """State of the accumulation rule between two optimizer steps; all of it is in the checkpoint.

    Each microbatch's loss is divided by `divisor`. `level` is the real number that is rounded to it;
    `memory` is whatever else a recipe's rule must remember.
    """

    divisor: int
    level: float
    memory: Mapping[str, float] = field(default_factory=dict)


# Called with the optimizer step (from 0) and a probability; tells whether to round up.
Dither = Callable[[int, float], bool]


class Recipe(ABC):
    """A recipe bound to a run's settings, with its model on the CPU in float32.

    `num_params` counts every trainable parameter once.
    """

    def __init__(self, settings: Settings, *, vocab_size: int, tokens_per_microbatch: int) -> None:
        """`settings` are resolved (depth and width set); `vocab_size` is padded."""
        self.settings = settings
        self.tokens_per_microbatch = tokens_per_microbatch
        self.model = self.build_model(vocab_size)
        self.model.float8_output = Float8Weight() if settings.output_precision == "float8" else None
        self.num_params = sum(parameter.numel() for parameter in self.model.parameters())

    @abstractmethod
    def build_model(self, vocab_size: int) -> LanguageModel:
        """The model. Values that `initial_std` does not draw (norms, biases) are already right in it."""

    @abstractmethod
    def initial_std(self, name: str) -> float | None:
        """Standard deviation of the first values of the parameter `name`; None keeps the model's own."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Every parameter in exactly one group."""

    @property
    @abstractmethod
    def adamw_eps(self) -> float:
        """AdamW's epsilon."""

    @abstractmethod
    def next_weight_decay(self, loss: float) -> float:
        """Weight decay of the next step, from the newest microbatch's undivided loss in nats a token."""

    @abstractmethod
    def first_shape(self) -> BatchShape:
        """Shape of the first microbatch."""

    @abstractmethod
    def next_shape(self, step: int, shape: BatchShape) -> BatchShape:
        """Shape after optimizer step `step` (from 0), which used `shape`."""

    @abstractmethod
    def evaluation_batch_size(self) -> int:
        """Sequences an evaluation batch."""

    @staticmethod
    @abstractmethod
    def least_capacity(settings: Settings) -> float:
        """The smallest gpu_capacity_scalar that resolved `settings` can be trained at."""

    @abstractmethod
    def first_accumulation(self) -> Accumulation:
        """State before the first optimizer step."""

    @abstractmethod
    def step_is_due(self, state: Accumulation, *, microbatch: int, in_step: int) -> bool:
        """Whether the optimizer steps now.

        `microbatch` is the number of the one just done, from 0 since the run began; `in_step` counts those
        of this step, it among them.
        """

    @abstractmethod
    def wants_grad_norm(self, step: int) -> bool:
        """Whether `next_accumulation` needs the gradient norm of optimizer step `step` (from 0)."""

    @abstractmethod
    def next_accumulation(
        self, state: Accumulation, *, step: int, grad_norm: float | None, dither: Dither
    ) -> Accumulation:
        """State after optimizer step `step` (from 0). `grad_norm` is the global L2 norm that it used."""

    def capped(self, microbatches: int) -> int:
        """`microbatches`, at least 1 and at most the setting max_microbatches (0: no limit)."""
        limit = self.settings.max_microbatches
        return max(1, min(microbatches, limit) if limit else microbatches)

    def grown_length(self, step: int, length: int) -> int:
        """Sequence length after optimizer step `step` (from 0): doubled every sequence_growth_steps."""
        settings = self.settings
        if step == 0 or step % settings.sequence_growth_steps or length >= settings.max_sequence_length:
            return length
        return min(2 * length, settings.max_sequence_length)


def initialise(recipe: Recipe, normals: Callable[[str, tuple[int, ...]], object]) -> None:
    """Give the model's parameters their first values: `normals(name, shape)` times the recipe's deviation.

    The values are drawn on the CPU, so they do not depend on the device.
    """
    with torch.no_grad():
        for name, parameter in recipe.model.named_parameters():
            std = recipe.initial_std(name)
            if std is not None:
                parameter.copy_(torch.as_tensor(normals(name, tuple(parameter.shape))) * std)
