"""Walk a recorded trajectory of a recipe through the trainer, and say how far it strays.

    python -m hlbgpt_core.replay FILE.json [--precision float64|float32]

prints the largest deviation of each quantity in each case of the file. Exit code 0: all within the
tolerance; 1: one is past it; 2: the file is not a recorded trajectory. The batches, first parameters and
dither draws are made by the rules that such files are recorded with; everything else is the trainer's own.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlbgpt_core.batches import sequences_at
from hlbgpt_core.errors import HlbqError
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.settings import Settings
from hlbgpt_core.training_step import StepRecord, Trainer

FLOAT32_TOLERANCE = 1e-3
FLOAT64_TOLERANCE = 1e-9
# In float64 too, the recipes round these to float32 on the way.
ROUNDED_TOLERANCE = 1e-6
ROUNDED = {"0.4.1": {"dither probability", "validation loss"}, "0.3.0": {"dither probability", "gradient norm"}}
# The order of the groups in a record.
RECORDED_GROUPS = {
    "0.4.1": ("decay", "position_bias", "non_dot_products", "outputs"),
    "0.3.0": ("no_decay", "decay"),
}


class NotATrajectory(HlbqError):
    """The file is not a recorded trajectory."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The largest deviation of one quantity: relative, but absolute for probabilities and accuracies."""

    quantity: str
    largest: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether the tolerance holds (a NaN is past it)."""
        return self.largest <= self.tolerance


def made_up_tokens(seed: int, count: int, vocab: int) -> NDArray[np.int64]:
    """x_0 = 1, x_{i+1} = (5 x_i + 17 + noise_i) mod vocab, noise from {0, 1, 2}."""
    noise = np.random.RandomState(seed).randint(0, 3, size=count)
    tokens = np.empty(count, dtype=np.int64)
    value = 1
    for index in range(count):
        tokens[index] = value
        value = (5 * value + 17 + int(noise[index])) % vocab
    return tokens


class RecordedBatches:
    """The batches of a record: microbatch k from seed 20000 + k, validation batch j from 50000 + j."""

    def __init__(self, config: Mapping[str, Any], *, eval_batch_size: int, eval_steps: int) -> None:
        self._train = made_up_tokens(1, config["n_train"], config["vocab"])
        self._val = made_up_tokens(2, config.get("n_eval", 0), config["vocab"])
        self._length = config["max_len"]
        self._eval_batch_size, self._eval_steps = eval_batch_size, eval_steps

    def training(self, microbatch: int, shape: BatchShape) -> NDArray[np.int64]:
        """Tokens (batch, length + 1) of microbatch number `microbatch`."""
        return self._draw(self._train, 20_000 + microbatch, shape)

    def validation(self) -> Iterator[NDArray[np.int64]]:
        """The recorded evaluation's batches."""
        shape = BatchShape(batch_size=self._eval_batch_size, sequence_length=self._length)
        for number in range(self._eval_steps):
            yield self._draw(self._val, 50_000 + number, shape)

    @staticmethod
    def _draw(tokens: NDArray[np.int64], seed: int, shape: BatchShape) -> NDArray[np.int64]:
        starts = np.random.RandomState(seed).randint(0, len(tokens) - shape.sequence_length - 1, size=shape.batch_size)
        return sequences_at(tokens, starts, shape.sequence_length)


