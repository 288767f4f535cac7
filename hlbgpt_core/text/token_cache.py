"""The cache of tokens: one folder for each dataset and tokenizer, made completely or not at all.

    CACHE/tokens/NAME/train.bin, val.bin    token values, little-endian uint16 or uint32
                      manifest.json         what they are, and their sizes
                      test.bin, test.json   likewise of a test split of its own; caches of before have none
    CACHE/tokens/.NAME.building-*           a build in progress, or what a killed one left
    CACHE/locks/NAME                        held (flock) while building; the system frees it with its process

A folder is renamed into place when everything in it is on disk. Reading a manifest checks its seal and the sizes of the
files; their content is checked with `content_checks.py`. Only the standard library is imported here: commands that list
and remove caches load nothing more.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hlbgpt_core.errors import DataError, HostDataError
from hlbgpt_core.private_files import FILE_MODE, cannot_write, make_private_folder, sync_folder, write_private_file
from hlbgpt_core.text.content_checks import sha256_of

FORMAT_VERSION = 1
LOCK_POLL_SECONDS = 0.2
# Bytes of a token by its type, as numpy writes types: little-endian, whatever the machine.
ITEM_BYTES: Mapping[str, int] = MappingProxyType({"<u2": 2, "<u4": 4})
LARGEST_UINT16 = 65_535
SLUG_CHARACTERS = 60
MANIFEST = "manifest.json"
TEST_MANIFEST, TEST_TOKENS = "test.json", "test.bin"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a cache holds. `source_state` shows whether the text's files are unchanged; times are UTC.

    `bpe_file` is the trained tokenizer, relative to the cache folder ("" for other tokenizers). `entry` is the name of
    the folder, and `seal` a digest of all the rest; both are empty in caches of before there were any.
    """

    version: int
    dataset: str
    tokenizer: str
    vocab_size: int
    dtype: str
    train_tokens: int
    val_tokens: int
    train_bytes: int
    val_bytes: int
    train_sha256: str
    val_sha256: str
    train_text_sha256: str
    val_text_sha256: str
    fingerprint: str
    source_state: str
    made_at: str
    bpe_file: str = ""
    entry: str = ""
    seal: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnTestSplit:
    """What a cache holds of its dataset's own test split; `tokens` is 0 where the dataset has none."""

    tokens: int = 0
    text_bytes: int = 0
    token_sha256: str = ""
    fingerprint: str = ""
    seal: str = ""


@dataclass(frozen=True, kw_only=True)
class CacheRecord:
    """A line of `hlbq data list`. A cache that is not `usable` is rebuilt at its next use."""

    name: str
    usable: bool
    dataset: str = ""
    tokenizer: str = ""
    train_tokens: int = 0
    val_tokens: int = 0
    bytes_on_disk: int = 0
    made_at: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """The place of one dataset and tokenizer in the cache at `cache_dir`."""

    cache_dir: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.cache_dir / "tokens" / self.name


def default_cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """`$HLBQ_CACHE`, else `hlbq` in the user's cache folder: `$XDG_CACHE_HOME`, or the platform's own.

    Raises HostDataError for the folder of a user that there is not.
    """
    if named := environment.get("HLBQ_CACHE"):
        try:
            return Path(named).expanduser().absolute()
        except RuntimeError:
            raise HostDataError(
                f"HLBQ_CACHE='{named}' names an unknown user", "Write it in full: export HLBQ_CACHE=/path/to/folder."
            ) from None
    xdg = environment.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg) / "hlbq"
    return Path("~/Library/Caches/hlbq" if sys.platform == "darwin" else "~/.cache/hlbq").expanduser()


def cache_entry(cache_dir: Path, *, dataset: str, identity: str, tokenizer: str) -> CacheEntry:
    """The entry of a dataset; `identity` distinguishes it from others of that name (an absolute path).

    The name is letters, digits, dots, dashes and underscores, so no dataset's name leads out of the cache.
    """
    key = hashlib.sha256(json.dumps([FORMAT_VERSION, identity, tokenizer]).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{dataset}-{tokenizer}").strip("-")[-SLUG_CHARACTERS:].strip("-")
    return CacheEntry(cache_dir=cache_dir, name=f"{slug}-{key}")


def token_type(vocab_size: int) -> str:
    """The type that holds every token, as numpy writes it: uint16, or uint32 past 65,535 values."""
    return "<u4" if vocab_size > LARGEST_UINT16 else "<u2"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a complete cache, else None: missing, cut short, altered, or of another version."""
    return examine(folder)[0]


def examine(folder: Path) -> tuple[Manifest | None, str]:
    """The manifest of a complete cache, else None, with what is damaged: empty for none, or one of another version."""
    if not folder.is_dir():
        return None, ""
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("version", FORMAT_VERSION) != FORMAT_VERSION:
            return None, ""
        manifest = Manifest(**values)
        sealed = manifest.seal == _seal(values) if manifest.seal else manifest.fingerprint == fingerprint_of(manifest)
        if not sealed or manifest.entry not in ("", folder.name) or manifest.dtype != token_type(manifest.vocab_size):
            return None, f"{MANIFEST} was changed"
        wrong = _wrong_size(folder, "train.bin", manifest.dtype, manifest.train_tokens)
        wrong = wrong or _wrong_size(folder, "val.bin", manifest.dtype, manifest.val_tokens)
    except FileNotFoundError:
        return None, f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError):
        return None, f"{MANIFEST} cannot be read"
    return (None, wrong) if wrong else (manifest, "")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put `manifest` into `folder`, replacing an older one."""
    _write_sealed(folder / MANIFEST, dataclasses.asdict(manifest))


def examine_test(folder: Path, dtype: str) -> tuple[OwnTestSplit | None, str]:
    """What the cache in `folder` has of a test split, None where nobody has asked yet; else None with the damage."""
    try:
        values = json.loads((folder / TEST_MANIFEST).read_text(encoding="utf-8"))
        manifest = OwnTestSplit(**values)
        if manifest.seal and manifest.seal != _seal(values):
            return None, f"{TEST_MANIFEST} was changed"
        wrong = _wrong_size(folder, TEST_TOKENS, dtype, manifest.tokens) if manifest.tokens else ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, TypeError):
        return None, f"{TEST_MANIFEST} cannot be read"
    return (None, wrong) if wrong else (manifest, "")


