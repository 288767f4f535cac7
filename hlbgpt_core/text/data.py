"""Turns the names of a dataset and a tokenizer into memory-mapped arrays of tokens.

    data = load_data("pystdlib", "bytes")
    data.train[:10]

The first call encodes the text into a cache (token_cache.py); later ones open it. Unchanged text files are recognised
by path, size and time of change, else by their content. A hub's dataset stays as it was first cached. A damaged cache
is made again, beside the old one and then in its place: who has that open keeps it.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hlbgpt_core.errors import DataError, HostDataError
from hlbgpt_core.private_files import cannot_write
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.text.byte_pairs import BytePairTokenizer, train_byte_pairs
from hlbgpt_core.text.content_checks import ContentChecks
from hlbgpt_core.text.corpus import Corpus, SplitText, digest_split
from hlbgpt_core.text.dataset_source import DatasetSource
from hlbgpt_core.text.encoding import EncodedSplit, Heart, encode_split, pieces
from hlbgpt_core.text.hub import hub_corpus
from hlbgpt_core.text.token_cache import (
    FORMAT_VERSION,
    TEST_TOKENS,
    Manifest,
    OwnTestSplit,
    building,
    default_cache_dir,
    examine,
    examine_test,
    fingerprint_of,
    locked,
    now,
    read_manifest,
    token_type,
    write_manifest,
    write_test_manifest,
)
from hlbgpt_core.text.tokenizer import TokenArray, Tokenizer, load_tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenData:
    """A dataset as tokens. `train` and `val` are 1-D, memory-mapped and read only, uint16 or uint32.

    `vocab_size` is not padded. `train_bytes` and `val_bytes` are the UTF-8 bytes of the tokens' text, not counting
    separators. `fingerprint` depends only on the tokens and the tokenizer: the same text gives the same fingerprint on
    every host. `test` is the dataset's own test split, with a fingerprint of its own; None if it has none, or if nobody
    asked for it.
    """

    train: TokenArray
    val: TokenArray
    vocab_size: int
    train_bytes: int
    val_bytes: int
    fingerprint: str
    test: TokenArray | None = None
    test_bytes: int = 0
    test_fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class CacheWatch:
    """How a process makes sure of the caches that it opens. `on_damage` hears of a cache that is to be made again."""

    checks: ContentChecks = field(default_factory=ContentChecks)
    on_damage: Callable[[str], None] = lambda text: None

    def begin(self, dataset: str, tokenizer: str, *, cache_dir: Path | None = None) -> None:
        """Begin to read the dataset's cache, if there is one; returns at once."""
        with contextlib.suppress(DataError):
            source = DatasetSource.of(dataset, tokenizer, cache_dir or default_cache_dir())
            manifest = source.manifest_if_unchanged()
            for file, sha256 in _contents(manifest).items() if manifest is not None else ():
                self.checks.is_whole(source.entry.folder / file, sha256)


def load_data(
    dataset: str,
    tokenizer: str,
    *,
    cache_dir: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    with_test: bool = False,
    watch: CacheWatch | None = None,
) -> TokenData:
    """The tokens of `dataset` under `tokenizer`, from the cache or newly encoded into it.

    `with_test` gives its own test split too; a cache that was made before there were any gains it.
    `on_progress(what, fraction)` is called about twice a second while there is work. A cache whose files have another
    size than they should is made again; with a `watch`, one of another content too.

    Raises DataError for a dataset, a tokenizer or a cache that is unavailable; without a network, within ten seconds.
    """
    source = DatasetSource.of(dataset, tokenizer, cache_dir or default_cache_dir())
    heart = Heart(on_progress)
    found = _open_whole(source, heart, watch, with_test=with_test)
    if found is not None:
        return found
    with locked(source.entry, lambda: heart.beat("waiting for another process to encode the data", 0.0)):
        _bring_up_to_date(source, heart, watch)  # unless another process has done so in the meantime
        if with_test:
            _add_test(source, heart, watch)
        found = _open_whole(source, heart, watch, with_test=with_test)
    if found is None:
        raise HostDataError(
            f"the cache '{source.entry.folder}' was altered while it was opened", "Check the disk: hlbq data list"
        )
    return found


def dataset_tokenizer(dataset: str, tokenizer: str, *, cache_dir: Path | None = None) -> Tokenizer:
    """The tokenizer that encoded `dataset`: to encode prompts and decode samples. Raises DataError as load_data."""
    cache_dir = cache_dir or default_cache_dir()
    if not tokenizer.startswith("bpe:"):
        return load_tokenizer(tokenizer, cache_dir)
    load_data(dataset, tokenizer, cache_dir=cache_dir)
    manifest = read_manifest(DatasetSource.of(dataset, tokenizer, cache_dir).entry.folder)
    if manifest is None:
        raise DataError(f"the cache of '{dataset}' was altered while it was opened", "Start again.")
    return BytePairTokenizer(cache_dir / manifest.bpe_file, manifest.vocab_size)


