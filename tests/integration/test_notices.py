"""Notices: each end of a sweep and each failed run is noted once, and told at least once, on both databases."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.points import Point
from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.files.locks import try_lock
from orchestrator.notify import commands
from orchestrator.notify.commands import find_command, keep_command, submit_with_command
from orchestrator.notify.delivering import DeliveryTiming, Teller, may_be_told, teller_at_work
from orchestrator.queue.notices import NOTICE_TRIES, NoticeKind, NotifyMark
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason
from orchestrator.store import OpenMode, Store, open_store, parse_location
from tests.conftest import VirtualClock
from tests.store_examples import ALL, claim, commits_unanswered, ending, new_sweep, point, register, submit

MARK = NotifyMark(token="0" * 32, by="ada on here")
ENDED, FAILED = NoticeKind.SWEEP_ENDED, NoticeKind.RUN_FAILED


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path


def noted(store: Store) -> list[tuple[NoticeKind, int | None]]:
    return [(one.kind, one.run_id) for one in store.undelivered()]


def finish(
    store: Store, worker: int, reason: Reason = Reason.FINISHED, *, points: Sequence[Point] = (), **rest: Any
) -> None:
    store.finish(claim(store, worker).lease, ending(reason, **rest), points=points)


# What is noted.


def test_the_last_end_of_a_sweep_is_noted_and_each_run_that_fails(store: Store) -> None:
    submit(store, seeds=3, notify=MARK, limits=Limits(max_attempts=2, backoff_seconds=0))
    worker = register(store)
    finish(store, worker, Reason.ERROR)  # goes back to the queue: not failed yet
    assert noted(store) == []
    finish(store, worker, Reason.ERROR)
    assert noted(store) == [(FAILED, 1)]
    finish(store, worker)
    finish(store, worker, Reason.DIVERGED)
    assert noted(store) == [(FAILED, 1), (FAILED, 3), (ENDED, None)]
    assert {state.value: number for state, number in store.undelivered()[-1].counts.items()} == {
        "completed": 1,
        "failed": 2,
    }


def test_a_sweep_without_a_command_notes_nothing(store: Store) -> None:
    submit(store)
    finish(store, register(store), Reason.DIVERGED)
    assert noted(store) == []


def test_runs_that_wait_keep_a_sweep_from_its_end(store: Store, clock: VirtualClock) -> None:
    submit(store, seeds=2, notify=MARK)
    worker = register(store)
    finish(store, worker, Reason.ERROR)  # backs off
    store.pause(RunFilter(run_ids=(1,)), "ada")
    finish(store, worker)
    assert noted(store) == []
    assert store.cancel(RunFilter(run_ids=(1,)), "ada") == 1
    assert noted(store) == [(ENDED, None)]


def test_a_cancel_ends_the_sweeps_that_it_ends_and_no_other(store: Store) -> None:
    for _ in range(3):
        submit(store, seeds=2, notify=MARK)
    submit(store)
    store.cancel(RunFilter(run_ids=(1, 2, 3, 5, 6)), "ada")
    assert [one.sweep_id for one in store.undelivered()] == [1, 3]
    store.cancel(RunFilter(run_ids=(1,)), "ada")  # changes nothing, and so ends nothing
    assert len(store.undelivered()) == 2


def test_a_worker_that_is_lost_fails_its_run_and_ends_the_sweep(store: Store) -> None:
    submit(store, notify=MARK, limits=Limits(max_losses=1))
    worker = register(store)
    claim(store, worker)
    store.reap(worker, seen_beat=0, why="its process 42 is gone")
    assert noted(store) == [(FAILED, 1), (ENDED, None)]


def test_a_sweep_that_goes_on_and_ends_again_is_noted_again(store: Store) -> None:
    sweep = submit(store, notify=MARK)
    worker = register(store)
    finish(store, worker, Reason.DIVERGED)
    store.retry(ALL, "ada")
    finish(store, worker)
    again = new_sweep(seeds=2)
    assert store.extend(sweep.id, arms=again.arms, runs=again.runs) == 1
    finish(store, worker)
    assert noted(store) == [(FAILED, 1), (ENDED, None), (ENDED, None), (ENDED, None)]


def test_of_sixteen_that_end_the_last_runs_at_once_one_notes_the_end(
    store: Store, open_again: Callable[[], Store]
) -> None:
    submit(store, seeds=16, notify=MARK)
    ready = [(open_again(), claim(store, register(store, number)).lease) for number in range(1, 17)]
    start = threading.Barrier(16)

    def end(mine: Store, lease: Any) -> None:
        start.wait()
        mine.finish(lease, ending(Reason.FINISHED))

    threads = [threading.Thread(target=end, args=one) for one in ready]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted(store) == [(ENDED, None)]


# Whose command is called.


def test_the_database_holds_no_command_and_only_its_user_finds_it(
    store: Store, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = keep_command("curl https://hooks.example.org/secret")
    found = find_command(mark.token)
    assert found is not None and found.line == "curl https://hooks.example.org/secret"
    (kept,) = commands.commands_folder().iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    submit(store, notify=mark)
    with store._read() as connection:
        row = connection.exec_driver_sql("SELECT * FROM sweeps").one()
    assert "secret" not in str(tuple(row)) and mark.token in tuple(row)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own_folder / "another-user"))
    assert find_command(mark.token) is None
    store.cancel(ALL, "ada")
    assert not may_be_told(store) and len(store.undelivered()) == 1


def test_a_command_stays_where_the_sweep_may_be_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sweep whose commit was not answered nobody was told: its command was thrown away."""
    with commits_unanswered(store, monkeypatch), pytest.raises(DatabaseBusyError):
        submit_with_command(store, new_sweep(), "true")
    store.cancel(ALL, "ada")
    assert may_be_told(store)


