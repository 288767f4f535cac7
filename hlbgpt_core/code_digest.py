"""A digest of the code in hlbgpt_core, so that nobody who edits the model is trained on old code."""

import hashlib
from importlib.util import find_spec
from pathlib import Path


def core_folder() -> Path:
    """Where hlbgpt_core lies on disk."""
    spec = find_spec("hlbgpt_core")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("hlbgpt_core is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def core_digest(folder: Path | None = None) -> str:
    """Sixteen hex digits over the names and contents of every Python file of the core."""
    root = folder or core_folder()
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
