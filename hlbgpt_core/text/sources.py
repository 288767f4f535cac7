"""Dataset names, and the text files behind them: where text comes from, and whether it can be used.

Only the standard library is imported here: `submit` gives the same messages as the training that would fail later.

A dataset is `pystdlib`, `wikitext-103`, `text:PATH` or `hf:NAME[:CONFIG]`; NAMED_DATASETS gives more names to files.
Text files are UTF-8 and are read unchanged (no translation of line ends). The validation part is:

- `pystdlib` and other named ones: the last 5 % of the files, by number, in their order.
- `text:` with several files of which some are named `train*` and some `val*`: training reads the first,
  validation the second, and all others (`test*`) are left out.
- `text:` otherwise: the last 5 % of all bytes, cut at a character, in whichever files they are.
"""

import codecs
import difflib
import glob
import hashlib
import os
import re
import stat
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from hlbgpt_core.errors import DataError
from hlbgpt_core.private_files import cannot_read
from hlbgpt_core.settings import Settings

VALIDATION_SHARE = 0.05
TEXT_ENDINGS = (".md", ".text", ".txt")
BLOCK_BYTES = 256 * 1024
SUBMIT_CHECK_BYTES = 64 * 1024 * 1024
WIKITEXT = "wikitext-103"
PYSTDLIB = "pystdlib"
_LEFT_OUT_OF_PYSTDLIB = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_HUB_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class DatasetName:
    """A parsed dataset name. `kind` is wikitext-103, text, hf, or a name of NAMED_DATASETS.

    `target` is the path of `text:` and the name of `hf:`, `config` the configuration of `hf:` ("" for none).
    """

    kind: str
    target: str = ""
    config: str = ""

    @property
    def is_local(self) -> bool:
        """Whether its text is in files on this machine."""
        return self.kind == "text" or self.kind in NAMED_DATASETS


@dataclass(frozen=True, kw_only=True)
class FileSpan:
    """The bytes from `start` up to `end` of one file; both are at a character boundary.

    `modified_ns` is when the file last changed, as the file system says.
    """

    path: Path
    start: int
    end: int
    modified_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class LocalSplits:
    """The spans that train and those that validate; each span is one document."""

    train: Sequence[FileSpan]
    val: Sequence[FileSpan]

    def state(self) -> str:
        """A digest of paths, sizes and times of change: while it stays the same, the text need not be read again."""
        lines = [
            f"{split}\t{span.path}\t{span.start}\t{span.end}\t{span.modified_ns}"
            for split, spans in (("train", self.train), ("val", self.val))
            for span in spans
        ]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def parse_dataset(dataset: str) -> DatasetName:
    """The parts of a dataset name. Raises DataError for an unknown name (the nearest is suggested)."""
    kind, colon, rest = dataset.partition(":")
    if dataset == WIKITEXT or dataset in NAMED_DATASETS:
        return DatasetName(kind=dataset)
    if kind == "text" and colon:
        if not rest:
            raise DataError("text: names no path", "Name a file, a folder or a glob: text:PATH.")
        return DatasetName(kind="text", target=rest)
    if kind == "hf" and colon:
        name, _, config = rest.partition(":")
        parts = name.split("/")
        if not name:
            raise DataError("hf: names no dataset", "Name one: hf:NAME or hf:NAME:CONFIG.")
        if len(parts) > 2 or not all(map(_HUB_PART.fullmatch, parts)) or (config and not _HUB_PART.fullmatch(config)):
            raise DataError(
                f"'{dataset}' is not a dataset's name", "Use hf:NAME, hf:OWNER/NAME or hf:OWNER/NAME:CONFIG."
            )
        return DatasetName(kind="hf", target=name, config=config)
    near = difflib.get_close_matches(dataset, (*NAMED_DATASETS, WIKITEXT, f"text:{rest}", f"hf:{rest}"), n=1)
    suggestion = f"Did you mean '{near[0]}'? " if near else ""
    if not colon and _exists(Path(dataset)):
        suggestion = f"Did you mean 'text:{dataset}'? "
    raise DataError(
        f"there is no dataset '{dataset}'",
        f"{suggestion}Use {', '.join((*NAMED_DATASETS, WIKITEXT))}, text:PATH or hf:NAME[:CONFIG].",
    )


