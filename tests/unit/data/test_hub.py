"""Datasets of a hub: from the library's own cache without a network, and refused quickly where they are not there."""

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest

from hlbgpt_core.errors import DataError
from hlbgpt_core.text import hub
from hlbgpt_core.text.data import load_data
from hlbgpt_core.text.hub import hub_corpus
from hlbgpt_core.text.sources import parse_dataset
from hlbgpt_core.text.token_cache import verify_cache

Rows = dict[str, list[dict[str, object]]]


@pytest.fixture
def library_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `datasets` library with an empty cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    return tmp_path / "library"


def put_into_library_cache(cache: Path, owner: str, name: str, config: str, splits: Rows) -> None:
    """Leave in `cache` what the library leaves there after it has loaded owner/name from the hub."""
    import datasets

    work = cache.parent / "made"
    work.mkdir()
    for split, rows in splits.items():
        (work / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(work / f"{split}.jsonl") for split in splits}
    datasets.load_dataset("json", data_files=files, cache_dir=str(work / "cache"))
    (made,) = (path.parent for path in (work / "cache").glob("json/*/*/*/dataset_info.json"))
    placed = cache / f"{owner}___{name}" / config / made.parent.name / made.name
    shutil.copytree(made, placed)
    for file in placed.glob("json-*"):
        file.rename(placed / file.name.replace("json-", f"{name}-", 1))
    info = json.loads((placed / "dataset_info.json").read_text())
    (placed / "dataset_info.json").write_text(json.dumps(info | {"config_name": config}))


def texts(*values: str) -> list[dict[str, object]]:
    return [{"text": value} for value in values]


def documents_of(dataset: str) -> tuple[list[str], list[str]]:
    corpus = hub_corpus(parse_dataset(dataset))
    train, val = (["".join(document) for document in split.documents()] for split in (corpus.train, corpus.val))
    return train, val


def test_a_cached_dataset_needs_no_network(library_cache: Path, cache_dir: Path, no_network: None) -> None:
    splits = {"train": texts("ab", "", "c"), "validation": texts("d", "e"), "test": texts("f")}
    put_into_library_cache(library_cache, "owner", "tiny", "default", splits)
    data = load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir)
    assert data.train.tolist() == [97, 98, 256, 99]
    assert data.val.tolist() == [100, 256, 101]
    assert (data.train_bytes, data.val_bytes) == (3, 2)


def test_an_old_cache_gains_the_test_split_and_keeps_its_tokens(
    library_cache: Path, cache_dir: Path, no_network: None
) -> None:
    splits = {"train": texts("ab", "", "c"), "validation": texts("d", "e"), "test": texts("f", "gh")}
    put_into_library_cache(library_cache, "owner", "tiny", "default", splits)
    before = load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir)
    (folder,) = (cache_dir / "tokens").iterdir()
    old = (folder / "train.bin").stat().st_ino
    data = load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir, with_test=True)
    assert data.test is not None and data.test.tolist() == [102, 256, 103, 104]
    assert data.test_bytes == 3 and data.test_fingerprint
    assert before.test is None and data.fingerprint == before.fingerprint != data.test_fingerprint
    assert (folder / "train.bin").stat().st_ino == old
    assert verify_cache(cache_dir, folder.name)
    shutil.rmtree(library_cache)  # the second time nothing of the library is needed
    again = load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir, with_test=True)
    assert again.test_fingerprint == data.test_fingerprint
    (folder / "test.bin").write_bytes(b"\0" * 8)
    assert not verify_cache(cache_dir, folder.name)


@pytest.mark.parametrize("rest", [{}, {"test": texts("")}])
def test_a_dataset_without_a_test_text_is_asked_for_it_once(
    rest: Rows, library_cache: Path, cache_dir: Path, no_network: None
) -> None:
    splits: Rows = {"train": texts("ab", "c"), "validation": texts("d"), **rest}
    put_into_library_cache(library_cache, "owner", "tiny", "default", splits)
    data = load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir, with_test=True)
    assert (data.test, data.test_fingerprint) == (None, "")
    shutil.rmtree(library_cache)
    assert load_data("hf:owner/tiny", "bytes", cache_dir=cache_dir, with_test=True).test is None


