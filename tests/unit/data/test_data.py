"""load_data: from names to tokens, through the cache."""

import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hlbgpt_core.errors import DataError
from hlbgpt_core.text import data as data_room
from hlbgpt_core.text.data import dataset_tokenizer, load_data
from hlbgpt_core.text.dataset_source import cached_fingerprint
from hlbgpt_core.text.token_cache import list_caches, token_type


@pytest.fixture
def encodings_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gains an entry for each split that is really encoded."""
    made: list[str] = []
    encode = data_room.encode_split

    def noted(split: object, tokenizer: object, file: Path, *rest: object) -> object:
        made.append(file.name)
        return encode(split, tokenizer, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(data_room, "encode_split", noted)
    return made


def test_tokens_are_the_text(text_file: Path, cache_dir: Path) -> None:
    content = text_file.read_bytes()
    data = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    assert bytes(data.train.tolist()) + bytes(data.val.tolist()) == content
    assert (data.train_bytes, data.val_bytes) == (len(data.train), len(data.val))
    assert data.train_bytes + data.val_bytes == len(content)
    assert data.vocab_size == 257
    assert data.train.dtype == np.uint16
    assert isinstance(data.train, np.memmap)
    assert not data.train.flags.writeable


def test_gpt2_tokens_count_the_bytes_of_their_text(text_file: Path, cache_dir: Path, no_network: None) -> None:
    content = text_file.read_bytes()
    data = load_data(f"text:{text_file}", "gpt2", cache_dir=cache_dir)
    tokenizer = dataset_tokenizer(f"text:{text_file}", "gpt2", cache_dir=cache_dir)
    train, val = (tokenizer.decode([int(token) for token in part]) for part in (data.train, data.val))
    assert (train + val).encode() == content
    assert data.val_bytes == len(val.encode()) != len(data.val)
    assert data.vocab_size == 50_257


def test_documents_are_separated(tmp_path: Path, cache_dir: Path) -> None:
    for name, text in (("train-a.txt", "abc"), ("train-b.txt", "de"), ("val.txt", "fg")):
        (tmp_path / name).write_text(text)
    data = load_data(f"text:{tmp_path}/*.txt", "bytes", cache_dir=cache_dir)
    assert data.train.tolist() == [97, 98, 99, 256, 100, 101]
    assert data.val.tolist() == [102, 103]
    assert (data.train_bytes, data.val_bytes) == (5, 2)


def test_pystdlib_is_real_text_and_opens_from_its_cache(cache_dir: Path, encodings_made: list[str]) -> None:
    first = load_data("pystdlib", "bytes", cache_dir=cache_dir)
    again = load_data("pystdlib", "bytes", cache_dir=cache_dir)
    assert encodings_made == ["train.bin", "val.bin"]
    assert again.fingerprint == first.fingerprint
    assert len(first.train) > 5_000_000
    assert first.train_bytes == len(first.train) - np.count_nonzero(first.train == 256)
    assert b"import " in bytes(token % 256 for token in first.val[:100_000].tolist())


def test_the_fingerprint_is_the_contents_alone(text_file: Path, tmp_path: Path, cache_dir: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "other-name.md"
    elsewhere.parent.mkdir()
    shutil.copy(text_file, elsewhere)
    here = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    there = load_data(f"text:{elsewhere}", "bytes", cache_dir=tmp_path / "cache-of-another-host")
    assert there.fingerprint == here.fingerprint
    elsewhere.write_bytes(text_file.read_bytes().replace(b"quiet", b"queit"))
    changed = load_data(f"text:{elsewhere}", "bytes", cache_dir=tmp_path / "cache-of-another-host")
    assert changed.fingerprint != here.fingerprint


def test_the_fingerprint_knows_the_split_and_the_tokenizer(
    text_file: Path, tmp_path: Path, cache_dir: Path, no_network: None
) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "train.txt").write_bytes(text_file.read_bytes()[:-10])
    (named / "val.txt").write_bytes(text_file.read_bytes()[-10:])
    found = {
        load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir).fingerprint,
        load_data(f"text:{text_file}", "gpt2", cache_dir=cache_dir).fingerprint,
        load_data(f"text:{named}", "bytes", cache_dir=cache_dir).fingerprint,
    }
    assert len(found) == 3


def test_touched_files_with_the_same_text_are_not_encoded_again(
    text_file: Path, cache_dir: Path, encodings_made: list[str]
) -> None:
    first = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    os.utime(text_file, ns=(1, 1))
    assert cached_fingerprint(f"text:{text_file}", "bytes", cache_dir=cache_dir) is None
    again = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    assert again.fingerprint == first.fingerprint
    assert encodings_made == ["train.bin", "val.bin"]
    assert cached_fingerprint(f"text:{text_file}", "bytes", cache_dir=cache_dir) == first.fingerprint


def test_changed_text_is_encoded_again_and_open_arrays_stay_as_they_were(text_file: Path, cache_dir: Path) -> None:
    first = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    before = first.train.tolist()
    text_file.write_bytes(text_file.read_bytes().upper())
    os.utime(text_file, ns=(1, 1))
    changed = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    assert bytes(changed.train.tolist()).startswith(b"LINE")
    assert first.train.tolist() == before
    assert len(list_caches(cache_dir)) == 1


def test_the_same_relative_path_in_two_folders_is_two_datasets(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(f"the text of {name} " * 10)
        monkeypatch.chdir(tmp_path / name)
        found.append(load_data("text:text.txt", "bytes", cache_dir=cache_dir).fingerprint)
    assert found[0] != found[1]
    assert len(list_caches(cache_dir)) == 2


def test_a_cached_fingerprint_builds_nothing(text_file: Path, cache_dir: Path) -> None:
    assert cached_fingerprint(f"text:{text_file}", "bytes", cache_dir=cache_dir) is None
    assert cached_fingerprint(f"text:{text_file}-missing", "bytes", cache_dir=cache_dir) is None
    assert not cache_dir.exists()


def test_a_trained_tokenizer_is_trained_once_for_a_text(
    text_file: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers")
    copy = text_file.with_name("copy.txt")
    shutil.copy(text_file, copy)
    first = load_data(f"text:{text_file}", "bpe:300", cache_dir=cache_dir)
    monkeypatch.setattr(data_room, "train_byte_pairs", lambda *args: pytest.fail("trained again"))
    assert load_data(f"text:{copy}", "bpe:300", cache_dir=cache_dir).fingerprint == first.fingerprint
    tokenizer = dataset_tokenizer(f"text:{text_file}", "bpe:300", cache_dir=cache_dir)
    decoded = tokenizer.decode(first.train.tolist()) + tokenizer.decode(first.val.tolist())
    assert decoded.encode() == text_file.read_bytes()
    assert len(list((cache_dir / "bpe").iterdir())) == 1


def test_a_trained_tokenizer_takes_validation_text_it_never_saw(tmp_path: Path, cache_dir: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "train.txt").write_text("plain words, plain words " * 50)
    (tmp_path / "val.txt").write_text("漢字 😀")
    data = load_data(f"text:{tmp_path}", "bpe:300", cache_dir=cache_dir)
    tokenizer = dataset_tokenizer(f"text:{tmp_path}", "bpe:300", cache_dir=cache_dir)
    assert tokenizer.decode(data.val.tolist()) == "漢字 😀"


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "<u2"), (65_535, "<u2"), (65_536, "<u4"), (201_088, "<u4")])
def test_the_type_holds_every_token(vocab_size: int, dtype: str) -> None:
    assert token_type(vocab_size) == dtype
    assert np.iinfo(token_type(vocab_size)).max >= vocab_size - 1


def test_a_large_vocabulary_is_kept_in_four_bytes(text_file: Path, cache_dir: Path) -> None:
    pytest.importorskip("tokenizers")
    for path, text in (("train.txt", "some words here"), ("val.txt", "here")):
        (cache_dir.parent / "large").mkdir(exist_ok=True)
        (cache_dir.parent / "large" / path).write_text(text)
    data = load_data(f"text:{cache_dir.parent}/large", "bpe:70000", cache_dir=cache_dir)
    assert (data.train.dtype, data.vocab_size) == (np.uint32, 70_000)
    with pytest.raises(DataError, match="no usable size"):
        load_data(f"text:{text_file}", "bpe:99999999999", cache_dir=cache_dir)


def test_progress_names_the_work(text_file: Path, cache_dir: Path) -> None:
    told: list[tuple[str, float]] = []
    load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir, on_progress=lambda *beat: told.append(beat))
    assert told
    assert all(what == "encoding" and 0 <= fraction <= 1 for what, fraction in told)


def test_a_cache_that_cannot_be_written_names_the_way_out(text_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError) as refused:
        load_data(f"text:{text_file}", "bytes", cache_dir=tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in refused.value.message
    assert "HLBQ_CACHE" in refused.value.hint


def test_a_full_disk_leaves_nothing_behind(text_file: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_room, "encode_split", full)
    with pytest.raises(DataError, match="No space left on device"):
        load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    assert not list((cache_dir / "tokens").iterdir())


def test_the_extras_that_messages_name_exist() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert {"gpt2-offline", "bpe"} <= set(project["optional-dependencies"])
