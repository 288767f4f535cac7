"""Checkpoints on disk: tensors as safetensors, everything else as JSON, whole or not at all.

A checkpoint is a folder `checkpoints/<uid>/<fence>-<step>` of the state folder with model.safetensors,
optimizer.safetensors and manifest.json; `checkpoints/<uid>/best` is that of the best evaluation, its optimizer
left out. The manifest holds the sha256 of the tensor files, and whoever keeps the checkpoint's place holds the
sha256 of the manifest. It is written beside under another name, flushed to the disk and renamed, so a folder of
the final name is complete.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.points import SavedCheckpoint
from hlbgpt_core.private_files import FILE_MODE, FOLDER_MODE, sync_folder
from hlbgpt_core.settings import DEFAULT_RECIPE, defaults

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "hlbq-checkpoint"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
START_ANEW = "An older checkpoint is taken if there is one; else the run starts from step 0."


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Where a run's checkpoints go and how often one is made, by `clock`.

    With `keep_last` one is made at the end of a finished run too, with `keep_best` at each evaluation that is
    better than all before it.
    """

    state_folder: Path
    uid: str
    fence: int
    every_seconds: float
    keep_last: bool = False
    keep_best: bool = False
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What a checkpoint holds. `identity` must be the same where it is taken up; `state` is the trainer's."""

    step: int
    identity: Mapping[str, Any]
    state: Mapping[str, Any]
    parameters: "Mapping[str, Tensor]"
    optimizer: "Mapping[str, Tensor]"


def write_checkpoint(checkpointing: Checkpointing, checkpoint: Checkpoint, *, name: str = "") -> SavedCheckpoint:
    """Write `checkpoint` as `name` (default: `<fence>-<step>`), in the place of one that is there.

    It is whole on disk when this returns. Raises OSError, and then leaves what was there before.
    """
    from safetensors.torch import save

    relative = PurePosixPath("checkpoints", checkpointing.uid, name or f"{checkpointing.fence}-{checkpoint.step}")
    folder = checkpointing.state_folder / relative
    temporary = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    for missing in (folder.parent.parent, folder.parent):  # mkdir(parents=True) gives its mode to the last one only
        missing.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=FOLDER_MODE)
        hashes = {
            # Serialised in memory, so that a full disk shows as an OSError of our own write.
            name: write_flushed(temporary / name, save({key: on_cpu(tensor) for key, tensor in tensors.items()}))
            for name, tensors in ((MODEL, checkpoint.parameters), (OPTIMIZER, checkpoint.optimizer))
        }
        manifest = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "step": checkpoint.step,
            "files": hashes,
            "identity": dict(checkpoint.identity),
            "state": dict(checkpoint.state),
        }
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
        sha256 = write_flushed(temporary / MANIFEST, text.encode())
        sync_folder(temporary)
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
    return SavedCheckpoint(path=str(relative), sha256=sha256, step=checkpoint.step)


def read_checkpoint(state_folder: Path, saved: SavedCheckpoint) -> Checkpoint:
    """Read `saved`, on the CPU. Raises CheckpointError where anything is missing, cut short or altered."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = inside(state_folder, saved)
    manifest_bytes = read_hashed(folder / MANIFEST, saved.sha256)
    try:
        manifest = json.loads(manifest_bytes)
        if (manifest["format"], manifest["version"]) != (FORMAT, FORMAT_VERSION):
            raise CheckpointError(f"checkpoint '{folder}' is of another version of hlbq", START_ANEW)
        parameters, optimizer = (
            load(read_hashed(folder / name, manifest["files"][name])) for name in (MODEL, OPTIMIZER)
        )
        return Checkpoint(
            step=manifest["step"],
            identity=manifest["identity"],
            state=manifest["state"],
            parameters=parameters,
            optimizer=optimizer,
        )
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{folder}' cannot be read: {error}", START_ANEW) from error


def check_identity(checkpoint: Checkpoint, expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError, naming what differs, unless `checkpoint` was made of the `expected` run.

    A setting that was added since is at its default in it.
    """
    found = dict(checkpoint.identity)
    if isinstance(settings := found.get("settings"), Mapping):
        found["settings"] = {**defaults(settings.get("recipe", DEFAULT_RECIPE)), **settings}
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise CheckpointError(
                f"the checkpoint at step {checkpoint.step} is of another run: its {name} is {found.get(name)!r}, "
                f"not {expected.get(name)!r}",
                START_ANEW,
            )


def inside(state_folder: Path, saved: SavedCheckpoint) -> Path:
    """The checkpoint's folder. Raises CheckpointError for a path that leaves the state folder."""
    relative = PurePosixPath(saved.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise CheckpointError(f"checkpoint '{saved.path}' is not inside the state folder", START_ANEW)
    return state_folder / relative


def on_cpu(tensor: "Tensor") -> "Tensor":
    """The tensor's values in the CPU's memory, laid out in order."""
    return tensor.detach().cpu().contiguous()


def write_flushed(path: Path, content: bytes) -> str:
    """Write a file for its owner alone and have the disk keep it; returns the content's sha256."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def read_hashed(path: Path, sha256: str) -> bytes:
    """The file's content. Raises CheckpointError where it is missing or its hash is another."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint file '{path}': {error.strerror or error}", START_ANEW) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(f"checkpoint file '{path}' is not what was written ({len(content)} bytes)", START_ANEW)
    return content
