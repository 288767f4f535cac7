"""A cache that is no longer what was written is found at its first use in a process, reported, and made again."""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlbgpt_core.errors import HostDataError
from hlbgpt_core.text import content_checks, hub
from hlbgpt_core.text.content_checks import ContentChecks, sha256_of
from hlbgpt_core.text.corpus import Corpus, SplitText
from hlbgpt_core.text.data import CacheWatch, TokenData, load_data
from hlbgpt_core.text.token_cache import examine, list_caches


def flip(path: Path, place: int = -1) -> None:
    """Another byte at the same size, and at the same time of change, as a bad disk leaves it."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def change(folder: Path, file: str, **values: Any) -> None:
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(found | values))


def swap(folder: Path) -> None:
    """Files of another cache, whole in themselves and of the same size."""
    content = (folder / "train.bin").read_bytes()
    (folder / "train.bin").unlink()
    (folder / "train.bin").write_bytes(content[::-1])


def without_seal(folder: Path, **values: Any) -> None:
    """As a cache of before there were seals."""
    found = json.loads((folder / "manifest.json").read_text())
    old = {name: value for name, value in found.items() if name not in ("seal", "entry")}
    (folder / "manifest.json").write_text(json.dumps(old | values))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "train changed": (lambda folder: flip(folder / "train.bin"), "train.bin was changed"),
    "first byte": (lambda folder: flip(folder / "train.bin", 0), "train.bin was changed"),
    "val changed": (lambda folder: flip(folder / "val.bin", 3), "val.bin was changed"),
    "train replaced": (swap, "train.bin was changed"),
    "val cut": (lambda folder: os.truncate(folder / "val.bin", 6), "val.bin has 6 bytes instead of"),
    "train empty": (lambda folder: os.truncate(folder / "train.bin", 0), "train.bin has 0 bytes"),
    "val gone": (lambda folder: (folder / "val.bin").unlink(), "val.bin is missing"),
    "meta gone": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "meta cut": (lambda folder: os.truncate(folder / "manifest.json", 90), "manifest.json cannot be read"),
    "meta bytes": (lambda folder: change(folder, "manifest.json", train_bytes=7), "manifest.json was changed"),
    "meta digest": (lambda folder: change(folder, "manifest.json", val_sha256="0" * 64), "manifest.json was changed"),
    "meta name": (lambda folder: change(folder, "manifest.json", fingerprint="f"), "manifest.json was changed"),
    "old digest": (lambda folder: without_seal(folder, train_sha256="0" * 64), "manifest.json was changed"),
    "old type": (lambda folder: without_seal(folder, dtype="<u4", train_tokens=1), "manifest.json was changed"),
}


class Listening:
    """A process's watch, and what it said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.watch = CacheWatch(on_damage=self.said.append)

    def load(self, dataset: str, cache_dir: Path, **more: Any) -> TokenData:
        return load_data(dataset, "bytes", cache_dir=cache_dir, watch=self.watch, **more)


@pytest.fixture
def folder(text_file: Path, cache_dir: Path) -> Path:
    load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    return cache_dir / "tokens" / list_caches(cache_dir)[0].name


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_reported_and_mended_and_nobody_trains_on_it(
    folder: Path, text_file: Path, cache_dir: Path, damage: str
) -> None:
    before = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    fingerprint, content = before.fingerprint, text_file.read_bytes()
    hurt, says = DAMAGE[damage]
    hurt(folder)
    process = Listening()
    data = process.load(f"text:{text_file}", cache_dir)
    assert bytes(data.train.tolist()) + bytes(data.val.tolist()) == content
    assert data.fingerprint == fingerprint
    assert len(process.said) == 1 and says in process.said[0] and str(folder) in process.said[0]
    again = Listening()
    again.load(f"text:{text_file}", cache_dir)
    assert again.said == [] and examine(folder)[1] == ""


def test_a_cache_without_a_seal_is_used_as_it_is(folder: Path, text_file: Path, cache_dir: Path) -> None:
    without_seal(folder)
    process = Listening()
    process.load(f"text:{text_file}", cache_dir)
    assert process.said == [] and '"seal"' not in (folder / "manifest.json").read_text()


def test_files_that_others_have_open_stay_what_they_were(folder: Path, text_file: Path, cache_dir: Path) -> None:
    theirs = load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    old = (folder / "train.bin").stat().st_ino
    flip(folder / "val.bin")
    seen = theirs.val.tolist()
    Listening().load(f"text:{text_file}", cache_dir)
    assert (folder / "train.bin").stat().st_ino != old and theirs.val.tolist() == seen
    assert len(theirs.train) and [one.name for one in (cache_dir / "tokens").iterdir()] == [folder.name]


def test_touched_text_does_not_hide_damage(folder: Path, text_file: Path, cache_dir: Path) -> None:
    flip(folder / "train.bin")
    os.utime(text_file, (1, 1))
    process = Listening()
    data = process.load(f"text:{text_file}", cache_dir)
    assert len(process.said) == 1
    assert bytes(data.train.tolist()) + bytes(data.val.tolist()) == text_file.read_bytes()


