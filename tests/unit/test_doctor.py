"""What `hlbq doctor` says of a machine that is well, and of one that is not."""

from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.doctor import Level
from orchestrator.queue.sweeps import NewSweep
from orchestrator.store import OpenMode, open_store


def test_a_damaged_database_is_a_problem(tmp_path: Path) -> None:
    damaged = tmp_path / "hlbq.db"
    damaged.write_bytes(b"no database at all")
    found = doctor.check_database(str(damaged))
    assert found.level is Level.PROBLEM and str(damaged) in found.found and found.fix


def test_no_database_yet_is_no_problem(tmp_path: Path) -> None:
    assert doctor.check_database(str(tmp_path / "none.db")).level is Level.NOTE


def test_a_clock_behind_the_database_is_a_problem(tmp_path: Path) -> None:
    db = str(tmp_path / "hlbq.db")
    with open_store(db, mode=OpenMode.CREATE, clock=lambda: 2e9) as store:
        store.submit(NewSweep())
    assert doctor.check_clock(db, now=lambda: 2e9 + 5).level is Level.FINE
    behind = doctor.check_clock(db, now=lambda: 2e9 - 3600)
    assert behind.level is Level.PROBLEM and "3600 s in the future" in behind.found
    assert doctor.check_clock(db, now=lambda: 0.0).level is Level.PROBLEM


def test_a_nearly_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2**80)
    assert doctor.check_disk(tmp_path / "not" / "yet").level is Level.PROBLEM


def test_the_sqlite_in_use_is_named() -> None:
    found = doctor.check_sqlite()
    assert found.level is Level.FINE


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_wandb_keys_are_never_shown(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert doctor.check_wandb().level is Level.NOTE
    if where == "environment":
        monkeypatch.setenv("WANDB_API_KEY", key)
    else:
        (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {key}\n")
    found = doctor.check_wandb()
    assert found.level is Level.FINE and key not in repr(found)


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HLBQ_CACHE", "XDG_CACHE_HOME", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    found = doctor.check_token_cache()
    assert found.level is Level.PROBLEM and "no home folder" in found.found and "HLBQ_CACHE" in found.fix
    assert doctor.check_wandb().level is Level.NOTE


def test_a_cache_that_cannot_be_there_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path / "none"))
    assert "none yet" in doctor.check_token_cache().found


@pytest.mark.parametrize("name", ["", "below/it"])
def test_a_cache_that_cannot_be_written_is_a_problem_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path / name))
    found = doctor.check_token_cache()
    assert found.level is Level.PROBLEM and str(tmp_path) in found.found and "HLBQ_CACHE" in found.fix


@pytest.mark.parametrize(
    ("driver", "level", "found"),
    [
        ("raise NVMLError_LibraryNotFound", Level.NOTE, "none (no libnvidia-ml)"),
        ("raise NVMLError", Level.PROBLEM, "it failed or did not answer"),
        ("", Level.FINE, "550.54: H100, 1024 MiB; H100, 1024 MiB"),
    ],
)
def test_the_gpu_driver_is_named(
    driver: str, level: Level, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text(
        "import types\n"
        "class NVMLError(Exception): pass\n"
        "class NVMLError_LibraryNotFound(NVMLError): pass\n"
        f"def nvmlInit():\n    {driver or 'pass'}\n"
        "nvmlDeviceGetCount = lambda: 2\n"
        "nvmlDeviceGetHandleByIndex = lambda index: index\n"
        "nvmlDeviceGetName = lambda gpu: 'H100'\n"
        "nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(total=2**30)\n"
        "nvmlSystemGetDriverVersion = lambda: '550.54'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = doctor.check_driver()
    assert (told.level, told.found) == (level, found) and bool(told.fix) == (level is Level.PROBLEM)
