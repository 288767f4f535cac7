"""Dataset names, their files and splits, and what is refused with which words."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.errors import DataError
from hlbgpt_core.text.data import load_data
from hlbgpt_core.text.sources import (
    FileSpan,
    LocalSplits,
    absolute_dataset,
    check_dataset,
    local_splits,
    parse_dataset,
    pystdlib_files,
    read_span,
)


def text_of(spans: object) -> str:
    assert isinstance(spans, list)
    return "".join(block for span in spans for block in read_span(span))


def splits_of(dataset: str) -> LocalSplits:
    return local_splits(parse_dataset(dataset))


def make_bad(folder: Path, kind: str) -> tuple[str, tuple[str, ...]]:
    """A `text:` path that is refused, and what its message must hold."""
    path = folder / f"{kind}.txt"
    long_text = b"words " * 100_000
    if kind == "missing":
        return f"text:{path}", (str(path), "no file")
    if kind == "folder":
        path.mkdir()
        (path / "image.png").write_bytes(b"png")
        return f"text:{path}", (str(path), "no text files", ".txt")
    if kind == "fifo":
        os.mkfifo(path)
        return f"text:{path}", (str(path), "neither a file nor a folder")
    content, wanted = {
        "empty": (b"", "is empty"),
        "binary": (long_text + b"\0" + long_text, "NUL byte at offset 600000"),
        "latin1": (long_text + b"caf\xe9 " + long_text, "not UTF-8: byte 0xe9 at offset 600003"),
        "cut-character": (long_text + "é".encode()[:1], "not UTF-8: byte 0xc3 at offset 600000"),
        "one-character": (b"a", "too short"),
    }[kind]
    path.write_bytes(content)
    return f"text:{path}", (str(path), wanted)


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "fifo", "empty", "binary", "latin1", "cut-character", "one-character"]
)
def test_bad_text_is_refused_by_submit_and_by_training_with_the_same_words(
    kind: str, tmp_path: Path, cache_dir: Path
) -> None:
    dataset, wanted = make_bad(tmp_path, kind)
    with pytest.raises(DataError) as at_submit:
        check_dataset(dataset)
    with pytest.raises(DataError) as at_training:
        load_data(dataset, "bytes", cache_dir=cache_dir)
    assert str(at_submit.value) == str(at_training.value)
    assert all(part in at_submit.value.message for part in wanted)
    assert at_submit.value.hint
    assert not list((cache_dir / "tokens").glob("*"))


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        ("pystdlb", "pystdlib"),
        ("wikitext103", "wikitext-103"),
        ("txt:data.txt", "text:data.txt"),
        ("nothing-like-it", "text:PATH"),
        ("hf:", "hf:NAME"),
        ("hf::config", "hf:NAME"),
        ("text:", "text:PATH"),
        ("hf:../../x", "hf:OWNER/NAME"),
        ("hf:a/b/c", "hf:OWNER/NAME"),
        ("hf:name:../x", "hf:OWNER/NAME"),
    ],
)
def test_bad_names_are_refused_with_the_way_out(dataset: str, wanted: str, cache_dir: Path) -> None:
    with pytest.raises(DataError) as at_submit:
        check_dataset(dataset)
    with pytest.raises(DataError) as at_training:
        load_data(dataset, "bytes", cache_dir=cache_dir)
    assert str(at_submit.value) == str(at_training.value)
    assert wanted in at_submit.value.hint
    assert not cache_dir.exists()


def test_a_path_given_without_text_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some text")
    with pytest.raises(DataError, match=r"text:.*notes\.txt"):
        parse_dataset(str(tmp_path / "notes.txt"))


def test_submit_may_let_a_missing_path_pass(tmp_path: Path) -> None:
    check_dataset(f"text:{tmp_path}/elsewhere.txt", missing_path_is_fine=True)
    (tmp_path / "here.txt").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        check_dataset(f"text:{tmp_path}/here.txt", missing_path_is_fine=True)


def test_submit_reads_no_more_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"words " * 200_000 + b"\0" + b"words " * 200_000)
    check_dataset(f"text:{tmp_path}/long.txt", byte_limit=1_000_000)
    with pytest.raises(DataError, match="NUL"):
        check_dataset(f"text:{tmp_path}/long.txt", byte_limit=2_000_000)


def test_hub_names_are_parsed() -> None:
    name = parse_dataset("hf:owner/some-name_1.0:config.v2")
    assert (name.kind, name.target, name.config) == ("hf", "owner/some-name_1.0", "config.v2")


@pytest.mark.parametrize("target", ["~no-such-user-here/a.txt", "x" * 5000, "[", "a[", "**"])
def test_odd_paths_are_missing_paths(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no file, folder or glob match"):
        check_dataset(f"text:{target}")
    with pytest.raises(DataError, match="there is no dataset"):
        check_dataset(target.replace("text:", ""))


def test_a_glob_works_in_a_folder_whose_name_looks_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "[x]").mkdir()
    (tmp_path / "[x]" / "a.txt").write_text("some words")
    monkeypatch.chdir(tmp_path / "[x]")
    assert splits_of("text:*.txt").train[0].path == tmp_path / "[x]" / "a.txt"
    stored = [absolute_dataset(f"text:{path}") for path in ("*.txt", "../[[]x]/a.txt", "a.txt")]
    monkeypatch.chdir(tmp_path)
    for dataset in stored:
        assert splits_of(dataset).train[0].path.samefile(tmp_path / "[x]" / "a.txt")


def test_the_rooms_that_submit_reads_load_the_standard_library_alone() -> None:
    code = (
        "import sys; from hlbgpt_core.text import sources, token_cache, dataset_source; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    root = Path(__file__).parents[3]
    loaded = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) <= {"__main__", "hlbgpt_core"}


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_dataset("text:data/*.txt") == f"text:{tmp_path}/data/*.txt"
    assert absolute_dataset("pystdlib") == "pystdlib"


@given(text=st.text(alphabet="aé漢😀\n", min_size=2, max_size=400))
def test_the_last_five_percent_of_the_bytes_validate(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_bytes(text.encode())
    size = len(text.encode())
    splits = splits_of(f"text:{file}")
    train, val = text_of(splits.train), text_of(splits.val)
    assert train + val == text
    wanted = max(1, round(size * 0.05))
    assert wanted <= len(val.encode()) <= wanted + 3


def test_the_cut_may_stand_in_any_file(tmp_path: Path) -> None:
    for name, size in (("a.txt", 100), ("b.txt", 0), ("c.txt", 898), ("d.txt", 2)):
        (tmp_path / name).write_text("x" * size)
    splits = splits_of(f"text:{tmp_path}")
    assert [(span.path.name, span.start, span.end) for span in splits.train] == [("a.txt", 0, 100), ("c.txt", 0, 850)]
    assert [(span.path.name, span.start, span.end) for span in splits.val] == [("c.txt", 850, 898), ("d.txt", 0, 2)]


def test_named_validation_files_validate(tmp_path: Path) -> None:
    for name in ("train-1.txt", "train-2.txt", "validation.txt", "test.txt"):
        (tmp_path / name).write_text(f"the text of {name}")
    splits = splits_of(f"text:{tmp_path}")
    assert [span.path.name for span in splits.train] == ["train-1.txt", "train-2.txt"]
    assert [span.path.name for span in splits.val] == ["validation.txt"]


def test_folders_and_globs_name_files(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "code.py", ".hidden.txt", "deep/c.TXT", ".git/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("some words")
    folder = splits_of(f"text:{tmp_path}")
    assert [span.path.name for span in folder.train] == ["a.txt", "b.md", "c.TXT"]
    matched = splits_of(f"text:{tmp_path}/**/*.py")
    assert [span.path.name for span in matched.train] == ["code.py"]


def test_pystdlib_is_this_pythons_library_without_its_tests() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    splits = splits_of("pystdlib")
    files = [span.path.relative_to(root).as_posix() for span in (*splits.train, *splits.val)]
    assert files == sorted(files)
    assert {"argparse.py", "json/decoder.py", "email/message.py"} <= set(files)
    assert not [file for file in files if {"test", "tests", "site-packages"} & set(file.split("/"))]
    assert not {span.path for span in splits.train} & {span.path for span in splits.val}
    assert abs(len(splits.val) / len(files) - 0.05) < 0.01


def test_a_python_without_library_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"keeps no \.py files"):
        pystdlib_files(tmp_path)


def test_the_state_follows_content_and_place(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("some words")
    before = splits_of(f"text:{file}").state()
    assert splits_of(f"text:{file}").state() == before
    os.utime(file, ns=(1, 1))
    assert splits_of(f"text:{file}").state() != before


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    span = FileSpan(path=tmp_path / "gone.txt", start=0, end=10)
    with pytest.raises(DataError, match=r"gone\.txt' cannot be read: No such file"):
        list(read_span(span))
