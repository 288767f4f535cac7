"""Whose fault an error is: the run's, the host's, or that of a core that cannot be imported."""

import errno
import importlib.util
import os
from pathlib import Path

import pytest

from hlbgpt_core.errors import DataError, DeviceError, HostDataError
from hlbgpt_core.private_files import cannot_read, cannot_write
from worker.trainer import blame as blame_module
from worker.trainer.blame import Blame, blame_of, load_failure
from worker.trainer_process import whose_fault


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "somewhere")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (system_error(errno.ENOSPC), Blame.HOST),
        (system_error(errno.EACCES), Blame.HOST),
        (system_error(errno.EIO), Blame.HOST),
        (system_error(errno.ENOENT), Blame.RUN),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), Blame.HOST),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), Blame.HOST),
        (RuntimeError("CUDA error: device-side assert triggered"), Blame.RUN),
        (OSError("libcudart.so.12: cannot open shared object file: No such file or directory"), Blame.HOST),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), Blame.HOST),
        (DeviceError("there are only 0 GPUs"), Blame.HOST),
        (HostDataError("no room"), Blame.HOST),
        (DataError("the text is too short"), Blame.RUN),
        (ValueError("a bug"), Blame.RUN),
        (SyntaxError("in a text of the user's"), Blame.RUN),
    ],
)
def test_by_its_kind(error: Exception, wanted: Blame) -> None:
    assert whose_fault(error) is wanted


def test_data_that_the_host_cannot_keep_or_read_is_told_apart_from_data_that_is_not_there() -> None:
    assert isinstance(cannot_write(Path("/x"), system_error(errno.ENOENT)), HostDataError)
    assert isinstance(cannot_read("/x", system_error(errno.EACCES)), HostDataError)
    assert not isinstance(cannot_read("/x", system_error(errno.ENOENT)), HostDataError)


def failed_import(file: Path, text: str) -> Exception:
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("made_up", file)
    assert spec is not None and spec.loader is not None
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        return error
    raise AssertionError("it can be imported")


@pytest.mark.parametrize(
    ("text", "place", "kind"),
    [
        ("x = 1\ndef (\n", "recipe.py:2", "SyntaxError"),
        ("x = 1\n\ny = no_such_name\n", "recipe.py:3", "NameError"),
        ("import no_such_library\n", "recipe.py:1", "ModuleNotFoundError"),
        ("from os import no_such_name\n", "recipe.py:1", "ImportError"),
        ("def f():\n    return 1 / 0\nf()\n", "recipe.py:2", "ZeroDivisionError"),
    ],
)
def test_code_that_cannot_be_imported_is_named_by_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str, kind: str
) -> None:
    monkeypatch.setattr(blame_module, "_in_core", lambda filename: filename.startswith(str(tmp_path)))
    error = failed_import(tmp_path / "recipe.py", text)
    assert blame_of(error) is Blame.CODE
    told = load_failure(error)
    assert (told["blame"], told["error_type"]) == ("code", kind)
    assert told["error_message"].startswith(f"{tmp_path / place}: ")


def test_a_library_of_ours_that_is_missing_or_broken_is_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "half_installed.py").write_text("import no_such_part\n")
    monkeypatch.syspath_prepend(library)
    core = tmp_path / "core.py"
    monkeypatch.setattr(blame_module, "_in_core", lambda filename: filename == str(core))
    assert blame_of(failed_import(core, "import half_installed\n")) is Blame.HOST


def test_a_load_that_fails_outside_the_core_is_the_hosts_fault() -> None:
    assert load_failure(RuntimeError("odd"))["blame"] == "host"
