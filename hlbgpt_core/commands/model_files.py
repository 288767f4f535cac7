"""Models on disk: a run's checkpoint, an exported folder, or a file of parameters from elsewhere.

An exported folder holds model.safetensors, settings.json and, for a tokenizer that was trained on the text,
tokenizer.json. Only tensors are ever unpickled.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hlbgpt_core import scale
from hlbgpt_core.errors import CheckpointError, SettingsError
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import LanguageModel
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.checkpoint import FORMAT as CHECKPOINT_FORMAT
from hlbgpt_core.training.checkpoint import MANIFEST, MODEL, on_cpu, read_hashed

FORMAT = "hlbq-model"
FORMAT_VERSION = 1
SETTINGS, TOKENIZER = "settings.json", "tokenizer.json"
# Released checkpoints of hlb-gpt keep all their parameters under one name.
RELEASED_PREFIX = "net_dict."
PICKLE_ENDINGS = (".pt", ".pth", ".bin")
HOW_TO_CONVERT = (
    "A file with a whole module can run any code when it is read, so hlbq does not read it. Where it was made, and "
    "only if you trust it, save its parameters alone:\n"
    "  python -c \"import torch; torch.save(torch.load('OLD.pt', weights_only=False).state_dict(), 'NEW.pt')\""
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFile:
    """A model's parameters by name, on the CPU, with the settings that say what they are part of.

    `origin` says where they come from (step, seed, data_fingerprint), as far as known; `tokenizer_file` is the trained
    tokenizer beside the model.
    """

    parameters: Mapping[str, Tensor]
    settings: Settings
    origin: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_file: Path | None = None


def read_model(path: Path) -> ModelFile:
    """The model at `path`: a checkpoint's folder, an exported folder, or a file of parameters.

    Raises CheckpointError if there is none or it is incomplete; SettingsError for settings of another program.
    """
    if path.is_dir():
        if (path / MANIFEST).exists():
            return _read_checkpoint(path)
        if (path / MODEL).exists() and (path / SETTINGS).exists():
            return _read_parameters(path / MODEL)
        raise CheckpointError(
            f"'{path}' holds no model: neither {MANIFEST} nor {MODEL} with {SETTINGS}",
            "Name a folder that `hlbq export-model` made, or a file of parameters (.safetensors, .pt).",
        )
    if not path.exists():
        raise CheckpointError(f"there is no model at '{path}'", "Name a folder of hlbq export-model, or a file.")
    return _read_parameters(path)


def build_model(file: ModelFile, device: torch.device) -> LanguageModel:
    """The model with the file's parameters on `device`: in their own format on a GPU, at least float32 on a CPU.

    Raises CheckpointError if settings and parameters do not match, SettingsError if the settings contradict each other.
    """
    settings = scale.resolve(file.settings)
    sizes = scale.check(settings)
    recipe = get_recipe(settings.recipe)(
        settings, vocab_size=sizes.vocab_size, tokens_per_microbatch=sizes.microbatch_tokens
    )
    own = dict(recipe.model.named_parameters())
    described = {name: tuple(parameter.shape) for name, parameter in own.items()}
    offered = {name: tuple(tensor.shape) for name, tensor in file.parameters.items()}
    if described != offered:
        name = min(name for name in described | offered if described.get(name) != offered.get(name))
        raise CheckpointError(
            f"the parameters are not those of recipe {settings.recipe} at depth {settings.depth}, "
            f"width {settings.width}, tokenizer {settings.tokenizer}: {name} has shape {offered.get(name)}, "
            f"not {described.get(name)}",
            f"Put a {SETTINGS} with the model's settings beside its file.",
        )
    dtype = next(iter(file.parameters.values())).dtype
    if device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        dtype = torch.float32
    recipe.model.to(dtype=dtype)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(file.parameters[name])
    return recipe.model.to(device=device).eval()


def write_model(folder: Path, file: ModelFile, *, tokenizer_file: Path | None = None) -> None:
    """Write an exported folder; it appears complete or not at all. `tokenizer_file` is copied into it.

    Raises CheckpointError if `folder` exists and is not empty, or if writing fails.
    """
    from safetensors.torch import save

    check_target(folder)
    temporary = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    described = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "settings": file.settings.to_dict(),
        "origin": dict(file.origin),
    }
    try:
        temporary.mkdir(parents=True)
        tensors = {name: on_cpu(tensor) for name, tensor in file.parameters.items()}
        (temporary / MODEL).write_bytes(save(tensors, metadata={"format": "pt"}))
        (temporary / SETTINGS).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        if tokenizer_file is not None:
            shutil.copyfile(tokenizer_file, temporary / TOKENIZER)
        temporary.rename(folder)  # onto an empty folder too
    except OSError as error:
        raise CheckpointError(
            f"the folder '{folder}' cannot be written: {error.strerror or error}", "Name another folder."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(folder: Path) -> None:
    """Raise CheckpointError unless `folder` is a place for an exported model: nothing there, or an empty folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CheckpointError(f"'{folder}' exists, and is not a folder", "Name a new folder.")
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"the folder '{folder}' is not empty", "Name a new folder, or empty this one first.")


