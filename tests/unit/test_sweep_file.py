"""Sweep files: what they hold, and what is said of one that is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.sweep.sweep_file import SweepFile, read_sweep_file, write_sweep_file
from orchestrator.sweep.sweep_options import SweepOptions, option_specs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a sweep file is written."""
    return tmp_path / "sweep.toml"


def test_settings_become_lists_and_options_keep_their_types(path: Path) -> None:
    path.write_text('[settings]\ndepth = [4, 8]\nlr_mult = "1..3"\n[sweep]\nnum_runs = 2\nzip = [["depth", "width"]]\n')
    assert read_sweep_file(str(path)) == SweepFile(
        settings={"depth": [4, 8], "lr_mult": ["1..3"]}, options={"num_runs": 2, "zip": [["depth", "width"]]}
    )


def test_names_may_have_dashes(path: Path) -> None:
    path.write_text("[settings]\nmax-steps = 100\n[sweep]\nnum-runs = 2\nfutility = 0.2\n")
    found = read_sweep_file(str(path))
    assert found == SweepFile(settings={"max_steps": [100]}, options={"num_runs": 2, "futility": 0.2})
    assert SweepOptions.of(found.options).futility == "0.2"


def test_a_byte_order_mark_is_passed_over(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf[settings]\ndepth = 4\n")
    assert read_sweep_file(str(path)).settings == {"depth": [4]}


def test_the_keys_of_sweep_are_the_options_of_submit() -> None:
    types = {name: spec.value_type for name, spec in option_specs().items()}
    assert {"num_runs": int, "random": int, "name": str, "log_csv": bool, "where": str}.items() <= types.items()
    assert types["checkpoint_every"] is float
    assert "file" not in types
    assert "depth" not in types


BAD_FILES: dict[str, tuple[bytes, list[str]]] = {
    "unknown setting": (b"[settings]\ndept = 4\n", ["there is no setting 'dept'", "Did you mean 'depth'?"]),
    "unknown option": (b"[sweep]\nnum_run = 4\n", ["no option 'num_run'", "Did you mean 'num_runs'?"]),
    "unknown table": (b"[setings]\ndepth = 4\n", ["no table [setings]", "Did you mean [settings]?"]),
    "setting in sweep": (b"[sweep]\ndepth = 4\n", ["'depth' is a setting", "below [settings]"]),
    "option in settings": (b"[settings]\nseed = 4\n", ["'seed' is an option, not a setting", "below [sweep]"]),
    "option that is typed": (b'[sweep]\nnotify = "./tell.sh"\n', ["no option 'notify'", "Type it: --notify"]),
    "twice": (b"[settings]\nmax-steps = 1\nmax_steps = 2\n", ["has max_steps twice"]),
    "outside a table": (b"depth = 4\n", ["'depth' is outside a table"]),
    "no table": (b"settings = 4\n", ["'settings' is not a table"]),
    "text for a number": (b'[sweep]\nnum_runs = "many"\n', ["num_runs: 'many' is not a whole number"]),
    "list for a number": (b"[sweep]\nnum_runs = [1, 2]\n", ["num_runs: '[1, 2]' is not a whole number"]),
    "true for a number": (b"[sweep]\nnum_runs = true\n", ["num_runs: 'true' is not a whole number"]),
    "fraction": (b"[sweep]\nnum_runs = 1.5\n", ["num_runs: '1.5' is not a whole number"]),
    "number for a flag": (b"[sweep]\nlog_csv = 1\n", ["log_csv: '1' is not true or false"]),
    "number for a text": (b"[sweep]\nname = 1\n", ["name: '1' is not text"]),
    "flat zip": (b'[sweep]\nzip = ["depth", "width"]\n', ["zip:", '[["depth", "width"]]']),
    "number in where": (b"[sweep]\nwhere = [1]\n", ["where: '[1]' is not a list of the right form"]),
    "table for a setting": (b"[settings]\ndepth = {a = 1}\n", ["depth", "is not a value"]),
    "date for a setting": (b"[settings]\ndepth = 2020-01-01\n", ["depth", "is not a value"]),
    "empty list": (b"[settings]\ndepth = []\n", ["depth is an empty list"]),
    "not UTF-8": (b'[sweep]\nname = "caf\xe9"\n', ["is not UTF-8: byte 0xe9 at offset 19"]),
    "not TOML": (b"[settings\ndepth = 4\n", ["is not TOML", "line 1", "hlbq preset tiny-cpu"]),
    "nested too deeply": (b"[settings]\ndepth = " + b"[" * 100_000, ["is not TOML"]),
    "a database": (b"SQLite format 3\0" + bytes(100), ["is not TOML"]),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(path: Path, kind: str) -> None:
    content, words = BAD_FILES[kind]
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_sweep_file(str(path))
    for word in ["sweep.toml", *words]:
        assert word in str(caught.value)


def test_missing_files_and_folders(path: Path) -> None:
    for wrong, words in ((path, "there is no sweep file"), (path.parent, "it is a folder"), ("a\0b", "can't be read")):
        with pytest.raises(UsageError, match=words):
            read_sweep_file(str(wrong))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    name=TEXTS, dataset=TEXTS, decay=st.floats(allow_nan=False, allow_infinity=False), seed=st.integers(0, 2**63 - 1)
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, dataset: str, decay: float, seed: int
) -> None:
    file = SweepFile(
        settings={"dataset": [dataset, "pystdlib"], "weight_decay": [decay], "linear_value": [True, False]},
        options={"name": name, "seed": seed, "zip": [["depth", "width"]], "where": [dataset], "log_csv": True},
    )
    path = tmp_path_factory.mktemp("sweep") / "sweep.toml"
    path.write_text(write_sweep_file(file), encoding="utf-8", newline="")
    assert read_sweep_file(str(path)) == file
