"""`python -P -m hlbgpt_core.commands.model_command`: what `hlbq generate` and `hlbq export-model` start.

The queue finds the model's folder; everything that needs torch happens here, in a separate process.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from hlbgpt_core.commands.generation import Sampling, TokenRules, generate
from hlbgpt_core.commands.model_files import ModelFile, build_model, check_target, read_model, write_model
from hlbgpt_core.device import resolve_device
from hlbgpt_core.errors import DataError, HlbqError
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.text.byte_pairs import BytePairTokenizer
from hlbgpt_core.text.data import dataset_tokenizer, load_data
from hlbgpt_core.text.token_cache import default_cache_dir
from hlbgpt_core.text.tokenizer import Tokenizer, load_tokenizer

EXIT_FINE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, and prints errors without a traceback."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "generate":
            _generate(given)
        else:
            _export(Path(given.model), Path(given.to))
    except HlbqError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FINE


def _generate(given: argparse.Namespace) -> None:
    """Print the prompt and the model's continuation."""
    device = resolve_device(_device_name(given.device))
    file = read_model(Path(given.model))
    tokenizer = tokenizer_of(file)
    model = build_model(file, device)
    prompt = [int(token) for token in tokenizer.encode(given.prompt)]
    rules = TokenRules(
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        max_context=file.settings.max_sequence_length,
    )
    sampling = Sampling(length=given.length, temperature=given.temperature, top_k=given.top_k, seed=given.seed)
    tokens = list(generate(model, prompt, sampling, rules))
    text = tokenizer.decode(tokens)
    if given.json:
        ended = "length" if len(tokens) == given.length else "end of text"
        told = {"prompt": given.prompt, "text": text, "tokens": tokens, "ended_by": ended, "origin": dict(file.origin)}
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(given.prompt + text)


def _export(source: Path, target: Path) -> None:
    """Write the model at `source` to the folder `target`, its trained tokenizer with it."""
    check_target(target)
    file = read_model(source)
    write_model(target, file, tokenizer_file=_trained_tokenizer(file))
    print(f"wrote {target}: {', '.join(sorted(path.name for path in target.iterdir()))}")
    print(f"use it: hlbq generate --model {shlex.quote(str(target))}", file=sys.stderr)


def tokenizer_of(file: ModelFile) -> Tokenizer:
    """The tokenizer that the model was trained with. Raises DataError if it is not available."""
    trained = _trained_tokenizer(file)
    if trained is None:
        return load_tokenizer(file.settings.tokenizer, default_cache_dir())
    return BytePairTokenizer(trained, unpadded_vocabulary_size(file.settings.tokenizer))


def _trained_tokenizer(file: ModelFile) -> Path | None:
    """The file of a tokenizer that was trained on the text; None for standard ones.

    Raises DataError if neither the model nor the data has it any more.
    """
    settings = file.settings
    if file.tokenizer_file is not None or not settings.tokenizer.startswith("bpe:"):
        return file.tokenizer_file
    data = load_data(settings.dataset, settings.tokenizer)
    if data.fingerprint != file.origin.get("data_fingerprint"):
        raise DataError(
            f"the text of '{settings.dataset}' has changed since the model was trained, and its tokenizer with it",
            "Bring the old text back.",
        )
    tokenizer = dataset_tokenizer(settings.dataset, settings.tokenizer)
    return tokenizer.path if isinstance(tokenizer, BytePairTokenizer) else None


def _device_name(name: str) -> str:
    """`auto` means the first GPU if there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hlbq", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    generating = commands.add_parser("generate", allow_abbrev=False)
    generating.add_argument("--model", required=True)
    generating.add_argument("--prompt", default="")
    generating.add_argument("--temperature", type=float, default=Sampling.temperature)
    generating.add_argument("--top_k", type=int, default=Sampling.top_k)
    generating.add_argument("--length", type=int, default=Sampling.length)
    generating.add_argument("--seed", type=int, default=Sampling.seed)
    generating.add_argument("--device", default="cpu")
    generating.add_argument("--json", action="store_true")
    exporting = commands.add_parser("export", allow_abbrev=False)
    exporting.add_argument("--model", required=True)
    exporting.add_argument("--to", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