def _open_whole(
    source: DatasetSource, heart: Heart, watch: CacheWatch | None, *, with_test: bool = False
) -> TokenData | None:
    """The cached tokens, if they are whole and the text's files are unchanged. Text files have no test split."""
    manifest, _ = _whole(source, heart, watch)
    if manifest is None:
        return None
    folder, dtype = source.entry.folder, np.dtype(manifest.dtype)
    wanted = with_test and source.local is None
    test_manifest = _whole_test(source, manifest, heart, watch)[0] if wanted else OwnTestSplit()
    if test_manifest is None:
        return None
    try:
        train, val = (np.memmap(folder / f"{split}.bin", dtype=dtype, mode="r") for split in ("train", "val"))
        test = np.memmap(folder / TEST_TOKENS, dtype=dtype, mode="r") if test_manifest.tokens else None
    except (OSError, ValueError):
        return None
    if read_manifest(folder) != manifest:  # replaced between reading and mapping
        return None
    return TokenData(
        train=train,
        val=val,
        vocab_size=manifest.vocab_size,
        train_bytes=manifest.train_bytes,
        val_bytes=manifest.val_bytes,
        fingerprint=manifest.fingerprint,
        test=test,
        test_bytes=test_manifest.text_bytes,
        test_fingerprint=test_manifest.fingerprint,
    )


def _whole(source: DatasetSource, heart: Heart, watch: CacheWatch | None) -> tuple[Manifest | None, str]:
    """The manifest of tokens that are whole and whose text is unchanged, else None, with the damage if there is any."""
    manifest, wrong = examine(source.entry.folder)
    if manifest is None or manifest.source_state != source.state:
        return None, wrong
    wrong = _changed_file(source.entry.folder, _contents(manifest), heart, watch)
    return (None, wrong) if wrong else (manifest, "")


def _whole_test(
    source: DatasetSource, manifest: Manifest, heart: Heart, watch: CacheWatch | None
) -> tuple[OwnTestSplit | None, str]:
    """Likewise of the dataset's own test split."""
    test, wrong = examine_test(source.entry.folder, manifest.dtype)
    if test is not None and test.tokens:
        wrong = _changed_file(source.entry.folder, {TEST_TOKENS: test.token_sha256}, heart, watch)
    return (None, wrong) if wrong else (test, "")


def _contents(manifest: Manifest) -> Mapping[str, str]:
    return {"train.bin": manifest.train_sha256, "val.bin": manifest.val_sha256}


def _changed_file(folder: Path, contents: Mapping[str, str], heart: Heart, watch: CacheWatch | None) -> str:
    """Which of the files has another content than it should, in words; empty for none, and without a watch."""
    checks = {name: watch.checks.is_whole(folder / name, sha256) for name, sha256 in contents.items()} if watch else {}
    for number, (name, check) in enumerate(checks.items()):
        if not heart.wait(check, "checking the cache", number / len(checks)):
            return f"{name} was changed"
    return ""


def _bring_up_to_date(source: DatasetSource, heart: Heart, watch: CacheWatch | None) -> None:
    """Make the entry whole: touched files with the same text keep their tokens; everything else is encoded."""
    manifest, wrong = _whole(source, heart, watch)
    if manifest is None and not wrong and _note_same_text(source, heart):
        manifest, wrong = _whole(source, heart, watch)
    if manifest is not None:
        return
    if wrong and watch is not None:
        watch.on_damage(_damaged(source, wrong))
    corpus = _corpus_of(source, heart)
    tokenizer, bpe_file = _tokenizer_for(source, corpus, heart)
    with building(source.entry) as folder:
        _encode(source, corpus, tokenizer, bpe_file, folder, heart)


def _note_same_text(source: DatasetSource, heart: Heart) -> bool:
    """Whether the text's files were touched and hold the same text as before; the manifest then says so."""
    manifest = read_manifest(source.entry.folder)
    if source.local is None or manifest is None:
        return False
    old = (manifest.train_text_sha256, manifest.val_text_sha256)
    if old != tuple(_digest(split, heart) for split in (source.local.train, source.local.val)):
        return False
    write_manifest(source.entry.folder, replace(manifest, source_state=source.state))
    return True


def _damaged(source: DatasetSource, wrong: str) -> str:
    return f"the cache of {source.dataset} at '{source.entry.folder}' is damaged ({wrong}): it is made again"


def _corpus_of(source: DatasetSource, heart: Heart) -> Corpus:
    if source.local is not None:
        return source.local
    get = partial(hub_corpus, source.name)
    found: Corpus = _in_background(get, heart, f"getting the dataset {source.dataset}")
    return found


