"""A digest of the code that trains, so no run uses old code unnoticed and every number names its code.

It covers what Python parses, without comments, docstrings, help and layout: it changes only if a number can. Every
file of the core counts, including new ones of the user's, except those in LEFT_OUT.

    python -m hlbgpt_core.code_digest

prints the digest of the core on disk.
"""

import ast
import hashlib
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

# Packages (ending in a slash) and files that change no number of a run: what other commands run, names of errors, file
# modes, recorded trajectories, what readers work out, and code about the code itself.
LEFT_OUT = (
    *("commands/", "replay.py", "training/trajectory.py", "flops.py"),
    *("errors.py", "private_files.py", "code_digest.py", "code_version.py", "same_code.py"),
)
# Files that Python cannot parse count byte by byte.
_UNPARSED = b"unparsed\0"

_Stamp = tuple[int, int, int, int]


def core_folder() -> Path:
    """Where hlbgpt_core is on disk."""
    spec = find_spec("hlbgpt_core")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("hlbgpt_core is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


class CoreCode:
    """The core on disk; reads a file again only if it changed. Use one per thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or core_folder()
        self._files: dict[str, tuple[_Stamp, bytes]] = {}
        self._digests: dict[bytes, bytes] = {}

    def sources(self) -> Mapping[str, bytes]:
        """Every source file on disk now, by its path within the folder, with slashes. Never raises OSError."""
        found: dict[str, tuple[_Stamp, bytes]] = {}
        for name, path in _source_files(self._folder):
            try:
                stamp = _stamp(path)
                known = self._files.get(name)
                if stamp is not None:
                    found[name] = known if known is not None and known[0] == stamp else (stamp, path.read_bytes())
            except OSError:
                continue  # it vanished, or cannot be read: then Python cannot import it either
        self._files = found
        return MappingProxyType({name: content for name, (_, content) in sorted(found.items())})

    def digest(self) -> str:
        """The digest of the core as it is on disk now."""
        return self.digest_of(self.sources())

    def digest_of(self, sources: Mapping[str, bytes]) -> str:
        """The digest of these sources: sixteen hex digits."""
        whole = hashlib.sha256()
        for name, content in sorted(sources.items()):
            if not name.startswith(LEFT_OUT):
                whole.update(f"{name}\0".encode())
                whole.update(self._digest_of_file(content))
        return whole.hexdigest()[:16]

    def _digest_of_file(self, content: bytes) -> bytes:
        raw = hashlib.sha256(content).digest()
        if raw not in self._digests:
            self._digests[raw] = hashlib.sha256(parsed_form(content)).digest()
        return self._digests[raw]


def core_digest(folder: Path | None = None) -> str:
    """The digest of the core on disk (or of the one in `folder`): sixteen hex digits."""
    return CoreCode(folder).digest()


def parsed_form(content: bytes) -> bytes:
    """What Python parses from a source file, the same in every version from 3.11 on.

    Docstrings, other statements that are a constant, `pass`, and the `help` of a setting do nothing and are left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in strings, which are up to the user
            tree = ast.parse(content)
        words: list[str] = []
        _write(tree, words)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _UNPARSED + content
    return "\n".join(words).encode("ascii", "backslashreplace")


def _write(node: ast.AST, words: list[str]) -> None:
    """Write a node as words: its kind and its non-empty fields (later versions of Python have more fields)."""
    words.append(type(node).__name__)
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or isinstance(value, ast.expr_context):  # Load or Store follows from the node's position
            continue
        if isinstance(value, ast.AST):
            words.append(name)
            _write(value, words)
        elif isinstance(value, list):
            if value:
                _write_list(name, value, words)
        elif name != "kind":  # u"text"
            words.append(f"{name}={_constant(value)}")
    words.append(")")


def _write_list(name: str, values: list[object], words: list[str]) -> None:
    words.append(f"{name}[")
    for value in values:
        if _does_nothing(value):
            continue
        if isinstance(value, ast.AST):
            _write(value, words)
        else:  # None where a dictionary is unpacked, names of `global`
            words.append(_constant(value))
    words.append("]")


def _does_nothing(value: object) -> bool:
    if isinstance(value, ast.Expr):
        return isinstance(value.value, ast.Constant)
    return isinstance(value, ast.Pass) or (isinstance(value, ast.keyword) and value.arg == "help")


def _constant(value: object) -> str:
    if type(value) is int:
        return hex(value)  # a decimal has a limit
    return f"{type(value).__name__} {value!a}"  # which characters repr leaves unescaped depends on Python's version


def _source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Files that Python could import; not an editor's `.#v041.py` or `v041.py~`, nor `__pycache__`."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if one.isidentifier() and one != "__pycache__")
        for file in sorted(files):
            stem, ending = os.path.splitext(file)  # noqa: PTH122
            if ending == ".py" and stem.isidentifier():
                path = Path(folder, file)
                yield path.relative_to(root).as_posix(), path


def _stamp(path: Path) -> _Stamp | None:
    """A value that changes with the file; None if it is not a regular file (reading a FIFO would block)."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


if __name__ == "__main__":
    print(core_digest())