@pytest.mark.parametrize("token", ["", "../x", "a/b", "0" * 31, "0" * 32, "/etc/passwd"])
def test_a_token_out_of_a_database_is_never_a_path(token: str) -> None:
    assert find_command(token) is None


@pytest.mark.parametrize("line", ["", "  \n", "mail \udcff"])
def test_a_line_that_is_no_command_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="--notify"):
        keep_command(line)


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me@host/db?password=pw&sslmode=require", "postgresql://me@host/db?sslmode=require"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=%2Frun%2Fpg"),
    ],
)
def test_the_place_that_a_notice_names_works_and_holds_no_password(given: str, public: str) -> None:
    place = parse_location(given)
    assert place.public == public
    assert "pw" not in place.display and "***" not in place.display


# Telling.


def teller(store: Store, clock: VirtualClock, **changed: Any) -> Teller:
    """A teller whose waits pass at once."""
    values: dict[str, Any] = {"clock": clock, "sleep": clock.advance, "timing": DeliveryTiming(limit=20.0)}
    return Teller(store=store, say=lambda text: None, **(values | changed))


def ended_sweep(store: Store, line: str) -> None:
    """A sweep of two runs, the first failed, that wants the command to be called."""
    submit(store, seeds=2, name='<"[red]"> 🙂', notify=keep_command(line))
    worker = register(store)
    finish(store, worker, Reason.DIVERGED, error_type="DivergedError", error_message="the loss is nan")
    finish(store, worker, points=[point(2, loss=4.5)])


def events(store: Store, action: str) -> list[str]:
    return [one.why for one in reversed(store.events()) if one.action == action]


def test_each_notice_is_told_once_in_order(store: Store, clock: VirtualClock, own_folder: Path) -> None:
    ended_sweep(store, f"cat >> {own_folder}/told")
    assert teller(store, clock).tell_all()
    assert teller(store, clock).tell_all()
    said = [json.loads(line) for line in (own_folder / "told").read_text(encoding="utf-8").splitlines()]
    assert [one["event"] for one in said] == ["run_failed", "sweep_ended"]
    assert said[0]["run"]["error_message"] == "the loss is nan" and said[0]["sweep"]["name"] == '<"[red]"> 🙂'
    assert said[1]["sweep"]["counts"]["failed"] == 1 and said[1]["run"] is None
    assert "hlbq show 1 --db" in said[0]["next_command"] and "***" not in said[0]["next_command"]
    assert store.undelivered() == [] and len(events(store, "notified")) == 2


