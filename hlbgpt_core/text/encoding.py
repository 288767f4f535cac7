"""Text to token files, in a stream: bounded memory, several threads, and the same tokens as for the whole text.

Text is cut into pieces where a tokenizer's pattern always cuts, so encoding piece by piece gives the same tokens.
"""

import hashlib
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hlbgpt_core.private_files import FILE_MODE
from hlbgpt_core.text.corpus import SplitText, TextDigest
from hlbgpt_core.text.tokenizer import TokenArray, Tokenizer

T = TypeVar("T")
PIECE_CHARACTERS = 256 * 1024
BEAT_SECONDS = 0.5
# A cut is safe where, in every pattern that splits text for byte-pair encoding (tiktoken's seven encodings
# and GPT-2's own), a match ends at the cut whatever follows it, and nothing looks back over the cut:
# - before a space that follows a character that is no white space: in all patterns a space only begins a match
#   or stands among white space, and what comes before ends the same way at a space as at the end of the text;
# - after a single newline between two characters that are no white space, the second no "/": newlines go
#   to the white space or punctuation before them, which o200k lets "/" prolong. A longer run of white space
#   gives its last character to the next match and must not be cut.
# Python's \s contains all that the patterns' \s does. The greedy `.*` finds the last such place.
_LAST_SAFE_CUT = re.compile(r".*(?:(?<=\S)(?= )|(?<=\S\n)(?=[^\s/]))", re.DOTALL)
_CUT_CONTEXT = 2


class Heart:
    """Passes progress on, at most every half second, also while others work."""

    def __init__(
        self, on_progress: Callable[[str, float], None] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._last_beat = float("-inf")

    def beat(self, what: str, fraction: float) -> None:
        """Report `what` is being done and its progress, 0 to 1."""
        if self._on_progress is not None and self._clock() - self._last_beat >= BEAT_SECONDS:
            self._last_beat = self._clock()
            self._on_progress(what, min(1.0, fraction))

    def wait(self, future: "Future[T]", what: str, fraction: float) -> T:
        """The result of `future`, with a beat every half second while waiting."""
        while not future.done():
            wait_for([future], timeout=BEAT_SECONDS)
            self.beat(what, fraction)
        return future.result()


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """A finished token file: number of tokens, bytes of its UTF-8 text, digests of tokens and of text."""

    tokens: int
    text_bytes: int
    token_sha256: str
    text_sha256: str


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a document that is encoded by itself; `separated` if an end of text goes before it."""

    text: str
    separated: bool


def pieces(document: Iterable[str], piece_characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Cut a document into pieces of about `piece_characters`, only at safe cuts.

    Without one, the piece grows until one comes: such text is held in memory.
    """
    held: list[str] = []
    held_characters = 0
    context = ""
    for block in document:
        held.append(block)
        held_characters += len(block)
        if held_characters >= piece_characters:
            searched = context + block
            if cut := _LAST_SAFE_CUT.match(searched):
                kept_back = len(searched) - cut.end()
                whole = "".join(held)
                yield whole[: len(whole) - kept_back]
                held = [whole[len(whole) - kept_back :]]
                held_characters = kept_back
        context = (context + block)[-_CUT_CONTEXT:]
    if held_characters:
        yield "".join(held)


def encode_split(
    split: SplitText,
    tokenizer: Tokenizer,
    file: Path,
    dtype: "np.dtype[Any]",
    on_bytes: Callable[[int, Future[Any]], None],
) -> EncodedSplit:
    """Write the tokens of `split` to `file`, an end of text between documents.

    `on_bytes` is called with the bytes of text taken in and the work to wait for. Raises OSError if writing fails and
    DataError if the text is invalid.
    """
    digest, token_hash, token_count = TextDigest(), hashlib.sha256(), 0
    threads = available_cpus()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as output, ThreadPoolExecutor(threads) as pool:
        window: deque[Future[TokenArray]] = deque()

        def write_next() -> int:
            on_bytes(digest.text_bytes, window[0])
            tokens = window.popleft().result()
            token_hash.update(tokens.data)
            output.write(tokens.data)
            return tokens.size

        for batch in _batches(split, digest):
            window.append(pool.submit(_encode_batch, tokenizer, batch, dtype))
            if len(window) > 2 * threads:
                token_count += write_next()
        while window:
            token_count += write_next()
        output.flush()
        os.fsync(output.fileno())
    return EncodedSplit(
        tokens=token_count,
        text_bytes=digest.text_bytes,
        token_sha256=token_hash.hexdigest(),
        text_sha256=digest.hexdigest(),
    )


def available_cpus() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(split: SplitText, digest: TextDigest) -> Iterator[list[Piece]]:
    """Pieces of all documents, small ones joined, so that each batch is worth a thread."""
    batch: list[Piece] = []
    characters = 0
    anything_before = False
    for document in split.documents():
        separated = anything_before
        for text in pieces(document):
            digest.add(text.encode("utf-8"))
            batch.append(Piece(text=text, separated=separated))
            separated, anything_before = False, True
            characters += len(text)
            if characters >= PIECE_CHARACTERS:
                yield batch
                batch, characters = [], 0
        digest.end_document()
    if batch:
        yield batch


def _encode_batch(tokenizer: Tokenizer, batch: list[Piece], dtype: "np.dtype[Any]") -> TokenArray:
    end_of_text = np.array([tokenizer.end_of_text], dtype=dtype)
    arrays: list[TokenArray] = []
    for piece in batch:
        if piece.separated:
            arrays.append(end_of_text)
        arrays.append(tokenizer.encode(piece.text).astype(dtype, copy=False))
    return np.ascontiguousarray(np.concatenate(arrays))
