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

from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.fast_path.device_transfer import Fetched, on_device
from hlbgpt_core.points import Split
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape, Dither, ParameterGroup, Recipe, initialise
from hlbgpt_core.training.batches import Batches
from hlbgpt_core.training.loss import TokenLoss, next_token_loss
from hlbgpt_core.training.optimizers import Optimizers, global_grad_norm

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
        self._optimizers = Optimizers(self._groups, eps=recipe.adamw_eps)
        self.counters = Counters(
            shape=recipe.first_shape(),
            weight_decay=recipe.settings.weight_decay,
            accumulation=recipe.first_accumulation(),
            used_shape=recipe.first_shape(),
            used_weight_decay=recipe.settings.weight_decay,
        )
        self._waited_seconds = 0.0
        self._begun: Tensor | None = None  # the loss of the next step's first microbatch, where that has begun

    def train_step(self, *, measure: bool = False, goes_on: Callable[[int, int], bool] | None = None) -> StepRecord:
        """Run the microbatches of one optimizer step, then the step. With `measure`, accuracy and norm too.

        `goes_on` is given the steps and the tokens that will have been done; where it says that another step follows
        at once, that step's first microbatch is started before this one's losses are waited for, so that a GPU never
        idles. It changes no number.
        """
        before = self.counters
        self._waited_seconds = 0.0
        started = self._clock()
        losses, accuracies = self._accumulate(measure)
        wants_norm = measure or self.recipe.wants_grad_norm(before.step)
        grad_norm = global_grad_norm(self.model) if wants_norm else None
        learning_rates = self._learning_rates_at(before.step)
        self._optimizers.step(learning_rates, before.weight_decay)
        self.model.changed()

        accuracy = [torch.stack(accuracies).mean()] if accuracies else []
        found = Fetched([*losses, *accuracy, *([] if grad_norm is None else [grad_norm])])
        tokens_seen = before.tokens_seen + len(losses) * before.shape.tokens
        accumulation = None
        if not wants_norm and goes_on is not None and goes_on(before.step + 1, tokens_seen):
            accumulation = self._next_accumulation(None)
            self._begun = self._begin_next(before, before.microbatches + len(losses), accumulation)
        # The one place where a step waits for the device.
        numbers = found.numbers()

        norm = None if grad_norm is None else numbers.pop()
        right = numbers.pop() if accuracies else None
        record = StepRecord(
            step=before.step + 1,
            microbatches=tuple(Microbatch(shape=before.shape, loss=loss) for loss in numbers),
            microbatches_so_far=before.microbatches + len(losses),
            tokens_seen=tokens_seen,
            learning_rates=learning_rates,
            weight_decay=before.weight_decay,
            grad_norm=norm,
            accuracy=right,
            seconds=self._clock() - started - self._waited_seconds,
        )
        self.counters = self._counters_after(record, accumulation)
        return record

    def _accumulate(self, measure: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of as many microbatches as the rule wants; their losses and accuracies, on the device."""
        before = self.counters
        losses: list[Tensor] = []
        accuracies: list[Tensor] = []
        # Taken away first: whoever abandons this step makes its first microbatch anew.
        begun, self._begun = self._begun, None
        if begun is None or measure:
            begun = None
            self._optimizers.zero_grad()
        due = False
        while not due:
            self._wait_before_batch(len(losses))
            microbatch = before.microbatches + len(losses)
            if begun is not None and not losses:
                losses.append(begun)
            else:
                result = self._backward(microbatch, before.shape, before.accumulation, measure)
                losses.append(result.loss.detach())
                if result.accuracy is not None:
                    accuracies.append(result.accuracy)
            due = self.recipe.step_is_due(before.accumulation, microbatch=microbatch, in_step=len(losses))
        return losses, accuracies

    def _backward(self, microbatch: int, shape: BatchShape, accumulation: Accumulation, measure: bool) -> TokenLoss:
        """Add the gradients of one microbatch of the run."""
        tokens = on_device(self._batches.training(microbatch, shape), self.device)
        result = next_token_loss(self.model, tokens, with_accuracy=measure)
        (result.loss / accumulation.divisor).backward()  # type: ignore[no-untyped-call]
        return result

    def _begin_next(self, before: Counters, microbatch: int, accumulation: Accumulation) -> Tensor:
        """Start the first microbatch of the step to come; its loss, still on the device."""
        self._optimizers.zero_grad()
        shape = self.recipe.next_shape(before.step, before.shape)
        return self._backward(microbatch, shape, accumulation, measure=False).loss.detach()

    def try_out(self) -> None:
        """Do what a microbatch of the next step's shape does, and forget it: code is compiled, memory is got."""
        self._begun = None
        self._backward(self.counters.microbatches, self.counters.shape, self.counters.accumulation, measure=False)
        self._optimizers.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _wait_before_batch(self, in_step: int) -> None:
        """Whoever is asked may hold the run up for long; that is not training time."""
        asked = self._clock()
        self.before_batch(in_step)
        self._waited_seconds += self._clock() - asked

    def _learning_rates_at(self, step: int) -> dict[str, float]:
        """Every group's learning rate at optimizer step `step`, from 0."""
        return {group.name: group.learning_rate * group.schedule(step) for group in self._groups}

    def _next_accumulation(self, grad_norm: float | None) -> Accumulation:
        """What the rule makes of the step at hand."""
        return self.recipe.next_accumulation(
            self.counters.accumulation, step=self.counters.step, grad_norm=grad_norm, dither=self._dither
        )

    def _counters_after(self, record: StepRecord, accumulation: Accumulation | None) -> Counters:
        """What the rules make of a step; `accumulation` where that rule was asked already."""
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
            accumulation=accumulation or self._next_accumulation(record.grad_norm),
        )

    def evaluate(self, split: Split = Split.VAL) -> Evaluation:
        """Mean loss and accuracy over the batches of the validation or test text, every token weighing the same."""
        batches = self._batches.test() if split is Split.TEST else self._batches.validation()
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        accuracy = torch.zeros_like(loss)
        tokens_total = 0
        with torch.no_grad():
            for number, batch in enumerate(batches):
                self.before_evaluation_batch(number)
                tokens = on_device(batch, self.device)
                result = next_token_loss(self.model, tokens, with_accuracy=True)
                count = tokens[:, 1:].numel()
                loss += result.loss.double() * count
                accuracy += (0.0 if result.accuracy is None else result.accuracy) * count
                tokens_total += count
        return Evaluation(loss=float(loss) / tokens_total, accuracy=float(accuracy) / tokens_total, tokens=tokens_total)

    def decay_learning_rate(self, learning_rates: Mapping[str, float]) -> float:
        """The learning rate of the group that decays, which stands for the run's."""
        return next(learning_rates[group.name] for group in self._groups if group.decays)

    def learning_rates(self) -> dict[str, float]:
        """Every group's learning rate as the last step used it; before the first step, as that will."""
        return self._learning_rates_at(max(self.counters.step - 1, 0))

    def parameter_tensors(self) -> dict[str, Tensor]:
        """The parameters by name."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizers' state: `<parameter>/<what>`. Empty before the first step."""
        return self._optimizers.tensors(self.model)

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
        self.model.changed()
        self._optimizers.restore(self.model, optimizer, self.device)
        self._begun = None
        self.counters = Counters(
            **{
                **state,
                "shape": BatchShape(**state["shape"]),
                "used_shape": BatchShape(**state["used_shape"]),
                "accumulation": Accumulation(**state["accumulation"]),
            }
        )
