"""Locks on files: held by one, given up with a limit, never on a file that is no longer there."""

from pathlib import Path

import pytest

from orchestrator.errors import ExportError
from orchestrator.files import locks
from orchestrator.files.locks import lock_at_once, try_lock, wait_for_lock

LATE = ExportError("it is locked", "Wait.")


def test_one_that_tries_is_refused_at_once_and_succeeds_later(tmp_path: Path) -> None:
    with try_lock(tmp_path / "lock") as first:
        with try_lock(tmp_path / "lock") as second:
            assert first and not second
        with try_lock(tmp_path / "lock") as third:
            assert not third, "one that was refused must not unlock it"
    with try_lock(tmp_path / "lock") as again:
        assert again


def test_one_that_waits_gives_up_with_the_callers_error(tmp_path: Path) -> None:
    with try_lock(tmp_path / "lock"), pytest.raises(ExportError) as raised:  # noqa: SIM117
        with wait_for_lock(tmp_path / "lock", timeout_seconds=0.0, too_late=LATE):
            pass
    assert raised.value is LATE


def test_one_that_waits_holds_the_file_of_that_name_and_not_one_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, tries = tmp_path / "lock", 0

    def after_its_holder_removed_it(descriptor: int) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            lock.unlink()
        return lock_at_once(descriptor)

    monkeypatch.setattr(locks, "lock_at_once", after_its_holder_removed_it)
    with wait_for_lock(lock, timeout_seconds=60.0, too_late=LATE):
        assert tries == 2
        with try_lock(lock) as second:
            assert not second


def test_an_error_in_the_block_unlocks(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), wait_for_lock(tmp_path / "lock", timeout_seconds=0.0, too_late=LATE):
        raise ZeroDivisionError
    with try_lock(tmp_path / "lock") as free:
        assert free
