"""Turns the names of a dataset and a tokenizer into memory-mapped arrays of tokens.

    data = load_data("pystdlib", "bytes")
    data.train[:10]

The first call encodes the text into a cache (token_cache.py); later ones open it. Unchanged text files are recognised
by path, size and time of change, else by their content. A hub's dataset stays as it was first cached.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hlbgpt_core.errors import DataError
from hlbgpt_core.private_files import cannot_write
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.text.byte_pairs import BytePairTokenizer, train_byte_pairs
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
    locked,
    now,
    read_manifest,
    read_test_manifest,
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


def load_data(
    dataset: str,
    tokenizer: str,
    *,
    cache_dir: Path | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    with_test: bool = False,
) -> TokenData:
    """The tokens of `dataset` under `tokenizer`, from the cache or newly encoded into it.

    `with_test` gives its own test split too; a cache that was made before there were any gains it.
    `on_progress(what, fraction)` is called about twice a second while there is work. Raises DataError for a
    dataset, a tokenizer or a cache that is unavailable; without a network, within ten seconds.
    """
    source = DatasetSource.of(dataset, tokenizer, cache_dir or default_cache_dir())
    found = _open_unchanged(source, with_test=with_test)
    if found is not None:
        return found
    heart = Heart(on_progress)
    with locked(source.entry, lambda: heart.beat("waiting for another process to encode the data", 0.0)):
        found = _open_unchanged(source, with_test=with_test)  # another process may have built it in the meantime
        if found is None:
            if source.manifest_if_unchanged() is None:
                _rebuild(source, heart)
            if with_test:
                _add_test(source, heart)
            found = _open_unchanged(source, with_test=with_test)
    if found is None:
        raise DataError(f"the cache '{source.entry.folder}' was altered while it was opened", "Start again.")
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


def _open_unchanged(source: DatasetSource, *, with_test: bool = False) -> TokenData | None:
    """The cached tokens, if they are complete and the text's files are unchanged. Text files have no test split."""
    manifest = source.manifest_if_unchanged()
    if manifest is None:
        return None
    folder, dtype = source.entry.folder, np.dtype(manifest.dtype)
    test_manifest = read_test_manifest(folder, manifest.dtype) if with_test and source.local is None else OwnTestSplit()
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


def _rebuild(source: DatasetSource, heart: Heart) -> None:
    """Bring the entry up to date: touched files with the same text keep their tokens; everything else is encoded."""
    manifest = read_manifest(source.entry.folder)
    if source.local is not None and manifest is not None:
        old = (manifest.train_text_sha256, manifest.val_text_sha256)
        if old == tuple(_digest(split, heart) for split in (source.local.train, source.local.val)):
            write_manifest(source.entry.folder, replace(manifest, source_state=source.state))
            return
    corpus = _corpus_of(source, heart)
    tokenizer, bpe_file = _tokenizer_for(source, corpus, heart)
    with building(source.entry) as folder:
        _encode(source, corpus, tokenizer, bpe_file, folder, heart)


def _corpus_of(source: DatasetSource, heart: Heart) -> Corpus:
    if source.local is not None:
        return source.local
    get = partial(hub_corpus, source.name)
    found: Corpus = _in_background(get, heart, f"getting the dataset {source.dataset}")
    return found


def _add_test(source: DatasetSource, heart: Heart) -> None:
    """Put the test split of a hub's dataset beside the tokens that the cache has of it, or the word that it has none.

    To be called with the lock held.
    """
    folder = source.entry.folder
    manifest = read_manifest(folder)
    if manifest is None or source.local is not None or read_test_manifest(folder, manifest.dtype) is not None:
        return
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
        fingerprint=_fingerprint(source.tokenizer, tokenizer.vocab_size, train, val),
        source_state=source.state,
        made_at=now(),
        bpe_file=bpe_file,
    )
    write_manifest(folder, manifest)


def _fingerprint(tokenizer: str, vocab_size: int, train: EncodedSplit, val: EncodedSplit) -> str:
    digests = [train.token_sha256, val.token_sha256, train.text_sha256, val.text_sha256]
    return hashlib.sha256(json.dumps([tokenizer, vocab_size, *digests]).encode()).hexdigest()


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