def write_test_manifest(folder: Path, manifest: OwnTestSplit) -> None:
    """Put `manifest` into `folder`, once the tokens of the test split are there."""
    _write_sealed(folder / TEST_MANIFEST, dataclasses.asdict(manifest))


def fingerprint_of(manifest: Manifest) -> str:
    """The fingerprint of the tokens and the tokenizer that a manifest tells of."""
    digests = [manifest.train_sha256, manifest.val_sha256, manifest.train_text_sha256, manifest.val_text_sha256]
    return hashlib.sha256(json.dumps([manifest.tokenizer, manifest.vocab_size, *digests]).encode()).hexdigest()


def _wrong_size(folder: Path, name: str, dtype: str, tokens: int) -> str:
    try:
        size, wanted = (folder / name).stat().st_size, ITEM_BYTES[dtype] * tokens
    except OSError:
        return f"{name} is missing"
    return "" if size == wanted > 0 else f"{name} has {size:,} bytes instead of {wanted:,}"


def _seal(values: Mapping[str, Any]) -> str:
    sealed = {name: value for name, value in values.items() if name != "seal"}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def _write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    content = json.dumps({**values, "seal": _seal(values)}, indent=1) + "\n"
    write_private_file(path, content.encode())


@contextmanager
def locked(entry: CacheEntry, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of `entry`; `on_wait` is called a few times a second while another process holds it."""
    import fcntl

    make_private_folder(entry.cache_dir / "locks")
    try:
        descriptor = os.open(entry.cache_dir / "locks" / entry.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise cannot_write(entry.cache_dir / "locks", error) from None
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                on_wait()
                time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def building(entry: CacheEntry) -> Iterator[Path]:
    """A temporary folder that becomes the entry's if the block succeeds, and is removed if not.

    Call it with the lock held, so leftovers of other builders can only be from dead ones.
    """
    tokens = entry.folder.parent
    make_private_folder(tokens)
    prefix = f".{entry.name}.building-"
    for leftover in tokens.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        temporary = Path(tempfile.mkdtemp(dir=tokens, prefix=prefix))
    except OSError as error:
        raise cannot_write(tokens, error) from None
    try:
        yield temporary
        sync_folder(temporary)
        if entry.folder.exists():
            # Processes that have the old files mapped keep them.
            entry.folder.rename(tokens / f"{temporary.name}-replaced")
        temporary.rename(entry.folder)
        sync_folder(tokens)
    except OSError as error:
        raise cannot_write(temporary, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(tokens / f"{temporary.name}-replaced", ignore_errors=True)


def list_caches(cache_dir: Path) -> list[CacheRecord]:
    """Every cache, by name; none if the folder is missing."""
    tokens = cache_dir / "tokens"
    if not tokens.is_dir():
        return []
    return [_record(folder) for folder in sorted(tokens.iterdir()) if folder.is_dir() and folder.name[0] != "."]


def remove_cache(cache_dir: Path, name: str) -> CacheRecord:
    """Remove the cache `name` (of list_caches) and return what it was.

    Raises DataError if there is none of that name, or while it is being built.
    """
    record = next((record for record in list_caches(cache_dir) if record.name == name), None)
    if record is None:
        raise DataError(f"there is no cache '{name}' in '{cache_dir}'", "See: hlbq data list")

    def refuse() -> None:
        raise DataError(f"the cache '{name}' is being built by another process", "Wait until it is done.")

    entry = CacheEntry(cache_dir=cache_dir, name=name)
    with locked(entry, refuse):
        try:
            shutil.rmtree(entry.folder)
        except OSError as error:
            raise cannot_write(entry.folder, error) from None
    return record


def verify_cache(cache_dir: Path, name: str) -> bool:
    """Whether the tokens of the cache `name` are still those that were written (reads them all)."""
    folder = CacheEntry(cache_dir=cache_dir, name=name).folder
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    written = {"train.bin": manifest.train_sha256, "val.bin": manifest.val_sha256}
    test, wrong = examine_test(folder, manifest.dtype)
    if test is not None and test.tokens:
        written[TEST_TOKENS] = test.token_sha256
    return not wrong and all(sha256_of(folder / name) == wanted for name, wanted in written.items())


def now() -> str:
    """The time in UTC, as the manifest holds it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _record(folder: Path) -> CacheRecord:
    manifest = read_manifest(folder)
    bytes_on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if manifest is None:
        return CacheRecord(name=folder.name, usable=False, bytes_on_disk=bytes_on_disk)
    return CacheRecord(
        name=folder.name,
        usable=True,
        dataset=manifest.dataset,
        tokenizer=manifest.tokenizer,
        train_tokens=manifest.train_tokens,
        val_tokens=manifest.val_tokens,
        bytes_on_disk=bytes_on_disk,
        made_at=manifest.made_at,
        fingerprint=manifest.fingerprint,
    )