def test_files_are_read_once_in_a_process_while_they_stay_the_same(
    folder: Path, text_file: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = sha256_of
    monkeypatch.setattr(content_checks, "sha256_of", lambda path: (read.append(path.name), whole(path))[1])
    process = Listening()
    for _ in range(3):
        process.load(f"text:{text_file}", cache_dir)
    assert sorted(read) == ["train.bin", "val.bin"]
    flip(folder / "val.bin")
    process.load(f"text:{text_file}", cache_dir)
    assert len(process.said) == 1


def test_a_check_that_began_before_it_was_needed_is_not_done_again(
    folder: Path, text_file: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = sha256_of
    monkeypatch.setattr(content_checks, "sha256_of", lambda path: (read.append(path.name), whole(path))[1])
    process = Listening()
    process.watch.begin(f"text:{text_file}", "bytes", cache_dir=cache_dir)
    process.watch.begin("text:/not/there", "bytes", cache_dir=cache_dir)
    process.load(f"text:{text_file}", cache_dir)
    assert sorted(read) == ["train.bin", "val.bin"]


def test_a_long_check_gives_signs_of_life(
    folder: Path, text_file: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    checks = ContentChecks()
    waiting: Future[bool] = Future()
    monkeypatch.setattr(checks, "is_whole", lambda path, sha256: waiting)

    def hear(what: str, fraction: float) -> None:
        heard.append(what)
        if not waiting.done():
            waiting.set_result(True)

    load_data(f"text:{text_file}", "bytes", cache_dir=cache_dir, on_progress=hear, watch=CacheWatch(checks=checks))
    assert heard == ["checking the cache"]


def test_a_check_without_memory_or_threads_is_not_awaited_for_ever(
    text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(path: Path) -> str:
        raise MemoryError

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    checks, sha256 = ContentChecks(), sha256_of(text_file)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            checks.is_whole(text_file, sha256)
    assert checks.is_whole(text_file, sha256).result(60)
    monkeypatch.setattr(content_checks, "sha256_of", no_memory)
    with pytest.raises(MemoryError):
        ContentChecks().is_whole(text_file, sha256).result(60)


def _load_and_tell(dataset: str, cache_dir: Path, found: Any) -> None:
    process = Listening()
    data = process.load(dataset, cache_dir)
    found.put((bytes(data.train.tolist()) + bytes(data.val.tolist()), len(process.said)))


def test_of_many_processes_one_makes_it_again(folder: Path, text_file: Path, cache_dir: Path) -> None:
    flip(folder / "train.bin")
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    others = [spawn.Process(target=_load_and_tell, args=(f"text:{text_file}", cache_dir, found)) for _ in range(3)]
    for one in others:
        one.start()
    told = [found.get(timeout=120) for _ in others]
    for one in others:
        one.join()
    assert [content for content, _ in told] == [text_file.read_bytes()] * 3
    assert sum(said for _, said in told) == 1


def split_of(text: str) -> SplitText:
    return SplitText(documents=lambda: iter([iter([text])]), size_bytes=len(text))


@pytest.mark.parametrize("hurt", ["bytes", "cut", "meta", "unreadable"])
def test_the_test_text_alone_is_made_again(cache_dir: Path, monkeypatch: pytest.MonkeyPatch, hurt: str) -> None:
    texts = Corpus(train=split_of("train"), val=split_of("val"), test=split_of("test text"))
    monkeypatch.setattr("hlbgpt_core.text.data.hub_corpus", lambda name: texts)
    before = load_data("hf:a/b", "bytes", cache_dir=cache_dir, with_test=True)
    [folder] = (cache_dir / "tokens").iterdir()
    old = (folder / "train.bin").stat().st_ino
    match hurt:
        case "bytes":
            flip(folder / "test.bin")
        case "cut":
            os.truncate(folder / "test.bin", 4)
        case "meta":
            change(folder, "test.json", text_bytes=3)
        case "unreadable":
            (folder / "test.json").write_text("{")
    process = Listening()
    process.load("hf:a/b", cache_dir)
    assert process.said == []  # it was not asked for
    data = process.load("hf:a/b", cache_dir, with_test=True)
    assert data.test is not None and bytes(data.test.astype(np.uint8)) == b"test text"
    assert (data.test_fingerprint, data.test_bytes) == (before.test_fingerprint, 9)
    assert len(process.said) == 1 and "test." in process.said[0]
    assert (folder / "train.bin").stat().st_ino == old


def test_a_damaged_cache_whose_text_cannot_be_had_is_the_host_s_fault(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    texts = Corpus(train=split_of("train"), val=split_of("val"))
    with monkeypatch.context() as reachable:
        reachable.setattr("hlbgpt_core.text.data.hub_corpus", lambda name: texts)
        load_data("hf:a/b", "bytes", cache_dir=cache_dir)
    [folder] = (cache_dir / "tokens").iterdir()
    flip(folder / "train.bin")
    process = Listening()
    with pytest.raises(HostDataError, match="cannot be reached"):
        process.load("hf:a/b", cache_dir)
    assert len(process.said) == 1


class Answer(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = type("Response", (), {"status_code": status})()


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "of_host"),
    [
        (ConnectionError("Couldn't reach the hub"), True),
        (TimeoutError(), True),
        (Answer(503), True),
        (Answer(429), True),
        (Answer(404), False),
        (caused_by(FileNotFoundError("no dataset"), Answer(404)), False),
        (caused_by(RuntimeError("while reading"), ConnectionResetError()), True),
        (ValueError("BuilderConfig 'x' not found"), False),
        (OSError(28, "No space left on device"), True),
    ],
)
def test_a_hub_that_is_down_is_told_from_a_name_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, cache_dir: Path, error: Exception, of_host: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_hub_answers", lambda: True)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(hub.DataError) as raised:
        load_data("hf:a/b", "bytes", cache_dir=cache_dir)
    assert isinstance(raised.value, HostDataError) is of_host
