"""Recorded trajectories of the recipes: their file format, and the made-up inputs that they were recorded with.

A file is a JSON object of cases. A case's `config` gives the sizes; batches, first parameters and dither draws
follow from it by numpy's legacy RandomState, whose streams never change.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.settings import Settings, specs
from hlbgpt_core.training.batches import sequences_at

SIZES = ("vocab", "width", "depth", "num_heads", "max_len", "init_len", "growth_steps", "n_train", "steps")
SIZES_041 = ("lr_mult_base", "linear_value", "warmup", "eval_tokens", "n_eval", "tokens_per_batch")
SIZES_030 = ("batch_at_max_len", "total_train_steps", "warmup_percent")
# The order of the groups in a record.
RECORDED_GROUPS = {
    "0.4.1": ("decay", "position_bias", "non_dot_products", "outputs"),
    "0.3.0": ("no_decay", "decay"),
}


class NotATrajectory(HlbqError):
    """The file is not a recorded trajectory."""


def recipe_of(config: Mapping[str, Any]) -> str:
    """Which recipe a record is of: only 0.3.0's fix a batch size at full length."""
    return "0.3.0" if "batch_at_max_len" in config else "0.4.1"


def read_cases(path: Path) -> dict[str, Any]:
    """The cases of a file by name, each of the recorded form. Raises NotATrajectory."""
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
        wrong = first_fault(case)
        if wrong:
            raise NotATrajectory(f"{path}: case '{name}' is not a recorded trajectory: {wrong}", hint)
    return cases


def first_fault(case: Any) -> str:
    """What is wrong with the form of a case, or nothing."""
    if not isinstance(case, dict) or not isinstance(case.get("config"), dict):
        return "it has no config"
    config = case["config"]
    recipe = recipe_of(config)
    for size in SIZES + (SIZES_030 if recipe == "0.3.0" else SIZES_041):
        if not is_number(config.get(size)):
            return f"config.{size} is not a number"
    if not is_number(case.get("num_params")) or not is_names(case.get("parameter_names")):
        return "num_params or parameter_names is missing"
    groups = len(RECORDED_GROUPS[recipe])
    lists: dict[str, Callable[[Any], bool]] = {
        "microbatches": has_numbers("batch_size", "sequence_length", "loss"),
        "optimizer_steps": lambda entry: (
            has_numbers("microbatches_so_far", "grad_norm")(entry)
            and all(is_numbers(entry.get(what), groups) for what in ("lr", "weight_decay"))
        ),
        "dither": has_numbers("p", "draw"),
    }
    if "validation" in case:
        lists["validation"] = has_numbers("after_optimizer_step", "loss", "accuracy")
        if not is_number(case.get("eval_batch_size")) or not is_number(case.get("eval_steps")):
            return "it has validation, but no eval_batch_size and eval_steps"
    for part, fits in lists.items():
        entries = case.get(part)
        if not isinstance(entries, list) or not all(fits(entry) for entry in entries):
            return f"{part} is not a list of the recorded form"
    final = case.get("final_parameters")
    if not isinstance(final, dict) or sorted(final) != sorted(case["parameter_names"]):
        return "final_parameters does not have the parameter_names"
    if not all(has_numbers("sum", "norm")(entry) for entry in final.values()):
        return "final_parameters lacks a sum or a norm"
    return too_short(case)


def too_short(case: Mapping[str, Any]) -> str:
    """Which part of a well-formed case has fewer entries than its steps, or nothing."""
    steps = case["config"]["steps"]
    if not 1 <= steps <= min(len(case["optimizer_steps"]), len(case["dither"])):
        return (
            f"it has {len(case['optimizer_steps'])} optimizer_steps and {len(case['dither'])} draws for {steps} steps"
        )
    if len(case["microbatches"]) < case["optimizer_steps"][steps - 1]["microbatches_so_far"]:
        return "microbatches are missing"
    return ""


def is_number(value: Any) -> bool:
    """Whether JSON gave a number (or a truth value)."""
    return isinstance(value, int | float)


def is_numbers(value: Any, count: int) -> bool:
    """Whether JSON gave a list of `count` numbers."""
    return isinstance(value, list) and len(value) == count and all(is_number(one) for one in value)


def is_names(value: Any) -> bool:
    """Whether JSON gave a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def has_numbers(*names: str) -> Callable[[Any], bool]:
    """A check that a value is an object with a number under each of `names`."""
    return lambda entry: isinstance(entry, dict) and all(is_number(entry.get(name)) for name in names)


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

    def test(self) -> Iterator[NDArray[np.int64]]:
        """None: a record has no test text."""
        return iter(())

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
    # A record may also give settings by their own names.
    own = {name: value for name, value in config.items() if name in specs() and name != "width"}
    return Settings.from_dict({**values, **own})
