"""A corpus: the text of both splits as streams of documents, never completely in memory.

    split = documents, each an iterator over blocks of text

Digests cover only the text, so they are the same wherever the text is stored.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hlbgpt_core.text.sources import FileSpan, LocalSplits, read_span

Document = Iterator[str]
# No byte of UTF-8 text has this value, so moving a border between documents changes the digest.
_DOCUMENT_END = b"\xff"


@dataclass(frozen=True, kw_only=True)
class SplitText:
    """One split. `documents` starts a new pass over the text; `size_bytes` is about right, for progress."""

    documents: Callable[[], Iterator[Document]]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a tokenizer reads to make a dataset. `test` is None where the dataset has no test split of its own."""

    train: SplitText
    val: SplitText
    test: SplitText | None = None


class TextDigest:
    """sha256 of a split's text and of the borders between its documents."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.text_bytes = 0

    def add(self, text: bytes) -> None:
        """Take in the next part of the current document."""
        self._hash.update(text)
        self.text_bytes += len(text)

    def end_document(self) -> None:
        """Close the current document."""
        self._hash.update(_DOCUMENT_END)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def local_corpus(splits: LocalSplits) -> Corpus:
    """The corpus of text files; every span is a document."""
    return Corpus(train=_split_of_spans(splits.train), val=_split_of_spans(splits.val))


def digest_split(split: SplitText, on_block: Callable[[], None]) -> str:
    """Read a split and return its digest. `on_block` is called now and then, as a sign of life."""
    digest = TextDigest()
    for document in split.documents():
        for block in document:
            digest.add(block.encode("utf-8"))
            on_block()
        digest.end_document()
    return digest.hexdigest()


def _split_of_spans(spans: Sequence[FileSpan]) -> SplitText:
    def documents() -> Iterator[Document]:
        return map(read_span, spans)

    return SplitText(documents=documents, size_bytes=sum(span.end - span.start for span in spans))