def check_dataset(dataset: str, *, missing_path_is_fine: bool = False, byte_limit: int = SUBMIT_CHECK_BYTES) -> None:
    """Raise the DataError that training on `dataset` would raise, as far as this host can tell.

    Names are always checked. Of `text:`, the first `byte_limit` bytes are read; with `missing_path_is_fine`
    a path that is not on this host passes, since the worker's host may have it.
    """
    name = parse_dataset(dataset)
    if name.kind != "text" or (missing_path_is_fine and not _matches(name.target)):
        return
    splits = local_splits(name)
    for span in (*splits.train, *splits.val):
        if byte_limit <= 0:
            return
        for block in read_span(span):
            byte_limit -= len(block)
            if byte_limit <= 0:
                return


def check_text_length(settings: Settings) -> None:
    """Raise the DataError of a text that is too short for its sequences, as far as file sizes show that.

    No tokenizer makes more tokens than there are bytes (and an end of text per file), so a text with fewer bytes is too
    short for every tokenizer. Checks only `text:`, and only if its path is on this host.
    With a test text, validation and test have half of the validation text each.
    """
    name = parse_dataset(settings.dataset)
    if name.kind != "text" or not _matches(name.target):
        return
    splits = local_splits(name)
    train, val = (sum(span.end - span.start + 1 for span in spans) for spans in (splits.train, splits.val))
    if train < settings.max_sequence_length + 1:
        raise too_short("training", train, settings.max_sequence_length, at_most=True)
    half = val // 2 if settings.test_tokens else val
    if half < settings.evaluation_length + 1:
        only = bool(settings.eval_sequence_length)
        raise too_short("validation", half, settings.evaluation_length, at_most=True, evaluation_only=only)


def too_short(
    what: str, tokens: int, length: int, *, at_most: bool = False, evaluation_only: bool = False
) -> DataError:
    """The error for a text without room for one sequence of `length` and the token after it.

    `evaluation_only` says that the length is that of eval_sequence_length, else it is that of max_sequence_length.
    """
    setting = "eval_sequence_length" if evaluation_only else "max_sequence_length"
    return DataError(
        f"the {what} text has {'at most ' if at_most else ''}{tokens} tokens, but a sequence of {setting} "
        f"{length} needs {length + 1}",
        f"Use a longer text, or --{setting} {max(tokens - 1, 1)} or less.",
    )


def absolute_dataset(dataset: str) -> str:
    """`dataset`, with the path of `text:` made absolute: readable for a worker in another folder."""
    name = parse_dataset(dataset)
    if name.kind != "text":
        return dataset
    path = _named_path(name.target)
    if not (_exists(path) or Path(name.target).is_absolute() or name.target.startswith("~")):
        path = Path(glob.escape(str(Path.cwd())), name.target)  # of a glob, the part that was typed alone is one
    return f"text:{path}"


def local_splits(name: DatasetName) -> LocalSplits:
    """The files of a local dataset, and which part of them is for validation. Raises DataError as read_span does."""
    if name.kind in NAMED_DATASETS:
        files = NAMED_DATASETS[name.kind]()
        cut = len(files) - max(1, round(len(files) * VALIDATION_SHARE))
        return LocalSplits(train=_whole(files[:cut]), val=_whole(files[cut:]))
    files = text_files(name.target)
    train = [file for file in files if file.name.lower().startswith("train")]
    val = [file for file in files if file.name.lower().startswith("val")]
    if train and val:
        splits = LocalSplits(train=_whole(train), val=_whole(val))
        if not splits.train or not splits.val:
            raise DataError(f"text: the {'val' if splits.train else 'train'}* files of '{name.target}' are empty")
        return splits
    return _cut_off_validation(name.target, _whole(files))


def _own_stdlib_files() -> Sequence[Path]:
    return pystdlib_files(Path(sysconfig.get_paths()["stdlib"]))


def pystdlib_files(root: Path) -> list[Path]:
    """The `.py` files of the standard library in `root`, except its tests, sorted by path.

    Raises DataError if there are too few to split.
    """
    kept: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT_OF_PYSTDLIB]
        inside = folder.removeprefix(str(root)).replace(os.sep, "/").strip("/")
        kept += [f"{inside}/{file}".strip("/") for file in files if file.endswith(".py")]
    if len(kept) < 2:
        raise DataError(
            f"pystdlib: this Python keeps no .py files of its standard library in '{root}'", "Use text:PATH instead."
        )
    return [root / path for path in sorted(kept)]


# Datasets on this machine by name, with a function that lists their text files (at least two) in a fixed order.
NAMED_DATASETS: Mapping[str, Callable[[], Sequence[Path]]] = MappingProxyType(
    {
        PYSTDLIB: _own_stdlib_files,
    }
)