def test_wikitexts_rows_are_joined_as_its_raw_file_has_them(
    library_cache: Path, cache_dir: Path, no_network: None
) -> None:
    splits = {"train": texts("", " = Title = \n", "", " Words . \n"), "validation": texts(" More . \n", "")}
    put_into_library_cache(library_cache, "Salesforce", "wikitext", "wikitext-103-raw-v1", splits)
    data = load_data("wikitext-103", "bytes", cache_dir=cache_dir)
    assert bytes(data.train.tolist()) == b" \n = Title = \n \n Words . \n"
    assert bytes(data.val.tolist()) == b" More . \n \n"
    assert data.val_bytes == len(data.val)


def test_without_a_validation_split_the_last_rows_validate(library_cache: Path, no_network: None) -> None:
    rows = texts(*(f"row {number}" for number in range(40)))
    put_into_library_cache(library_cache, "owner", "tiny", "default", {"train": rows})
    train, val = documents_of("hf:owner/tiny")
    assert (train[-1], val) == ("row 37", ["row 38", "row 39"])


def test_the_only_column_of_text_serves(library_cache: Path, no_network: None) -> None:
    rows: Rows = {"train": [{"story": "ab", "length": 2}], "validation": [{"story": "c", "length": 1}]}
    put_into_library_cache(library_cache, "owner", "tiny", "default", rows)
    assert documents_of("hf:owner/tiny:default") == (["ab"], ["c"])


def test_a_dataset_without_a_clear_column_names_its_columns(library_cache: Path, no_network: None) -> None:
    rows: Rows = {"train": [{"question": "a", "answer": "b"}], "validation": [{"question": "a", "answer": "b"}]}
    put_into_library_cache(library_cache, "owner", "tiny", "default", rows)
    with pytest.raises(DataError, match="question, answer"):
        documents_of("hf:owner/tiny")


@pytest.mark.parametrize("dataset", ["wikitext-103", "hf:owner/not-there", "hf:not-there:config"])
def test_what_is_not_there_is_refused_with_what_works_offline(
    dataset: str, library_cache: Path, cache_dir: Path, no_network: None
) -> None:
    with pytest.raises(DataError) as refused:
        load_data(dataset, "bytes", cache_dir=cache_dir)
    assert f"'{dataset}'" in refused.value.message
    assert str(library_cache) in refused.value.message
    assert "cannot be reached" in refused.value.message
    assert "pystdlib" in refused.value.hint
    assert "text:PATH" in refused.value.hint


def test_a_silent_name_server_is_not_waited_for(
    library_cache: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up never returns; the hub is given up all the same, and the library asks nothing more."""
    asked_by: list[str] = []
    end_of_test = threading.Event()

    def never_answer(*args: object, **kwargs: object) -> object:
        asked_by.append(threading.current_thread().name)
        end_of_test.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never_answer)
    monkeypatch.setattr(hub, "REACH_SECONDS_IN_ALL", 0.05)
    try:
        with pytest.raises(DataError, match="cannot be reached"):
            load_data("hf:owner/not-there", "bytes", cache_dir=cache_dir)
        assert len(asked_by) <= 1
    finally:
        end_of_test.set()


def test_the_waits_for_a_network_stay_under_ten_seconds() -> None:
    from hlbgpt_core.text import vocabulary_files

    assert hub.REACH_SECONDS_IN_ALL < 6
    assert vocabulary_files.DOWNLOAD_SECONDS < 10


def test_the_library_is_left_online_again(library_cache: Path, no_network: None) -> None:
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    with pytest.raises(DataError):
        documents_of("hf:owner/not-there")
    after = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    assert after == before == (False, False)


def test_a_refusal_of_a_hub_that_answers_is_passed_on(library_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: object) -> object:
        raise ValueError("BuilderConfig 'b' not found.\nAvailable: ['a']" + "x" * 1000)

    monkeypatch.setattr(hub, "_hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"refuses it \(BuilderConfig 'b' not found. Available: \['a'\]") as refused:
        documents_of("hf:owner/tiny:b")
    assert len(refused.value.message) < 600
