"""Tokenizers: text to token values and back.

`bytes` has 256 values and end of text; tiktoken's encodings come with their own vocabulary; `bpe:SIZE` is
trained on the training text (see byte_pairs.py). End of text never comes from the text itself: a text that
spells `<|endoftext|>` is encoded as ordinary characters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hlbgpt_core.errors import DataError, SettingsError
from hlbgpt_core.scale import unpadded_vocabulary_size
from hlbgpt_core.text.vocabulary_files import provide_vocabulary, tiktoken_cache

TokenArray = npt.NDArray[np.unsignedinteger[Any]]
BYTE_VALUES = 256


class Tokenizer(Protocol):
    """What a dataset needs from a tokenizer. `encode` must be safe to call from several threads."""

    @property
    def vocab_size(self) -> int:
        """Number of token values, end of text among them, not padded."""

    @property
    def end_of_text(self) -> int:
        """The value that separates documents."""

    def encode(self, text: str) -> TokenArray:
        """The token values of `text`, 1-D, end of text never among them."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token values; bytes that are not UTF-8 become U+FFFD, values without text nothing."""


class ByteTokenizer:
    """One token per UTF-8 byte: values 0 to 255, and 256 for end of text."""

    vocab_size = BYTE_VALUES + 1
    end_of_text = BYTE_VALUES

    def encode(self, text: str) -> TokenArray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < BYTE_VALUES).decode("utf-8", errors="replace")


class TiktokenTokenizer:
    """One of tiktoken's encodings."""

    def __init__(self, name: str, cache_dir: Path) -> None:
        """Load the encoding `name`. Raises DataError if its vocabulary is unavailable."""
        vocabulary = provide_vocabulary(name, cache_dir)
        import tiktoken

        with tiktoken_cache(vocabulary):
            self._encoding = tiktoken.get_encoding(name)
        self.vocab_size = self._encoding.n_vocab
        self.end_of_text = self._encoding.eot_token
        self._special_tokens = {self._encoding.encode_single_token(text) for text in self._encoding.special_tokens_set}

    def encode(self, text: str) -> TokenArray:
        return self._encoding.encode_to_numpy(text, disallowed_special=())

    def decode(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self._bytes_of, tokens)).decode("utf-8", errors="replace")

    def _bytes_of(self, token: int) -> bytes:
        """The token's bytes; none for special tokens, and for the values that pad a model's vocabulary."""
        if token in self._special_tokens:
            return b""
        try:
            return self._encoding.decode_single_token_bytes(token)
        except KeyError:
            return b""


def load_tokenizer(name: str, cache_dir: Path) -> Tokenizer:
    """The tokenizer `name`: bytes, or one of tiktoken's encodings.

    Raises DataError for an unknown name, an unavailable vocabulary, and `bpe:SIZE`, which exists only together with a
    dataset (see data.dataset_tokenizer).
    """
    try:
        unpadded_vocabulary_size(name)
    except SettingsError as error:
        raise DataError(error.message, error.hint) from None
    if name == "bytes":
        return ByteTokenizer()
    if name.startswith("bpe:"):
        raise DataError(f"tokenizer '{name}' is trained on a dataset", "Load it together with the dataset.")
    return TiktokenTokenizer(name, cache_dir)
