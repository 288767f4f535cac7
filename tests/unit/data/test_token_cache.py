"""The cache on disk: whole or not there, built once, private, and never left by a name."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.errors import DataError, HostDataError
from hlbgpt_core.text.data import load_data
from hlbgpt_core.text.token_cache import (
    CacheEntry,
    building,
    cache_entry,
    default_cache_dir,
    list_caches,
    locked,
    read_manifest,
    remove_cache,
    verify_cache,
)
from hlbgpt_core.text.tokenizer import ByteTokenizer

SPAWN = multiprocessing.get_context("spawn")
LIMIT_SECONDS = 60


def load(dataset: str, cache_dir: Path) -> bytes:
    data = load_data(dataset, "bytes", cache_dir=cache_dir)
    return bytes(data.train.tolist()) + bytes(data.val.tolist())


def the_folder(cache_dir: Path) -> Path:
    (record,) = list_caches(cache_dir)
    return cache_dir / "tokens" / record.name


def spoil_train_cut(folder: Path) -> None:
    os.truncate(folder / "train.bin", (folder / "train.bin").stat().st_size - 2)


def spoil_val_longer(folder: Path) -> None:
    with (folder / "val.bin").open("ab") as file:
        file.write(b"\0\0")


def spoil_val_gone(folder: Path) -> None:
    (folder / "val.bin").unlink()


def spoil_manifest_cut(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 100)


def spoil_manifest_empty(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 0)


def spoil_manifest_gone(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def spoil_other_version(folder: Path) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(values | {"version": 0}))


def spoil_wrong_types(folder: Path) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(values | {"dtype": "object", "train_tokens": "many"}))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_train_cut,
        spoil_val_longer,
        spoil_val_gone,
        spoil_manifest_cut,
        spoil_manifest_empty,
        spoil_manifest_gone,
        spoil_other_version,
        spoil_wrong_types,
    ],
)
def test_a_spoilt_cache_is_rebuilt(spoil: Any, text_file: Path, cache_dir: Path) -> None:
    content = load(f"text:{text_file}", cache_dir)
    folder = the_folder(cache_dir)
    spoil(folder)
    assert read_manifest(folder) is None
    assert not list_caches(cache_dir)[0].usable
    assert load(f"text:{text_file}", cache_dir) == content == text_file.read_bytes()
    assert read_manifest(folder) is not None


class SlowTokenizer(ByteTokenizer):
    """Says that it has begun, and goes on when it is told to."""

    def __init__(self, begun: Any, go_on: Any) -> None:
        self._begun, self._go_on = begun, go_on

    def encode(self, text: str) -> Any:
        self._begun.put(os.getpid())
        assert self._go_on.wait(LIMIT_SECONDS)
        return super().encode(text)


def build_slowly(dataset: str, cache_dir: Path, begun: Any, go_on: Any, waiting: Any, found: Any) -> None:
    """A process's work: load the data; tell who encoded, who waited, and what came of it."""
    from hlbgpt_core.text import data as data_room

    data_room.load_tokenizer = lambda name, cache: SlowTokenizer(begun, go_on)  # type: ignore[assignment]

    def hear(what: str, fraction: float) -> None:
        if "another process" in what:
            waiting.set()

    data = load_data(dataset, "bytes", cache_dir=cache_dir, on_progress=hear)
    found.put((os.getpid(), data.fingerprint))


