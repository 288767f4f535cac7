"""A core that cannot be imported is waited for until it changes, or until patience ends."""

from pathlib import Path
from typing import Any, cast

from orchestrator.errors import CodeNotLoadedError
from orchestrator.store import Store
from worker.__main__ import _exit_code
from worker.claiming import Claiming, FaultyCode
from worker.exit_codes import EXIT_USAGE
from worker.outcome import WorkerSummary
from worker.trainer.trainer_handle import TrainerDied
from worker.trainer.trainer_manager import TrainerManager


class Disk:
    """The core on disk, and the time."""

    code, now = "broken", 0.0


def faulty(disk: Disk, said: list[str]) -> FaultyCode:
    return FaultyCode(code=lambda: disk.code, clock=lambda: disk.now, say=said.append)


def test_it_stands_until_the_code_changes() -> None:
    disk, said = Disk(), list[str]()
    code = faulty(disk, said)
    code.before_start()
    assert not code.stands()
    code.note("SyntaxError: recipe.py:7: invalid syntax")
    assert code.stands() and code.stands()
    assert len(said) == 1 and "recipe.py:7" in said[0]
    disk.code = "mended"
    assert not code.stands()
    disk.code = "broken"
    assert not code.stands()  # a run shows whether it still is


def test_code_that_was_mended_while_the_trainer_loaded_does_not_stand() -> None:
    disk = Disk()
    code = faulty(disk, [])
    code.before_start()
    disk.code = "mended"
    code.note("SyntaxError")
    assert not code.stands()


def test_after_ten_minutes_a_worker_that_does_not_watch_ends_as_one_that_could_not_work() -> None:
    disk = Disk()
    code = faulty(disk, [])
    code.before_start()
    code.note("SyntaxError: x.py:1: no")
    disk.now = 599.0
    assert code.why_to_end(600.0) == ""
    disk.now = 600.0
    why = code.why_to_end(600.0)
    assert why == "hlbgpt_core cannot be imported: SyntaxError: x.py:1: no"
    assert _exit_code(WorkerSummary(completed=1, failed=0, why=why, could_not_work=True), "") == EXIT_USAGE


class Trainers:
    """A trainer that is started to load the code, before any run is claimed."""

    pid, is_killed = 7, False

    def code(self) -> str:
        return "new"

    def has_loaded(self, digest: str) -> bool:
        return False

    def load(self) -> None:
        pass

    def kill(self) -> None:
        self.is_killed = True


class HoldingStore:
    """A queue whose one run would be held for the code on disk."""

    def code_is_back(self, digest: str, actor: str) -> int:
        return 0

    def claim(self, worker_id: int, **asked: Any) -> None:
        raise CodeNotLoadedError("code new is not loaded, so no run is held for it")


def loading(disk: Disk, trainers: Trainers, folder: Path) -> Claiming:
    store, its_trainers = cast(Store, HoldingStore()), cast(TrainerManager, trainers)
    claiming = Claiming(store, its_trainers, folder, sweep_ids=(), clock=lambda: disk.now, say=lambda text: None)
    assert claiming.next(1) is None
    return claiming


def test_a_trainer_that_dies_idle_long_after_it_loaded_ends_no_worker(tmp_path: Path) -> None:
    """The next run starts another; the worker left, as if its host could train nothing."""
    claiming = loading(Disk(), Trainers(), tmp_path)
    claiming.note_idle(TrainerDied(pid=7, returncode=-9, loaded=True))
    assert claiming.could_not_work == ""
    claiming = loading(Disk(), Trainers(), tmp_path)
    claiming.note_idle(TrainerDied(pid=7, returncode=-9, loaded=False))
    assert "ended while it loaded" in claiming.could_not_work


def test_a_trainer_that_hangs_while_it_loads_for_no_run_is_ended(tmp_path: Path) -> None:
    """No run was claimed whose --stall_timeout could end it: the worker waited for ever."""
    disk, trainers = Disk(), Trainers()
    claiming = loading(disk, trainers, tmp_path)
    disk.now = 599.0
    assert claiming.next(1) is None and not trainers.is_killed
    disk.now = 601.0
    assert claiming.next(1) is None and trainers.is_killed
