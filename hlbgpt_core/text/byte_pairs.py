"""`bpe:SIZE`: a byte-level byte-pair tokenizer trained on the training text, with the tokenizers library.

The values are the 256 bytes and SIZE - 257 merges; end of text is SIZE - 1. Text is split by GPT-2's pattern.
"""

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hlbgpt_core.errors import HostDataError
from hlbgpt_core.private_files import make_private_folder, write_private_file
from hlbgpt_core.text.tokenizer import TokenArray


class BytePairTokenizer:
    """A trained byte-pair vocabulary of `vocab_size` values, end of text among them, kept at `path`."""

    def __init__(self, file: Path, vocab_size: int) -> None:
        """Load what `train_byte_pairs` wrote. Raises DataError without the tokenizers library or for a broken file."""
        _require_library()
        from tokenizers import Tokenizer as LibraryTokenizer

        try:
            self._library: Any = LibraryTokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise HostDataError(f"the trained tokenizer '{file}' cannot be read: {error}", "Remove the file.") from None
        self.path = file
        self.vocab_size = vocab_size
        self.end_of_text = vocab_size - 1

    def encode(self, text: str) -> TokenArray:
        return np.asarray(self._library.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._library.decode([token for token in tokens if token != self.end_of_text]))


def train_byte_pairs(pieces: Iterable[str], vocab_size: int, file: Path) -> None:
    """Train on `pieces` and write the vocabulary to `file`, completely or not at all.

    `pieces` must be cut where the pattern cuts (encoding.pieces). A short text may give fewer merges than wanted; the
    values above them then never occur.
    """
    _require_library()
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = LibraryTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(iter(pieces), trainer=trainer)
    make_private_folder(file.parent)
    write_private_file(file, tokenizer.to_str().encode("utf-8"))


def _require_library() -> None:
    if importlib.util.find_spec("tokenizers") is None:
        raise HostDataError(
            "tokenizers bpe:SIZE need the tokenizers library, which is not installed",
            "Install it: pip install 'hlbq[bpe]'. Or use --tokenizer gpt2 or --tokenizer bytes.",
        )