def text_files(target: str) -> list[Path]:
    """The files that `text:target` names, sorted by path.

    A folder gives its files that end in .txt, .text or .md, at any depth; a glob gives every file it matches.
    Hidden files and folders are left out. Raises DataError if there are none.
    """
    try:
        matches = _matches(target)
        found = _regular_files(_named_path(target), matches)
    except OSError as error:
        raise cannot_read(target, error) from None
    if not matches:
        raise DataError(
            f"text: there is no file, folder or glob match at '{target}'",
            "Check the path on the machine that trains, or use pystdlib, which is on every machine.",
        )
    if not found:
        named = _named_path(target)
        if named.is_dir():
            wrong = f"the folder '{target}' holds no text files ({', '.join(TEXT_ENDINGS)})"
        else:
            wrong = f"'{target}' is neither a file nor a folder"
        raise DataError(
            f"text: {wrong}", "Name a file, a folder of text files, or a glob in quotes: 'text:FOLDER/**/*.py'."
        )
    return sorted(found)


def read_span(span: FileSpan) -> Iterator[str]:
    """The text of `span` in blocks of about 256 KiB.

    Raises DataError for a file that cannot be read, is binary (a NUL byte) or is not UTF-8, with the offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, pending_bytes = span.start, 0
    try:
        with span.path.open("rb") as file:
            file.seek(span.start)
            while offset < span.end:
                block = file.read(min(BLOCK_BYTES, span.end - offset))
                if (nul := block.find(b"\0")) >= 0:
                    raise DataError(
                        f"text: '{span.path}' is a binary file: it has a NUL byte at offset {offset + nul}",
                        "Name a text file in UTF-8.",
                    )
                at_end = offset + len(block) >= span.end or not block
                text = decoder.decode(block, final=at_end)
                offset += len(block)
                pending_bytes = len(decoder.getstate()[0])
                if text:
                    yield text
                if at_end:
                    return
    except UnicodeDecodeError as error:
        position = offset - pending_bytes + error.start
        raise DataError(
            f"text: '{span.path}' is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {position}",
            "Convert it first, for instance: iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE.",
        ) from None
    except OSError as error:
        raise cannot_read(span.path, error) from None


def _named_path(target: str) -> Path:
    try:
        return Path(target).expanduser().absolute()
    except RuntimeError:  # "~name" of an unknown user
        return Path(target).absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long or invalid
        return False


def _matches(target: str) -> list[Path]:
    """The path `target` itself if it exists, else what it matches as a glob."""
    if _exists(_named_path(target)):
        return [_named_path(target)]
    pattern = str(_named_path(target)) if target.startswith("~") else target
    return [Path(match).absolute() for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (takes "/" too)


def _regular_files(named: Path, matches: Sequence[Path]) -> list[Path]:
    if not _exists(named) or not named.is_dir():
        return [path for path in matches if path.is_file()]
    files = [path for path in named.rglob("*") if path.suffix.lower() in TEXT_ENDINGS and path.is_file()]
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(named).parts)]


def _whole(files: Sequence[Path]) -> list[FileSpan]:
    spans = []
    for path in files:
        try:
            found = path.stat()
        except OSError as error:
            raise cannot_read(path, error) from None
        if stat.S_ISREG(found.st_mode) and found.st_size:
            spans.append(FileSpan(path=path, start=0, end=found.st_size, modified_ns=found.st_mtime_ns))
    return spans


def _cut_off_validation(target: str, spans: Sequence[FileSpan]) -> LocalSplits:
    total_bytes = sum(span.end for span in spans)
    if not total_bytes:
        raise DataError(f"text: '{target}' is empty", "Name a file with text in it.")
    cut = total_bytes - max(1, round(total_bytes * VALIDATION_SHARE))
    train, val = [], []
    position = 0
    for span in spans:
        inside = _character_boundary(span.path, min(max(cut - position, 0), span.end), span.end)
        if inside > 0:
            train.append(replace(span, end=inside))
        if inside < span.end:
            val.append(replace(span, start=inside))
        position += span.end
    if not train or not val:
        raise DataError(
            f"text: '{target}' holds {total_bytes} bytes: too short to cut off a part for validation",
            "Name a longer text.",
        )
    return LocalSplits(train=train, val=val)


def _character_boundary(path: Path, offset: int, size: int) -> int:
    """The last start of a UTF-8 character at or before `offset`."""
    if offset in (0, size):
        return offset
    try:
        with path.open("rb") as file:
            first = max(0, offset - 3)
            file.seek(first)
            head = file.read(offset - first + 1)
    except OSError as error:
        raise cannot_read(path, error) from None
    while offset > first and head[offset - first] & 0xC0 == 0x80:
        offset -= 1
    return offset
