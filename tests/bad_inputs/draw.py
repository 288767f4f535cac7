"""Command lines with something wrong in them, drawn from the program's own tree of commands and options."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import typer

from orchestrator.cli.main import build_app
from tests.bad_inputs.values import (
    ENCODINGS,
    ENDINGS,
    ENVIRONMENT,
    KINDS_OF_PLACE,
    LIMITS,
    NUMBERS,
    PLACES,
    SWEEP_FILES,
    TEXTS,
    TOML_VALUES,
)

SWEEP_FILE = "drawn.toml"
# What stands in for an argument or option that a command cannot do without, by the name of its parameter.
_GOOD: Mapping[str, str] = MappingProxyType(
    {
        "sweep": "1",
        "run": "1",
        "value": "5",
        "first": "here",
        "second": "1",
        "name": "here",
        "why": "replay",
        "folder": "new",
        "dataset": "text:text.txt",
        "source": "hlbq.db",
        "destination": "copy.db",
    }
)
_GOOD_FILES = MappingProxyType({"export": "out.csv", "plot": "out.png", "report": "out.html"})
# Options that take a command past its first checks.
_USUAL: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "submit": ("--dataset", "text:text.txt", "--tokenizer", "bytes", "--max_sequence_length", "64"),
        "run": ("--dataset", "text:text.txt", "--tokenizer", "bytes", "--max_sequence_length", "64", "--device", "cpu"),
        "worker": ("--device", "cpu"),
        "sync": ("--sweep", "1", "--wandb_project", "p"),
        "dashboard": ("--port", "0"),
        "generate": ("--model", "folder"),
        **dict.fromkeys(("cancel", "pause", "unpause", "retry", "priority"), ("--sweep", "1", "--yes")),
        "wait": ("--sweep", "2"),
        "data prepare": ("--tokenizer", "bytes"),
    }
)
_PLACE_NAMES = ("file", "db", "csv", "logfile", "output", "state_dir", "model", "folder", "path", "source")
_PLACE_NAMES += ("destination", "dataset")
_SWEEP_COMMANDS = ("submit", "run")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One command line and its surroundings. `wrong` is what was drawn, by name; `plain_words` the line without it."""

    words: Sequence[str]
    wrong: Sequence[tuple[str, str]]
    plain_words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    limits: Mapping[str, int] = field(default_factory=dict)
    sweep_file: str = ""

    @property
    def command(self) -> str:
        """The command's name."""
        return " ".join(self.words[: 2 if self.words[0] in ("data", "db", "code", "launch") else 1])


def draws(seed: int) -> Iterator[Case]:
    """Cases without end, the same for the same seed and the same commands."""
    source = random.Random(seed)
    known = list(commands())
    while True:
        yield _draw(source, *source.choices(known, [min(len(params), 12) for _, params in known])[0])


def commands() -> Iterator[tuple[str, Sequence[Any]]]:
    """Every command with its parameters."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Sequence[Any]]]:
        for child_name, child in getattr(command, "commands", {}).items():
            yield from below(child, f"{name} {child_name}".strip())
        if not hasattr(command, "commands"):
            yield name, [param for param in command.params if not getattr(param, "hidden", False)]

    yield from below(typer.main.get_command(build_app()), "")


def _draw(source: random.Random, name: str, params: Sequence[Any]) -> Case:
    place = source.choices(("words", "environment", "toml", "encoding", "limits"), (80, 7, 7, 3, 3))[0]
    if place == "toml" and name not in _SWEEP_COMMANDS:
        place = "words"
    extra: dict[str, Any] = {}
    wrong: list[tuple[str, str]] = []
    targets = source.sample(params, min(len(params), source.choice((1, 1, 1, 2)))) if place == "words" else []
    words = name.split()
    if place == "environment":
        variable = source.choice(list(ENVIRONMENT))
        value = source.choice(ENVIRONMENT[variable])
        extra["environment"], wrong = {variable: value}, [(variable, value)]
    elif place == "toml":
        value = source.choice(TOML_VALUES)
        extra["sweep_file"] = source.choice(SWEEP_FILES).replace("{}", value)
        wrong = [("TOML", value)]
        words.append(SWEEP_FILE)
    elif place == "encoding":
        extra["encoding"] = source.choice(ENCODINGS)
        wrong = [("encoding", extra["encoding"])]
    elif place == "limits":
        letter = source.choice(list(LIMITS))
        extra["limits"] = {letter: source.choice(LIMITS[letter])}
        wrong = [(f"ulimit -{letter}", str(extra["limits"][letter]))]
    names = [param.name for param in targets]
    if source.random() < 0.7:
        words += _usual(name, names)
    plain = list(words)
    for param in params:
        words += _words(source, param, wrong) if param in targets else _needed(name, param)
        plain += _needed(name, param)
    for switch in ("--json", "--yes"):
        if any(switch in param.opts for param in params) and switch not in words and source.random() < 0.3:
            words.append(switch)
            plain.append(switch)
    return Case(words=words, wrong=wrong, plain_words=plain, **extra)


def _usual(name: str, drawn: Sequence[str]) -> list[str]:
    kept, usual = [], _USUAL.get(name, ())
    for place, word in enumerate(usual):
        if word.startswith("--") and word[2:] not in drawn:
            kept += [word, *(one for one in usual[place + 1 : place + 2] if not one.startswith("--"))]
    return kept


def _needed(name: str, param: Any) -> list[str]:
    """An argument or option that must be there."""
    given = name in _GOOD_FILES and param.name == "file"
    if not (param.required or given):
        return []
    value = _GOOD_FILES.get(name, "") if given else _GOOD.get(param.name, "1")
    return [value] if _is_argument(param) else [f"{param.opts[0]}={value}"]


def _words(source: random.Random, param: Any, wrong: list[tuple[str, str]]) -> list[str]:
    if getattr(param, "is_flag", False):
        wrong.append((param.opts[0], ""))
        return [source.choice((param.opts[0], f"{param.opts[0]}={source.choice(('true', 'maybe', '', '1'))}"))]
    value = _value(source, param)
    wrong.append((param.name if _is_argument(param) else param.opts[0], value))
    if _is_argument(param):
        return [value]
    more = [_value(source, param)] if param.multiple and source.random() < 0.2 else []
    return [f"{param.opts[0]}={value}", *more] if source.random() < 0.7 else [param.opts[0], value]


def _value(source: random.Random, param: Any) -> str:
    annotation = str(param.type_descriptor.annotation)
    kinds = ("numbers", "texts", "places")
    if "int" in annotation or "float" in annotation or str(param.metavar).startswith(("INT", "NUMBER", "0|1")):
        kind = source.choices(kinds, (8, 1, 1))[0]
    elif "Path" in annotation or param.name in _PLACE_NAMES:
        kind = source.choices(kinds, (1, 2, 17))[0]
    else:
        kind = source.choices(kinds, (2, 7, 1))[0]
    if kind == "numbers":
        return source.choice(NUMBERS)
    if kind == "texts":
        return source.choice(TEXTS).translate({0: None, 0xD800: None})  # no command line holds them
    # Names that fit the option come first: what is refused for its ending alone tries nothing.
    found = _place(source)
    return f"text:{found}" if param.name == "dataset" else found


def _place(source: random.Random) -> str:
    if source.random() < 0.35:
        return source.choice(PLACES)
    return source.choice(KINDS_OF_PLACE) + source.choice(ENDINGS)


def _is_argument(param: Any) -> bool:
    return not param.opts[0].startswith("-")
