"""One optimizer step and one evaluation: what a recipe does, without points, limits or checkpoints."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core.batches import Batches
from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.loss import next_token_loss
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape, Dither, ParameterGroup, Recipe, initialise

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Everything that changes from step to step besides tensors. Replaced as a whole when a step is complete.

    `shape` and `weight_decay` are for the next step; `used_shape` and `used_weight_decay` are the last one's.
    """

    step: int = 0
    microbatches: int = 0
    tokens_seen: int = 0
    training_seconds: float = 0.0
    shape: BatchShape
    weight_decay: float
    accumulation: Accumulation
    used_shape: BatchShape
    used_weight_decay: float


@dataclass(frozen=True, kw_only=True)
class Microbatch:
    """One microbatch that was trained on; its loss in nats a token, not divided."""

    shape: BatchShape
    loss: float


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One optimizer step: `step` counts completed steps, this one among them.

    Learning rates (by group) and weight decay are those that the step used. `accuracy` and `grad_norm` are
    None where nobody asked for them. `microbatches_so_far` and `tokens_seen` count from the run's start.
    """

    step: int
    microbatches: tuple[Microbatch, ...]
    microbatches_so_far: int
    tokens_seen: int
    learning_rates: Mapping[str, float]
    weight_decay: float
    grad_norm: float | None
    accuracy: float | None
    seconds: float

    @property
    def loss(self) -> float:
        """Mean loss over the step's microbatches, nats a token."""
        return math.fsum(microbatch.loss for microbatch in self.microbatches) / len(self.microbatches)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over every token of an evaluation; loss in nats a token."""

    loss: float
    accuracy: float
    tokens: int


def unheeded(_: int) -> None:
    """For whoever has nothing to do before a batch."""


class Trainer:
    """A model under training. `train_step()` and `evaluate()` are all of it; both may be called at any time."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        batches: Batches,
        dither: Dither,
        normals: Callable[[str, tuple[int, ...]], NDArray[np.floating]],
        device: torch.device,
        dtype: torch.dtype,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`normals` gives standard normal values for a parameter's name and shape; `clock` gives seconds.

        `before_batch` and `before_evaluation_batch` may be set afterwards: they are called before every batch
        with its number within the step or the evaluation. What they raise abandons the step and leaves no
        trace: counters and parameters stay those of the last complete step.
        """
        self.recipe = recipe
        self.model = recipe.model.to(dtype=dtype)
        initialise(recipe, normals)
        self.model.to(device=device)
        self.device = device
        self._batches = batches
        self._dither = dither
        self.before_batch: Callable[[int], None] = unheeded
        self.before_evaluation_batch: Callable[[int], None] = unheeded
        self._clock = clock
        self._groups: list[ParameterGroup] = recipe.parameter_groups()
        self._optimizer = make_optimizer(self._groups, eps=recipe.adamw_eps)
        self.counters = Counters(
            shape=recipe.first_shape(),
            weight_decay=recipe.settings.weight_decay,
            accumulation=recipe.first_accumulation(),
            used_shape=recipe.first_shape(),
            used_weight_decay=recipe.settings.weight_decay,
        )
        self._waited_seconds = 0.0

    def train_step(self, *, measure: bool = False) -> StepRecord:
        """Run the microbatches of one optimizer step, then the step. With `measure`, accuracy and norm too."""
        before = self.counters
        self._waited_seconds = 0.0
        started = self._clock()
        losses, accuracies = self._accumulate(measure)
        grad_norm = None
        if measure or self.recipe.wants_grad_norm(before.step):
            grad_norm = global_grad_norm(self.model)
        learning_rates = self._set_learning_rates()
        self._optimizer.step()

        # The one place where a step waits for the device.
        microbatches = tuple(Microbatch(shape=before.shape, loss=loss) for loss in torch.stack(losses).tolist())
        norm = None if grad_norm is None else float(grad_norm)
        done = before.microbatches + len(microbatches)
        record = StepRecord(
            step=before.step + 1,
            microbatches=microbatches,
            microbatches_so_far=done,
            tokens_seen=before.tokens_seen + len(microbatches) * before.shape.tokens,
            learning_rates=learning_rates,
            weight_decay=before.weight_decay,
            grad_norm=norm,
            accuracy=float(torch.stack(accuracies).mean()) if accuracies else None,
            seconds=self._clock() - started - self._waited_seconds,
        )
        self.counters = self._counters_after(record)
        return record

    def _accumulate(self, measure: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of as many microbatches as the rule wants; their losses and accuracies, on the device."""
        before = self.counters
        losses: list[Tensor] = []
        accuracies: list[Tensor] = []
        self._optimizer.zero_grad(set_to_none=True)
        due = False
        while not due:
            self._wait_before_batch(len(losses))
            microbatch = before.microbatches + len(losses)
            tokens = self._on_device(self._batches.training(microbatch, before.shape))
            result = next_token_loss(self.model, tokens, with_accuracy=measure)
            (result.loss / before.accumulation.divisor).backward()  # type: ignore[no-untyped-call]
            losses.append(result.loss.detach())
            if result.accuracy is not None:
                accuracies.append(result.accuracy)
            due = self.recipe.step_is_due(before.accumulation, microbatch=microbatch, in_step=len(losses))
        return losses, accuracies

    def _wait_before_batch(self, in_step: int) -> None:
        """Whoever is asked may hold the run up for long; that is not training time."""
        asked = self._clock()
        self.before_batch(in_step)
        self._waited_seconds += self._clock() - asked

    def _set_learning_rates(self) -> dict[str, float]:
        """Set every group's learning rate and weight decay for the step to come; the rates by group."""
        rates = {group.name: group.learning_rate * group.schedule(self.counters.step) for group in self._groups}
        for group, options in zip(self._groups, self._optimizer.param_groups, strict=True):
            options["lr"] = rates[group.name]
            options["weight_decay"] = self.counters.weight_decay if group.decays else 0.0
        return rates

    def _counters_after(self, record: StepRecord) -> Counters:
        """What the rules make of a step."""
        before, recipe = self.counters, self.recipe
        moved = replace(
            before,
            step=record.step,
            microbatches=record.microbatches_so_far,
            tokens_seen=record.tokens_seen,
            training_seconds=before.training_seconds + record.seconds,
            used_shape=before.shape,
            used_weight_decay=before.weight_decay,
        )
        newest = record.microbatches[-1].loss
        if not math.isfinite(newest):
            return moved  # the run ends here; the rules are for finite numbers
        return replace(
            moved,
            shape=recipe.next_shape(before.step, before.shape),
            weight_decay=recipe.next_weight_decay(newest),
            accumulation=recipe.next_accumulation(
                before.accumulation, step=before.step, grad_norm=record.grad_norm, dither=self._dither
            ),
        )

    def evaluate(self) -> Evaluation:
        """Mean loss and accuracy over the validation batches, every token weighing the same."""
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        accuracy = torch.zeros_like(loss)
        tokens_total = 0
        with torch.no_grad():
            for number, batch in enumerate(self._batches.validation()):
                self.before_evaluation_batch(number)
                tokens = self._on_device(batch)
                result = next_token_loss(self.model, tokens, with_accuracy=True)
                count = tokens[:, 1:].numel()
                loss += result.loss.double() * count
                accuracy += (0.0 if result.accuracy is None else result.accuracy) * count
                tokens_total += count
        return Evaluation(loss=float(loss) / tokens_total, accuracy=float(accuracy) / tokens_total, tokens=tokens_total)

    def _on_device(self, batch: NDArray[np.int64]) -> Tensor:
        tokens = torch.from_numpy(batch)
        if self.device.type == "cpu":
            return tokens
        return tokens.pin_memory().to(self.device, non_blocking=True)

    def decay_learning_rate(self, learning_rates: Mapping[str, float]) -> float:
        """The learning rate of the group that decays, which stands for the run's."""
        return next(learning_rates[group.name] for group in self._groups if group.decays)

    def learning_rates(self) -> dict[str, float]:
        """Every group's learning rate as the last step used it; before the first step, as that will."""
        step = max(self.counters.step - 1, 0)
        return {group.name: group.learning_rate * group.schedule(step) for group in self._groups}

    def parameter_tensors(self) -> dict[str, Tensor]:
        """The parameters by name."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state: `<parameter>/<what>`. Empty before the first step."""
        state = self._optimizer.state
        return {
            f"{name}/{what}": value
            for name, parameter in self.model.named_parameters()
            for what, value in state.get(parameter, {}).items()
        }

    def state(self) -> dict[str, Any]:
        """The counters, as JSON can hold them."""
        return asdict(self.counters)

    def restore(
        self, state: Mapping[str, Any], parameters: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]
    ) -> None:
        """Take up what `state`, `parameter_tensors` and `optimizer_tensors` gave.

        Raises CheckpointError where they are not of this model; then the trainer must not be used further.
        """
        own = self.parameter_tensors()
        described = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()}
        offered = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in parameters.items()}
        if described != offered:
            differing = sorted(name for name in described | offered if described.get(name) != offered.get(name))
            raise CheckpointError(
                f"the checkpoint is of another model: it differs in {', '.join(differing[:5])}",
                "Has the model's code changed since the run began? Start the run again.",
            )
        for name, tensor in own.items():
            tensor.copy_(parameters[name])
        by_name = dict(self.model.named_parameters())
        for key, tensor in optimizer.items():
            name, what = key.rsplit("/", 1)
            # AdamW's fused step wants its step counts on the parameter's device, like the rest.
            self._optimizer.state[by_name[name]][what] = tensor.to(self.device)
        self.counters = Counters(
            **{
                **state,
                "shape": BatchShape(**state["shape"]),
                "used_shape": BatchShape(**state["used_shape"]),
                "accumulation": Accumulation(**state["accumulation"]),
            }
        )


def make_optimizer(groups: list[ParameterGroup], *, eps: float) -> torch.optim.AdamW:
    """AdamW over the groups. Learning rates and weight decay are set before every step."""
    return torch.optim.AdamW(
        [{"params": list(group.parameters), "lr": group.learning_rate, "betas": group.betas} for group in groups],
        eps=eps,
        weight_decay=0.0,
        fused=True,
    )


def global_grad_norm(model: torch.nn.Module) -> Tensor:
    """L2 norm over all gradients, accumulated in float64; a scalar on the device."""
    norms = [
        torch.linalg.vector_norm(parameter.grad, dtype=torch.float64)
        for parameter in model.parameters()
        if parameter.grad is not None
    ]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm
