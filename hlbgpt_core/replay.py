"""Walk a recorded trajectory of a recipe through the trainer, and say how far it strays.

    python -m hlbgpt_core.replay FILE.json [--precision float64|float32] [--fast]

prints the largest deviation of each quantity in each case of the file. Exit code 0: all are within the tolerance; 1:
one is not; 2: the file is not a recorded trajectory. The file's rules make the batches, first parameters and dither
draws; everything else is the trainer's own.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.training.training_step import StepRecord, Trainer
from hlbgpt_core.training.trajectory import (
    RECORDED_GROUPS,
    RecordedBatches,
    RecordedDither,
    RecordedNormals,
    read_cases,
    recipe_of,
    settings_of,
)

FLOAT32_TOLERANCE = 1e-3
FLOAT64_TOLERANCE = 1e-9
# Even in float64, the recipes round these to float32 on the way.
ROUNDED_TOLERANCE = 1e-6
ROUNDED = {"0.4.1": {"dither probability", "validation loss"}, "0.3.0": {"dither probability", "gradient norm"}}


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The largest deviation of one quantity: relative, or absolute for probabilities and accuracies."""

    quantity: str
    largest: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether the tolerance holds."""
        return self.largest <= self.tolerance


def replay_case(case: Mapping[str, Any], precision: str, *, fast: bool = False) -> list[Deviation]:
    """Train as `case` was trained and compare; with `fast`, by the fast path."""
    config, steps = case["config"], case["config"]["steps"]
    recipe_name = recipe_of(config)
    gathered = Gathered(recipe_name, precision)
    recipe = get_recipe(recipe_name)(
        settings_of(config), vocab_size=config["vocab"], tokens_per_microbatch=config.get("tokens_per_batch", 0)
    )
    own_names = [name for name, _ in recipe.model.named_parameters()]
    gathered.exact("parameter names", sorted(case["parameter_names"]) == sorted(own_names))
    if not all(deviation.within for deviation in gathered.deviations()):
        return gathered.deviations()
    recipe.model.fast = fast
    dither = RecordedDither()
    trainer = Trainer(
        recipe,
        batches=RecordedBatches(
            config, eval_batch_size=case.get("eval_batch_size", 0), eval_steps=case.get("eval_steps", 0)
        ),
        dither=dither,
        normals=RecordedNormals(case["parameter_names"]),
        device=torch.device("cpu"),
        dtype=getattr(torch, precision),
    )
    gathered.exact("number of parameters", case["num_params"] == trainer.recipe.num_params)
    validation = {entry["after_optimizer_step"]: entry for entry in case.get("validation", ())}
    for number, recorded in enumerate(case["optimizer_steps"], start=1):
        record = trainer.train_step(measure=True)
        if number <= steps:
            gathered.step(record, recorded, case["microbatches"])
            if not math.isfinite(record.loss):
                return gathered.deviations()
            gathered.draw(dither.asked[-1], case["dither"][number - 1])
        if number in validation:
            evaluation = trainer.evaluate()
            gathered.relative("validation loss", evaluation.loss, validation[number]["loss"])
            gathered.absolute("validation accuracy", evaluation.accuracy, validation[number]["accuracy"])
    for name, tensor in trainer.parameter_tensors().items():
        gathered.parameter(tensor, case["final_parameters"][name])
    return gathered.deviations()


class Gathered:
    """The largest deviation of each quantity so far."""

    def __init__(self, recipe: str, precision: str) -> None:
        self._recipe, self._precision = recipe, precision
        self._largest: dict[str, float] = {}

    def absolute(self, quantity: str, found: float, recorded: float) -> None:
        """Note |found - recorded|."""
        deviation = abs(found - recorded)
        # A NaN compares as neither larger nor smaller: it must not pass unnoticed.
        deviation = math.inf if math.isnan(deviation) else deviation
        self._largest[quantity] = max(deviation, self._largest.get(quantity, 0.0))

    def relative(self, quantity: str, found: float, recorded: float, *, to: float | None = None) -> None:
        """Note the deviation relative to `to`, by default to what was recorded."""
        scale = abs(recorded if to is None else to) or 1.0
        self.absolute(quantity, found / scale, recorded / scale)

    def exact(self, quantity: str, same: bool) -> None:
        """Note what must be the same: a deviation of 0 or infinity."""
        self.absolute(quantity, 0.0 if same else math.inf, 0.0)

    def step(self, record: StepRecord, recorded: Mapping[str, Any], microbatches: Sequence[Mapping[str, Any]]) -> None:
        """Compare an optimizer step and its microbatches."""
        self.exact("microbatches so far", record.microbatches_so_far == recorded["microbatches_so_far"])
        first = record.microbatches_so_far - len(record.microbatches)
        for found, expected in zip(record.microbatches, microbatches[first:], strict=False):
            shape = BatchShape(batch_size=expected["batch_size"], sequence_length=expected["sequence_length"])
            self.exact("batch size and length", found.shape == shape)
            self.relative("microbatch loss", found.loss, expected["loss"])
        self.relative("gradient norm", record.grad_norm or 0.0, recorded["grad_norm"])
        groups = RECORDED_GROUPS[self._recipe]
        for group, rate, decay in zip(groups, recorded["lr"], recorded["weight_decay"], strict=True):
            self.relative("learning rate", record.learning_rates[group], rate)
            self.relative("weight decay", record.weight_decay if group == "decay" else 0.0, decay)

    def draw(self, found: tuple[float, bool], recorded: Mapping[str, Any]) -> None:
        """Compare a dither draw."""
        self.absolute("dither probability", found[0], recorded["p"])
        self.exact("dither draw", found[1] == bool(recorded["draw"]))

    def parameter(self, tensor: torch.Tensor, recorded: Mapping[str, float]) -> None:
        """Compare a parameter's sum and norm, both relative to the norm: some sums nearly cancel."""
        exact = tensor.double()
        self.relative("parameter sum", float(exact.sum()), recorded["sum"], to=recorded["norm"])
        self.relative("parameter norm", float(exact.norm()), recorded["norm"])

    def deviations(self) -> list[Deviation]:
        """Every quantity's largest deviation, in the order in which they first came."""
        return [
            Deviation(quantity=quantity, largest=largest, tolerance=self._tolerance(quantity))
            for quantity, largest in self._largest.items()
        ]

    def _tolerance(self, quantity: str) -> float:
        if self._precision == "float32":
            return FLOAT32_TOLERANCE
        return ROUNDED_TOLERANCE if quantity in ROUNDED[self._recipe] else FLOAT64_TOLERANCE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hlbgpt_core.replay", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path, help="recorded trajectories, JSON")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--fast", action="store_true", help="train by the fast path instead of the plain one")
    options = parser.parse_args(arguments)
    all_within = True
    try:
        for name, case in read_cases(options.file).items():
            all_within &= print_case(name, case, options.precision, fast=options.fast)
    except HlbqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all_within else 1


def print_case(name: str, case: Mapping[str, Any], precision: str, *, fast: bool = False) -> bool:
    """Replay one case and print a line per quantity; returns whether all are within the tolerance."""
    deviations = replay_case(case, precision, fast=fast)
    print(f"{name} ({recipe_of(case['config'])}, {precision}{', fast path' if fast else ''})")
    for deviation in deviations:
        verdict = "ok" if deviation.within else "PAST THE TOLERANCE"
        print(f"  {deviation.quantity:<22} {deviation.largest:9.2e}  (tolerance {deviation.tolerance:.0e})  {verdict}")
    return all(deviation.within for deviation in deviations)


if __name__ == "__main__":
    sys.exit(main())