def _read_checkpoint(folder: Path) -> ModelFile:
    """The parameters of a checkpoint, checked against its manifest."""
    manifest = _read_json(folder / MANIFEST)
    try:
        if manifest["format"] != CHECKPOINT_FORMAT:
            raise CheckpointError(f"'{folder}' is not a checkpoint of hlbq")
        identity = manifest["identity"]
        parameters = _parse_safetensors(read_hashed(folder / MODEL, manifest["files"][MODEL]), folder / MODEL)
        origin = {"step": manifest["step"], "seed": identity["seed"], "data_fingerprint": identity["data_fingerprint"]}
        settings = Settings.from_dict(identity["settings"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint '{folder}' cannot be read: {error!r}") from error
    return ModelFile(parameters=parameters, settings=settings, origin=origin)


def _read_parameters(path: Path) -> ModelFile:
    """A file of parameters, with the settings beside it; without it, settings derived from its shapes."""
    tensors = _read_pickled_tensors(path) if path.suffix in PICKLE_ENDINGS else _read_safetensors(path)
    parameters = {name.removeprefix(RELEASED_PREFIX): tensor for name, tensor in tensors.items()}
    beside = path.with_name(SETTINGS)
    if not beside.exists():
        return ModelFile(parameters=parameters, settings=settings_of(parameters, path))
    described = _read_json(beside)
    settings, origin = described.get("settings", described), described.get("origin", {})
    tokenizer_file = path.with_name(TOKENIZER)
    return ModelFile(
        parameters=parameters,
        settings=Settings.from_dict(settings),
        origin=origin,
        tokenizer_file=tokenizer_file if tokenizer_file.exists() else None,
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return _parse_safetensors(path.read_bytes(), path)
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}") from None


def _parse_safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise CheckpointError(f"'{path}' cannot be read as safetensors: {error}") from None
    return tensors


def _read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of torch.save. Raises CheckpointError if it holds anything else."""
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"'{path}' holds more than tensors", HOW_TO_CONVERT) from None
    except Exception as error:  # a damaged file can make the library raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"'{path}' cannot be read: {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()) or not found:
        raise CheckpointError(f"'{path}' holds no state dict: names with a tensor each", HOW_TO_CONVERT)
    return {str(name): tensor for name, tensor in found.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"'{path}' is not a JSON object")
    return found


def settings_of(parameters: Mapping[str, Tensor], path: Path) -> Settings:
    """Settings of recipe 0.4.1 from the shapes of its parameters; the others stay at their defaults.

    Raises CheckpointError if the names or shapes are not those of that recipe.
    """
    try:
        vocab_size, width = parameters["embedding.weight"].shape
        rows, inner = parameters["attn_layers.0.expand"].shape[0], parameters["attn_layers.0.project"].shape[1]
        blocks = {found.group(1) for name in parameters if (found := re.match(r"attn_layers\.(\d+)\.", name))}
        settings = Settings.from_dict(
            {
                "depth": len(blocks),
                "width": width,
                "expand_factor": inner // width,
                "qk_dim_div": width // ((rows - 2 * inner) // 2),
                "tokenizer": _tokenizer_of(vocab_size),
            }
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError, SettingsError):
        raise CheckpointError(
            f"'{path}' does not say its settings: its names and shapes are not those of recipe 0.4.1",
            f'Put a {SETTINGS} beside it, such as: {{"recipe": "0.3.0", "depth": 6, "width": 384}}',
        ) from None
    return scale.resolve(settings)


def _tokenizer_of(vocab_size: int) -> str:
    """The tokenizer whose padded vocabulary has this size; the first of several. Raises KeyError for none."""
    for name in ("gpt2", "bytes", *scale.TIKTOKEN_VOCABULARIES):
        if vocab_size == scale.vocabulary_size(name):
            return name
    raise KeyError(vocab_size)