class RecordedNormals:
    """First values of a record: the k-th parameter name in sorted order from seed 1000 + k."""

    def __init__(self, names: Sequence[str]) -> None:
        self._index = {name: number for number, name in enumerate(sorted(names))}

    def __call__(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normal values of the parameter `name`."""
        return np.random.RandomState(1000 + self._index[name]).standard_normal(shape)


class RecordedDither:
    """The draws of a record: one RandomState(777), one draw an optimizer step. Keeps what it was asked."""

    def __init__(self) -> None:
        self._generator = np.random.RandomState(777)
        self.asked: list[tuple[float, bool]] = []

    def __call__(self, step: int, probability: float) -> bool:
        """True with `probability`."""
        drawn = bool(self._generator.uniform() < probability)
        self.asked.append((probability, drawn))
        return drawn


def recipe_of(config: Mapping[str, Any]) -> str:
    """Which recipe a record is of: only 0.3.0's fix a batch size at full length."""
    return "0.3.0" if "batch_at_max_len" in config else "0.4.1"


def settings_of(config: Mapping[str, Any]) -> Settings:
    """The settings that a record's `config` stands for."""
    values: dict[str, Any] = {
        "recipe": recipe_of(config),
        "depth": config["depth"],
        "width": config["width"],
        "num_heads": config["num_heads"],
        "max_sequence_length": config["max_len"],
        "initial_sequence_length": config["init_len"],
        "sequence_growth_steps": config["growth_steps"],
    }
    if recipe_of(config) == "0.3.0":
        values |= {
            "total_train_steps": config["total_train_steps"],
            "warmup_percent": config["warmup_percent"],
            "gpu_capacity_scalar": config["batch_at_max_len"] / 64,
        }
    else:
        values |= {
            "linear_value": config["linear_value"],
            "lr_mult": config["lr_mult_base"],
            "warmup_steps": config["warmup"],
            "num_eval_tokens": config["eval_tokens"],
        }
    return Settings.from_dict(values)


def replay_case(case: Mapping[str, Any], precision: str) -> list[Deviation]:
    """Train as `case` was trained and compare. Raises KeyError or TypeError where the case lacks something."""
    config, steps = case["config"], case["config"]["steps"]
    recipe_name = recipe_of(config)
    dither = RecordedDither()
    trainer = Trainer(
        get_recipe(recipe_name)(
            settings_of(config),
            vocab_size=config["vocab"],
            tokens_per_microbatch=config.get("tokens_per_batch", 0),
        ),
        batches=RecordedBatches(
            config, eval_batch_size=case.get("eval_batch_size", 0), eval_steps=case.get("eval_steps", 0)
        ),
        dither=dither,
        normals=RecordedNormals(case["parameter_names"]),
        device=torch.device("cpu"),
        dtype=getattr(torch, precision),
    )
    gathered = Gathered(recipe_name, precision)
    gathered.exact("parameter names", sorted(case["parameter_names"]) == sorted(trainer.parameter_tensors()))
    gathered.exact("number of parameters", case["num_params"] == trainer.recipe.num_params)
    validation = {entry["after_optimizer_step"]: entry for entry in case.get("validation", ())}
    for number, recorded in enumerate(case["optimizer_steps"], start=1):
        record = trainer.train_step(measure=True)
        if number <= steps:
            gathered.step(record, recorded, case["microbatches"])
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
        # Written so that a NaN, once seen, stays.
        if not deviation <= self._largest.get(quantity, -1.0):
            self._largest[quantity] = deviation

    def relative(self, quantity: str, found: float, recorded: float, *, to: float | None = None) -> None:
        """Note the deviation relative to `to`, by default to what was recorded."""
        scale = abs(recorded if to is None else to) or 1.0
        self.absolute(quantity, found / scale, recorded / scale)

    def exact(self, quantity: str, same: bool) -> None:
        """Note what must be the same: a deviation of 0 or infinity."""
        self.absolute(quantity, 0.0 if same else float("inf"), 0.0)

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


def read_cases(path: Path) -> dict[str, Any]:
    """The cases of a file by name. Raises NotATrajectory."""
    hint = "Give a JSON file of recorded trajectories: an object of cases, each with a config and its records."
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotATrajectory(f"{path}: {error.strerror or error}", hint) from error
    except (ValueError, RecursionError) as error:
        raise NotATrajectory(f"{path} is not JSON: {error}", hint) from error
    if not isinstance(cases, dict) or not cases:
        raise NotATrajectory(f"{path} holds no cases", hint)
    for name, case in cases.items():
        wanted = ("config", "parameter_names", "num_params", "microbatches", "optimizer_steps", "dither")
        missing = [part for part in (*wanted, "final_parameters") if not isinstance(case, dict) or part not in case]
        if missing:
            raise NotATrajectory(f"{path}: case '{name}' has no {', '.join(missing)}", hint)
    return cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hlbgpt_core.replay", description=__doc__.split("\n", 1)[0])
    parser.add_argument("file", type=Path, help="recorded trajectories, JSON")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    options = parser.parse_args(arguments)
    all_within = True
    try:
        for name, case in read_cases(options.file).items():
            all_within &= print_case(options.file, name, case, options.precision)
    except HlbqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all_within else 1


def print_case(path: Path, name: str, case: Mapping[str, Any], precision: str) -> bool:
    """Replay one case and print a line a quantity; whether all are within the tolerance."""
    try:
        deviations = replay_case(case, precision)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise NotATrajectory(
            f"{path}: case '{name}' is not a recorded trajectory: {type(error).__name__} {error}",
            "Every part of a case must have the recorded form.",
        ) from error
    print(f"{name} ({recipe_of(case['config'])}, {precision})")
    for deviation in deviations:
        verdict = "ok" if deviation.within else "PAST THE TOLERANCE"
        print(f"  {deviation.quantity:<22} {deviation.largest:9.2e}  (tolerance {deviation.tolerance:.0e})  {verdict}")
    return all(deviation.within for deviation in deviations)


if __name__ == "__main__":
    sys.exit(main())