def test_a_command_that_fails_is_tried_three_times_and_again_when_asked(
    store: Store, clock: VirtualClock, own_folder: Path
) -> None:
    flag = own_folder / "works"
    ended_sweep(store, f"test -e {flag} || {{ echo unreachable; exit 7; }}")
    began = clock()
    first = teller(store, clock)
    first.tell_all()
    assert (first.told, first.given_up) == (0, 2)
    assert clock() - began >= 35.0
    assert [notice.given_up for notice in store.undelivered()] == [True, True]
    assert len(events(store, "notify failed")) == 2 * NOTICE_TRIES
    assert "exit code 7: unreachable" in events(store, "notify failed")[0]
    assert not may_be_told(store)
    flag.touch()
    again = teller(store, clock)
    again.tell_all(given_up_too=True)
    assert again.told == 2 and store.undelivered() == []


def test_a_command_that_hangs_is_ended_and_told_as_a_failure(store: Store, clock: VirtualClock) -> None:
    submit(store, notify=keep_command("sleep 300"))
    store.cancel(ALL, "ada")
    teller(store, clock, timing=DeliveryTiming(limit=0.2)).tell_all()
    assert all("took longer than 0.2 s" in why for why in events(store, "notify failed"))
    assert store.undelivered()[0].given_up


def test_the_notice_of_a_dead_teller_of_this_host_is_told_at_once(
    store: Store, clock: VirtualClock, own_folder: Path
) -> None:
    submit(store, notify=keep_command(f"cat >> {own_folder}/told"))
    store.cancel(ALL, "ada")
    assert store.take_notice(store.undelivered()[0], "here", tries=NOTICE_TRIES)  # killed in its last try
    began = clock()
    teller(store, clock, host="here").tell_all()
    assert store.undelivered() == [] and clock() == began


def test_a_notice_that_another_host_holds_waits_for_its_lease(
    store: Store, clock: VirtualClock, own_folder: Path
) -> None:
    submit(store, notify=keep_command(f"cat >> {own_folder}/told"))
    store.cancel(ALL, "ada")
    (seen,) = store.undelivered()
    held = store.take_notice(seen, "elsewhere", tries=1)
    assert held is not None and store.take_notice(seen, "here", tries=1) is None
    began = clock()
    teller(store, clock, host="here").tell_all()
    assert clock() - began >= DeliveryTiming().lease
    assert not store.notice_tried(held, "") and len(events(store, "notified")) == 1


def test_one_teller_a_host_is_at_work(store: Store, clock: VirtualClock, own_folder: Path) -> None:
    submit(store, notify=keep_command(f"echo >> {own_folder}/told"))
    store.cancel(ALL, "ada")
    inner: list[bool] = []

    def and_meanwhile(seconds: float) -> None:
        inner.append(teller(store, clock).tell_all())
        clock.advance(seconds)

    held = store.take_notice(store.undelivered()[0], "elsewhere", tries=1)
    assert held is not None
    teller(store, clock, sleep=and_meanwhile).tell_all()
    assert inner and not any(inner)
    assert (own_folder / "told").read_text() == "\n"


def test_a_database_whose_name_is_no_utf_8_is_told_of(
    clock: VirtualClock, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_folder)
    place = os.fsdecode(bytes(own_folder) + b"/\xff.db")
    with open_store(place, mode=OpenMode.CREATE) as store:
        submit(store, notify=keep_command('cat > told; printf %s "$HLBQ_DB" > place'))
        store.cancel(ALL, "ada")
        assert may_be_told(store) and not teller_at_work(store.location)
        assert teller(store, clock).tell_all() and store.undelivered() == []
    assert json.loads((own_folder / "told").read_bytes())["database"] == place
    assert os.fsdecode((own_folder / "place").read_bytes()) == place


def test_a_home_that_knows_no_locks_keeps_nobody_from_being_told(
    store: Store, clock: VirtualClock, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, notify=keep_command(f"cat >> {own_folder}/told"))
    store.cancel(ALL, "ada")
    home = commands.commands_folder()

    def lock(path: Path) -> AbstractContextManager[bool]:
        if path.parent == home:
            raise OSError(37, "No locks available")
        return try_lock(path)

    monkeypatch.setattr("orchestrator.notify.delivering.try_lock", lock)
    monkeypatch.setattr("tempfile.tempdir", str(own_folder))
    assert teller(store, clock).tell_all() and store.undelivered() == []
