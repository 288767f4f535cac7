"""Cut into pieces and encoded piece by piece, a text has the tokens of the text taken whole."""

import argparse
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hlbgpt_core.scale import TIKTOKEN_VOCABULARIES
from hlbgpt_core.text.corpus import Document, SplitText
from hlbgpt_core.text.encoding import Heart, encode_split, pieces
from hlbgpt_core.text.tokenizer import ByteTokenizer, load_tokenizer

# What the patterns treat each in its own way: letters of both cases, marks, digits, punctuation, apostrophes,
# slashes, and white space of every kind, in runs.
ODD_WORDS = (
    "a",
    "B",
    "word",
    "é",
    "漢",
    "\u0301",
    "ǅ",
    "1",
    "234",
    "²",
    "!",
    "...",
    "'s",
    "'LL",
    "'",
    "/",
    "/\n",
    "😀",
)
ODD_SPACES = (
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\x85",
    "\x0b",
    "\x1c",
    "\u200b",
)
ODD_TEXT = st.lists(
    st.sampled_from(ODD_WORDS + ODD_SPACES),
    max_size=20,
).map("".join)


@pytest.fixture(scope="module")
def patterns() -> dict[str, str]:
    """The pattern that splits text, of every tiktoken encoding, taken from tiktoken itself; equal ones once."""
    from tiktoken_ext import openai_public

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: {})
        patch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda *args, **kwargs: {})
        found = {name: openai_public.ENCODING_CONSTRUCTORS[name]()["pat_str"] for name in TIKTOKEN_VOCABULARIES}
    return {pattern: name for name, pattern in found.items()}


def matches_of(pattern: str, text: str, parts: list[str]) -> list[bytes]:
    """What tiktoken's own engine matches in `parts`, one after the other.

    Its vocabulary here is every substring of `text`, so that each match is one token.
    """
    import tiktoken

    substrings = {text[start:end].encode() for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
    single = [bytes([value]) for value in range(256)]
    ranks = {token: rank for rank, token in enumerate([*single, *sorted(substrings - set(single))])}
    encoding = tiktoken.Encoding("all", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return [match for part in parts for match in encoding.decode_tokens_bytes(encoding.encode_ordinary(part))]


@given(text=ODD_TEXT, block_characters=st.integers(1, 9), piece_characters=st.integers(1, 6))
@settings(max_examples=250, deadline=None)
@example(text="a!\n/b", block_characters=1, piece_characters=1)
@example(text="a   b", block_characters=2, piece_characters=1)
@example(text="a\n\nb", block_characters=1, piece_characters=1)
@example(text="a!\r\n b", block_characters=1, piece_characters=1)
@example(text="a \n b", block_characters=3, piece_characters=1)
def test_every_pattern_matches_the_same_in_pieces_as_in_the_whole_text(
    text: str, block_characters: int, piece_characters: int, patterns: dict[str, str]
) -> None:
    blocks = [text[start : start + block_characters] for start in range(0, len(text), block_characters)]
    found = list(pieces(blocks, piece_characters))
    assert "".join(found) == text
    for pattern, name in patterns.items():
        assert matches_of(pattern, text, found) == matches_of(pattern, text, [text]), name


def test_gpt2_has_the_same_tokens_in_pieces(tmp_path: Path) -> None:
    text = Path(argparse.__file__).read_text(encoding="utf-8")
    tokenizer = load_tokenizer("gpt2", tmp_path)
    found = list(pieces([text[start : start + 100] for start in range(0, len(text), 100)], 300))
    assert len(found) > 200
    in_pieces = np.concatenate([tokenizer.encode(piece) for piece in found])
    assert in_pieces.tolist() == tokenizer.encode(text).tolist()


@given(text=ODD_TEXT, piece_characters=st.integers(1, 6))
@settings(max_examples=200)
def test_pieces_suit_the_pattern_of_trained_tokenizers(text: str, piece_characters: int) -> None:
    pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    whole = [part for part, _ in split(text)]
    in_pieces = [part for piece in pieces(text, piece_characters) for part, _ in split(piece)]
    assert in_pieces == whole


def test_ordinary_text_is_cut_into_pieces_of_the_size_asked_for() -> None:
    text = "def f(x):\n    return x + 1\n\n\n" * 1000
    found = list(pieces([text[start : start + 100] for start in range(0, len(text), 100)], 500))
    assert "".join(found) == text
    assert max(map(len, found)) <= 700


def test_text_without_a_safe_cut_stays_whole() -> None:
    assert list(pieces(["x" * 1000] * 5, 100)) == ["x" * 5000]
    assert list(pieces(["\n" * 1000] * 5, 100)) == ["\n" * 5000]


def split_of(*documents: list[str]) -> SplitText:
    def start() -> Iterator[Document]:
        return map(iter, documents)

    return SplitText(documents=start, size_bytes=1)


def ignore(done: int, work: "Future[Any]") -> None:
    pass


def test_end_of_text_stands_between_documents_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens.bin"
    found = encode_split(split_of(["ab"], [], ["c", "é"]), ByteTokenizer(), file, np.dtype("<u2"), ignore)
    tokens = np.fromfile(file, "<u2")
    assert tokens.tolist() == [97, 98, 256, 99, 0xC3, 0xA9]
    assert (found.tokens, found.text_bytes) == (6, 5)
    assert found.token_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_text_digest_knows_borders_but_not_blocks(tmp_path: Path) -> None:
    def digest(*documents: list[str]) -> str:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        return encode_split(split_of(*documents), ByteTokenizer(), file, np.dtype("<u2"), ignore).text_sha256

    assert digest(["abc"], ["d"]) == digest(["a", "bc"], ["d"])
    assert digest(["abc"], ["d"]) != digest(["ab"], ["cd"])


def test_many_pieces_keep_their_order_and_are_never_all_in_flight(tmp_path: Path) -> None:
    class CountingTokenizer(ByteTokenizer):
        def __init__(self) -> None:
            self.started = 0

        def encode(self, text: str) -> Any:
            self.started += 1
            return super().encode(text)

    tokenizer = CountingTokenizer()
    lines = [f"{number:07d} " * 40_000 for number in range(64)]
    in_flight: list[int] = []
    written = 0

    def count(done: int, work: "Future[Any]") -> None:
        nonlocal written
        in_flight.append(tokenizer.started - written)
        written += 1

    encode_split(split_of(lines), tokenizer, tmp_path / "tokens.bin", np.dtype("<u2"), count)
    assert (tmp_path / "tokens.bin").read_bytes()[::2] == "".join(lines).encode()
    assert written >= 64
    assert max(in_flight) < 40


def test_progress_is_told_while_others_work() -> None:
    told: list[tuple[str, float]] = []
    done: Future[int] = Future()

    def hear(what: str, fraction: float) -> None:
        told.append((what, fraction))
        threading.Timer(0.01, lambda: done.done() or done.set_result(7)).start()

    heart = Heart(hear)
    assert heart.wait(done, "encoding", 0.5) == 7
    assert ("encoding", 0.5) in told


def test_progress_is_told_at_most_every_half_second() -> None:
    now = 0.0
    told: list[float] = []
    heart = Heart(lambda what, fraction: told.append(fraction), clock=lambda: now)
    for step in range(20):
        now = step * 0.125
        heart.beat("encoding", step)
    assert len(told) == 5
    assert max(told) == 1.0
