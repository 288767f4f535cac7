"""A core that cannot be imported is waited for until it changes, or until patience ends."""

from worker.__main__ import _exit_code
from worker.claiming import FaultyCode
from worker.exit_codes import EXIT_USAGE
from worker.outcome import WorkerSummary


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