def _add_test(source: DatasetSource, heart: Heart, watch: CacheWatch | None) -> None:
    """Put the test split of a hub's dataset beside the tokens that the cache has of it, or the word that it has none.

    To be called with the lock held.
    """
    folder = source.entry.folder
    manifest = read_manifest(folder)
    if manifest is None or source.local is not None:
        return
    there, wrong = _whole_test(source, manifest, heart, watch)
    if there is not None:
        return
    if wrong and watch is not None:
        watch.on_damage(_damaged(source, wrong))
    corpus = _corpus_of(source, heart)
    if corpus.test is None:
        write_test_manifest(folder, OwnTestSplit())
        return
    tokenizer, _ = _tokenizer_for(source, corpus, heart)
    partial_file = folder / f".{TEST_TOKENS}.partial"
    try:
        partial_file.unlink(missing_ok=True)  # what a killed one left
        found = encode_split(
            corpus.test,
            tokenizer,
            partial_file,
            np.dtype(manifest.dtype),
            _encoding_beats(heart, corpus.test.size_bytes),
        )
        partial_file.replace(folder / TEST_TOKENS)
    except OSError as error:
        raise cannot_write(folder, error) from None
    if not found.tokens:
        write_test_manifest(folder, OwnTestSplit())
        return
    told = [source.tokenizer, tokenizer.vocab_size, found.token_sha256, found.text_sha256]
    write_test_manifest(
        folder,
        OwnTestSplit(
            tokens=found.tokens,
            text_bytes=found.text_bytes,
            token_sha256=found.token_sha256,
            fingerprint=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        ),
    )


def _encoding_beats(heart: Heart, total_bytes: int, bytes_before: int = 0) -> Callable[[int, "Future[Any]"], None]:
    """What `encode_split` calls: a beat with how far it is of `total_bytes`."""

    def on_bytes(done: int, work: "Future[Any]") -> None:
        fraction = (bytes_before + done) / max(1, total_bytes)
        heart.beat("encoding", fraction)
        heart.wait(work, "encoding", fraction)

    return on_bytes


def _encode(
    source: DatasetSource, corpus: Corpus, tokenizer: Tokenizer, bpe_file: str, folder: Path, heart: Heart
) -> None:
    """Write both splits and their manifest into `folder`."""
    dtype = np.dtype(token_type(tokenizer.vocab_size))
    total_bytes = corpus.train.size_bytes + corpus.val.size_bytes

    def encoded(split: SplitText, file_name: str, bytes_before: int) -> EncodedSplit:
        on_bytes = _encoding_beats(heart, total_bytes, bytes_before)
        try:
            found = encode_split(split, tokenizer, folder / file_name, dtype, on_bytes)
        except OSError as error:
            raise cannot_write(folder, error) from None
        if not found.tokens:
            raise DataError(f"dataset '{source.dataset}' has no text to {file_name.removesuffix('.bin')} on")
        return found

    train = encoded(corpus.train, "train.bin", 0)
    val = encoded(corpus.val, "val.bin", corpus.train.size_bytes)
    manifest = Manifest(
        version=FORMAT_VERSION,
        dataset=source.dataset,
        tokenizer=source.tokenizer,
        vocab_size=tokenizer.vocab_size,
        dtype=dtype.str,
        train_tokens=train.tokens,
        val_tokens=val.tokens,
        train_bytes=train.text_bytes,
        val_bytes=val.text_bytes,
        train_sha256=train.token_sha256,
        val_sha256=val.token_sha256,
        train_text_sha256=train.text_sha256,
        val_text_sha256=val.text_sha256,
        fingerprint="",
        source_state=source.state,
        made_at=now(),
        bpe_file=bpe_file,
        entry=source.entry.name,
    )
    write_manifest(folder, replace(manifest, fingerprint=fingerprint_of(manifest)))


def _tokenizer_for(source: DatasetSource, corpus: Corpus, heart: Heart) -> tuple[Tokenizer, str]:
    """The tokenizer, and the file of a trained one relative to the cache folder ("" for others)."""
    cache_dir = source.entry.cache_dir
    if not source.tokenizer.startswith("bpe:"):
        return load_tokenizer(source.tokenizer, cache_dir), ""
    vocab_size = unpadded_vocabulary_size(source.tokenizer)
    # Named by the text: two datasets with the same text share it, and a changed text gets its own.
    bpe_file = f"bpe/{_digest(corpus.train, heart)[:32]}-{vocab_size}.json"
    if not (cache_dir / bpe_file).exists():
        texts = (piece for document in corpus.train.documents() for piece in pieces(document))
        training = partial(train_byte_pairs, texts, vocab_size, cache_dir / bpe_file)
        _in_background(training, heart, f"training the tokenizer {source.tokenizer}")
    return BytePairTokenizer(cache_dir / bpe_file, vocab_size), bpe_file


def _digest(split: SplitText, heart: Heart) -> str:
    return digest_split(split, lambda: heart.beat("reading the text", 0.0))


def _in_background(work: Callable[[], Any], heart: Heart, what: str) -> Any:
    """Run `work` in a thread and beat until it is done: libraries report nothing while they work."""
    with ThreadPoolExecutor(1) as pool:
        return heart.wait(pool.submit(work), what, 0.0)