def test_two_processes_that_start_together_build_once(text_file: Path, cache_dir: Path) -> None:
    begun, found, go_on, waiting = SPAWN.Queue(), SPAWN.Queue(), SPAWN.Event(), SPAWN.Event()
    args = (f"text:{text_file}", cache_dir, begun, go_on, waiting, found)
    processes = [SPAWN.Process(target=build_slowly, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    builder = begun.get(timeout=LIMIT_SECONDS)
    assert waiting.wait(LIMIT_SECONDS), "the other process waits, and says so"
    go_on.set()
    results = dict(found.get(timeout=LIMIT_SECONDS) for _ in processes)
    for process in processes:
        process.join(LIMIT_SECONDS)
        assert process.exitcode == 0
    assert len(results) == 2
    assert len(set(results.values())) == 1
    encoders = {builder}
    while not begun.empty():
        encoders.add(begun.get(timeout=LIMIT_SECONDS))
    assert encoders == {builder}
    assert load(f"text:{text_file}", cache_dir) == text_file.read_bytes()


def test_a_killed_builder_leaves_nothing_that_is_read(text_file: Path, cache_dir: Path) -> None:
    begun, found, go_on, waiting = SPAWN.Queue(), SPAWN.Queue(), SPAWN.Event(), SPAWN.Event()
    args = (f"text:{text_file}", cache_dir, begun, go_on, waiting, found)
    process = SPAWN.Process(target=build_slowly, args=args)
    process.start()
    begun.get(timeout=LIMIT_SECONDS)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(LIMIT_SECONDS)
    leftovers = list((cache_dir / "tokens").iterdir())
    assert [path.name[0] for path in leftovers] == ["."]
    assert list_caches(cache_dir) == []
    assert load(f"text:{text_file}", cache_dir) == text_file.read_bytes()
    assert list((cache_dir / "tokens").iterdir()) == [the_folder(cache_dir)]


def test_a_build_that_fails_leaves_the_old_cache(cache_dir: Path) -> None:
    entry = CacheEntry(cache_dir=cache_dir, name="some-name")
    entry.folder.mkdir(parents=True)
    (entry.folder / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), building(entry) as folder:
        (folder / "new").write_text("new")
        raise ZeroDivisionError
    assert [path.name for path in entry.folder.iterdir()] == ["old"]
    assert list(entry.folder.parent.iterdir()) == [entry.folder]


def test_everything_is_private(text_file: Path, cache_dir: Path) -> None:
    before = os.umask(0)
    try:
        load(f"text:{text_file}", cache_dir)
        load_data(f"text:{text_file}", "gpt2", cache_dir=cache_dir)
    finally:
        os.umask(before)
    for path in (cache_dir, *cache_dir.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@given(dataset=st.text(min_size=1), tokenizer=st.text(min_size=1))
def test_no_name_leaves_the_cache(dataset: str, tokenizer: str) -> None:
    entry = cache_entry(Path("/cache"), dataset=dataset, identity=dataset, tokenizer=tokenizer)
    assert entry.folder.parent == Path("/cache/tokens")
    assert entry.folder.name[0] != "."
    assert len(entry.folder.name) < 100
    assert entry.name.isascii()


def test_other_tokenizers_and_identities_have_other_names() -> None:
    names = {
        cache_entry(Path("/c"), dataset="text:a", identity=identity, tokenizer=tokenizer).name
        for identity in ("/x/a", "/y/a")
        for tokenizer in ("bytes", "gpt2")
    }
    assert len(names) == 4


def test_caches_are_listed_verified_and_removed(text_file: Path, cache_dir: Path) -> None:
    assert list_caches(cache_dir) == []
    data = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    (record,) = list_caches(cache_dir)
    assert (record.usable, record.dataset, record.tokenizer) == (True, f"text:{text_file}", "bytes")
    assert (record.train_tokens, record.val_tokens) == (len(data.train), len(data.val))
    assert record.bytes_on_disk > 2 * len(data.train)
    assert (record.fingerprint, record.made_at[:2]) == (data.fingerprint, "20")
    assert verify_cache(cache_dir, record.name)
    with (the_folder(cache_dir) / "train.bin").open("r+b") as file:
        file.write(b"XX")
    assert not verify_cache(cache_dir, record.name)
    assert remove_cache(cache_dir, record.name) == record
    assert list_caches(cache_dir) == []


@pytest.mark.parametrize("name", ["nothing", "..", "../locks", ""])
def test_only_a_cache_that_is_there_can_be_removed(name: str, text_file: Path, cache_dir: Path) -> None:
    load(f"text:{text_file}", cache_dir)
    with pytest.raises(DataError, match="there is no cache"):
        remove_cache(cache_dir, name)
    assert len(list_caches(cache_dir)) == 1


def test_a_cache_is_not_removed_while_it_is_built(text_file: Path, cache_dir: Path) -> None:
    load(f"text:{text_file}", cache_dir)
    name = the_folder(cache_dir).name
    with (
        locked(CacheEntry(cache_dir=cache_dir, name=name), lambda: None),
        pytest.raises(DataError, match="being built"),
    ):
        remove_cache(cache_dir, name)
    assert len(list_caches(cache_dir)) == 1


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    assert default_cache_dir({"HLBQ_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert default_cache_dir({"XDG_CACHE_HOME": "/b"}) == Path("/b/hlbq")
    assert default_cache_dir({"XDG_CACHE_HOME": "relative"}) == default_cache_dir({})
    with pytest.raises(HostDataError, match="'~nobody_of_that_name/x' names an unknown user"):
        default_cache_dir({"HLBQ_CACHE": "~nobody_of_that_name/x"})
    assert default_cache_dir({}).is_relative_to(Path.home())
    assert default_cache_dir({"HLBQ_CACHE": "relative"}).is_absolute()
